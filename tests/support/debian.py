"""A minimal system of this machine's own release, made once by debootstrap.

It lies as a tar below `.cache`, named by what it was made from; `./dev clean` removes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import subprocess
import tempfile
from pathlib import Path

from tests.support import package_sources

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "debian"
DEADLINE_S = 540

# In memory and in a mount namespace of its own: dpkg syncs every file it writes, and a run that
# is broken off leaves no mounts. Documentation, lists and caches go, as from Debian's slim images.
_SCRIPT = """
tree=$1 tar=$2 suite=$3 mirror=$4
mount -t tmpfs -o mode=0755 tmpfs "$tree"
debootstrap --variant=minbase "$suite" "$tree" $mirror </dev/null
cd "$tree"
rm -rf var/cache/apt/* var/lib/apt/lists/* var/log/* usr/share/doc/* usr/share/man/* \
    usr/share/locale/* usr/share/info/* dev/* run/* tmp/* etc/hostname etc/resolv.conf
tar --numeric-owner --sort=name -cf "$tar" .
"""


def suite() -> str:
    """Return the code name of this machine's release, such as "bookworm"."""
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise RuntimeError("/etc/os-release names no release that debootstrap could make")


def root_archive() -> Path:
    """Return the tar of the system's root directory; it is made if it is not there.

    Raises:
        RuntimeError: debootstrap did not end well, such as without a way to the packages.
    """
    release, mirror = suite(), package_sources.mirror(suite())
    key = hashlib.sha256(f"{mirror}\n{_SCRIPT}".encode()).hexdigest()[:12]
    wanted = CACHE / f"{release}-{platform.machine()}-{key}.tar"
    if wanted.is_file():
        return wanted
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".new-") as made:
        tree, tar = Path(made, "tree"), Path(made, "root.tar")
        tree.mkdir()
        _debootstrap(tree, tar, release, mirror)
        with contextlib.suppress(FileExistsError):  # somebody else was as quick
            tar.rename(wanted)
    _give_to_the_owner_of_the_checkout(CACHE.parent, CACHE, wanted)
    return wanted


def _debootstrap(tree: Path, tar: Path, release: str, mirror: str) -> None:
    command = ["unshare", "--mount", "sh", "-euc", _SCRIPT, "sh"]
    done = subprocess.run(
        [*command, str(tree), str(tar), release, mirror],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=DEADLINE_S,
    )
    if done.returncode != 0:
        end = "\n".join(done.stdout.decode(errors="replace").splitlines()[-10:])
        raise RuntimeError(f"debootstrap {release} failed; are packages within reach?\n{end}")


def _give_to_the_owner_of_the_checkout(*paths: Path) -> None:
    owner = ROOT.stat()
    for path in paths:
        os.chown(path, owner.st_uid, owner.st_gid)
