"""Git repositories: implements `contracts.repositories.Repositories` over the program git.

git sees no configuration but ours, asks nobody, and is never given a working tree: files come out
of the object store as a tar, so that neither hooks, filters nor links of a repository do anything.
Protocols that run programs or read this host's files (ext, file, ssh) are closed to it, also by
redirects.
"""

import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pinnace.contracts.repositories import RepositorySource
from pinnace.errors import InvalidParameter, NotFound, Unavailable
from pinnace.host import process

_PROTOCOLS = ("git", "http", "https")
_URL = re.compile(r"[\x21-\x7e]{1,2048}")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]{0,254}")
_RUN_S = 600.0
_CHUNK = 1 << 20
_PREFIX = "git-"
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "tar.umask=0022",  # what a checkout by root would give
    "credential.helper=",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "protocol.allow=never",
    *(f"protocol.{name}.allow=always" for name in _PROTOCOLS),
)
# Before any that the repository has: gitattributes(5), "in decreasing order of precedence".
_ATTRIBUTES = "* -export-ignore -export-subst -text -ident -filter\n"


class GitRepositories:
    """Fetches into a directory of its own each time.

    Args:
        directory: Holds them; what an earlier daemon left there is removed.
        environment: Variables that git sees beside ours: those that name proxies.
    """

    def __init__(self, directory: Path, *, environment: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        self._environment = dict(environment or {})
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in directory.glob(f"{_PREFIX}*"):
            shutil.rmtree(left)

    @asynccontextmanager
    async def archive(self, source: RepositorySource) -> AsyncIterator[AsyncIterator[bytes]]:
        """See the contract."""
        _check(source)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=self._directory) as made:
            git = _Git(Path(made), self._environment)
            await git.make()
            await git.fetch(source)
            yield _chunks(await git.pack(source))


class _Git:
    """git, at work in one bare repository."""

    def __init__(self, at: Path, environment: Mapping[str, str]) -> None:
        self._at = at
        self._environment = {
            **environment,
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/nonexistent",
            "GIT_DIR": str(at),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "GIT_ALLOW_PROTOCOL": ":".join(_PROTOCOLS),
            "LC_ALL": "C",
        }

    async def make(self) -> None:
        """Make the repository."""
        done = await self._run("init", "--quiet", "--bare")
        if done.returncode:
            raise Unavailable(f"git init: {_last_line(done.stderr)}")
        (self._at / "info").mkdir(exist_ok=True)
        (self._at / "info" / "attributes").write_text(_ATTRIBUTES)

    async def fetch(self, source: RepositorySource) -> None:
        """Fetch one commit; all of the history from a server that cannot give less."""
        common = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules")
        what = ("--", source.url, source.ref or "HEAD")
        done = await self._run(*common, "--depth=1", *what)
        if done.returncode and b"dumb http transport" in done.stderr:
            done = await self._run(*common, *what)
        if done.returncode:
            said = _last_line(done.stderr)
            text = f"unable to fetch {source.url}: {said}"
            missing = "couldn't find remote ref" in said
            raise NotFound(text) if missing else Unavailable(text)

    async def pack(self, source: RepositorySource) -> Path:
        """Write the files as a tar; return where it is."""
        parts = [part for part in source.directory.split("/") if part not in ("", ".")]
        tree = f"FETCH_HEAD:{'/'.join(parts)}" if parts else "FETCH_HEAD"
        packed = self._at / "tree.tar"
        done = await self._run("archive", "--format=tar", f"--output={packed}", tree)
        if done.returncode:
            raise NotFound(f"{source.url}: no directory {source.directory!r}")
        return packed

    async def _run(self, *arguments: str) -> process.Completed:
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        return await process.run(
            ["git", *settings, *arguments], env=self._environment, timeout_s=_RUN_S
        )


def _check(source: RepositorySource) -> None:
    try:
        parts = urlsplit(source.url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as exc:
        raise InvalidParameter(f"invalid repository URL {source.url!r}: {exc}") from exc
    if parts.scheme not in _PROTOCOLS or not host or host.startswith("-"):
        raise InvalidParameter(f"invalid repository URL {source.url!r}")
    if not _URL.fullmatch(source.url):
        raise InvalidParameter(f"invalid repository URL {source.url!r}")
    if source.ref and (not _REF.fullmatch(source.ref) or ".." in source.ref):
        raise InvalidParameter(f"invalid refspec: {source.ref!r}")
    if ".." in source.directory.split("/") or "\0" in source.directory:
        raise InvalidParameter(f"invalid directory in a repository: {source.directory!r}")


def _last_line(said: bytes) -> str:
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "git failed"


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as archive:
        while chunk := archive.read(_CHUNK):
            yield chunk
