"""How this machine reaches Debian, Python and npm packages, for systems inside containers.

Everything is asked of the machine: apt's sources and options, pip's and npm's configuration, the
certificates it trusts, and proxies. What only exists here, such as `file:` indexes, is left out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_LOCAL_AUTHORITIES = Path("/usr/local/share/ca-certificates")
_PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
_NPM_KEYS = ("registry", "proxy", "https-proxy", "noproxy", "strict-ssl")
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
_APT_OPTIONS = (
    "Acquire::http::",
    "Acquire::https::",
    "Acquire::Check-",
    "Acquire::ForceIPv",
    "Acquire::Retries",
)


def mirror(suite: str) -> str:
    """Return the address that the machine takes a release from; "" leaves it to debootstrap."""
    return next((uri for uri, release, _ in _apt_sources(suite) if release == suite), "")


def proxy_arguments() -> list[str]:
    """Return build arguments for the proxies of this process's environment."""
    names = [name for lower in _PROXIES for name in (lower, lower.upper())]
    return [f"--build-arg={name}={os.environ[name]}" for name in names if name in os.environ]


def write(tree: Path, suite: str) -> None:
    """Write the files that give a system in a container the same reach into a directory."""
    files = {
        "etc/apt/sources.list": _sources_list(suite),
        "etc/apt/apt.conf.d/90host": _apt_options(),
        "etc/pip.conf": _pip_configuration(),
        "usr/local/etc/npmrc": _npm_configuration(),
        BUNDLE.lstrip("/"): _bundle().read_text(),
    }
    # Installing ca-certificates makes the bundle anew, from its own and from these.
    for authority in sorted(_LOCAL_AUTHORITIES.glob("*.crt")):
        files[str(authority).lstrip("/")] = authority.read_text()
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _bundle() -> Path:
    """Return the file with the certificates that this machine trusts."""
    for name in (os.environ.get("PIP_CERT"), os.environ.get("SSL_CERT_FILE"), BUNDLE):
        if name and Path(name).is_file():
            return Path(name)
    raise RuntimeError(f"no certificates are trusted here: {BUNDLE} is missing")


def _apt_sources(suite: str) -> list[tuple[str, str, str]]:
    """Return address, release and component of the distribution's own sources."""
    lines = _answer(
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ).splitlines()
    found = [tuple(line.split()) for line in lines if len(line.split()) == 3]
    return [
        (uri, release, component)
        for uri, release, component in found
        if (release == suite or release.startswith(f"{suite}-")) and not uri.startswith("file:")
    ]


def _sources_list(suite: str) -> str:
    sources = _apt_sources(suite)
    if not sources:
        raise RuntimeError(f"apt has no sources for {suite} on this machine")
    return "".join(f"deb {uri} {release} {component}\n" for uri, release, component in sources)


def _apt_options() -> str:
    dump = _answer("apt-config", "dump", "--no-empty", "--format", '%F "%v";%n', "Acquire")
    kept = [line for line in dump.splitlines() if line.startswith(_APT_OPTIONS)]
    return "".join(f"{line}\n" for line in [*kept, 'Acquire::Languages "none";'])


def _pip_configuration() -> str:
    """Return pip.conf; a setting of the environment wins over one of a file, as in pip."""
    lines = _answer(sys.executable, "-m", "pip", "config", "list").splitlines()
    values = {"cert": BUNDLE, "disable-pip-version-check": "true"}
    for prefix in ("global.", ":env:."):
        for line in lines:
            key, _, value = line.removeprefix(prefix).partition("=")
            if not line.startswith(prefix) or key not in _PIP_KEYS:
                continue
            words = [w for w in value.strip("'\"").split() if not w.startswith(("file:", "/"))]
            if words:
                values[key] = " ".join(words)
    return "".join(["[global]\n", *(f"{key} = {value}\n" for key, value in values.items())])


def _npm_configuration() -> str:
    values: dict[str, object] = {"cafile": BUNDLE, "audit": False, "fund": False}
    values["update-notifier"] = False
    if shutil.which("npm"):
        told = json.loads(_answer("npm", "config", "list", "--json"))
        values |= {
            key: told[key] for key in _NPM_KEYS if told.get(key) not in (None, "", [], [""])
        }
    elif registry := os.environ.get("NPM_CONFIG_REGISTRY"):
        values["registry"] = registry
    return "".join(f"{key}={_npm_value(value)}\n" for key, value in values.items())


def _npm_value(value: object) -> str:
    return ",".join(value) if isinstance(value, list) else json.dumps(value).strip('"')


def _answer(*command: str) -> str:
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
    )
    return done.stdout
