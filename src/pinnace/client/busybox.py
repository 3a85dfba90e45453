"""The embedded image: `busybox:latest`, made from the distribution's static busybox.

A host without a registry still gets a working first container. The bytes, and so the digests,
depend on the busybox program alone.
"""

import struct
import subprocess
from pathlib import Path

from pinnace.client.image_archive import (
    PATH,
    Entry,
    build_archive,
    directory,
    hard_link,
    pack_layer,
    symlink,
)

REFERENCE = "busybox:latest"

# e_machine of the ELF header -> architecture as OCI names it.
ARCHITECTURES = {62: "amd64", 183: "arm64", 40: "arm", 3: "386", 21: "ppc64le", 22: "s390x"}
ARCHITECTURES |= {243: "riscv64"}

USERS = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:Operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
"""
GROUPS = """\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
mail:x:8:
wheel:x:10:root
www-data:x:33:
utmp:x:43:
users:x:100:
nogroup:x:65534:
"""
SHADOW = """\
root:*:::::::
daemon:*:::::::
bin:*:::::::
sys:*:::::::
mail:*:::::::
www-data:*:::::::
operator:*:::::::
nobody:*:::::::
"""
NSSWITCH = """\
passwd: files
group: files
shadow: files
hosts: files dns
"""


class UnusableBusybox(Exception):
    """The given program is not a static busybox for a known machine."""


def build_busybox_archive(busybox: Path) -> bytes:
    """Return a docker-archive tar of `busybox:latest`.

    Args:
        busybox: A statically linked busybox which runs on this machine, such as `/bin/busybox` of
            Debian's busybox-static. It is run once, for the list of its applets.

    Raises:
        UnusableBusybox: Not an ELF program of a known machine, or dynamically linked.
        OSError: It cannot be read or run.
    """
    machine = architecture(busybox.read_bytes())
    return build_archive(
        [REFERENCE],
        [busybox_layer(busybox)],
        architecture=machine,
        config={"Cmd": ["sh"], "Env": [f"PATH={PATH}"]},
        created_by="pinnace: static busybox of the host",
    )


def busybox_layer(busybox: Path) -> bytes:
    """Return the plain tar of the image's only layer: the program, its applets, /etc, /tmp, ….

    Raises:
        OSError: The program cannot be read or run.
    """
    return pack_layer(_entries(busybox.read_bytes(), _applets(busybox)))


def architecture(program: bytes) -> str:
    """Return the architecture of a static ELF program as OCI names it.

    Raises:
        UnusableBusybox: As `build_busybox_archive` says.
    """
    if program[:4] != b"\x7fELF" or len(program) < 64:
        raise UnusableBusybox("busybox is not an ELF program")
    order = "<" if program[5] == 1 else ">"
    if _has_interpreter(program, order):
        raise UnusableBusybox(
            "busybox is dynamically linked; a static one is needed (package busybox-static)"
        )
    (machine,) = struct.unpack_from(order + "H", program, 18)
    try:
        return ARCHITECTURES[machine]
    except KeyError:
        raise UnusableBusybox(f"busybox is for an unknown machine (ELF {machine})") from None


def _has_interpreter(program: bytes, order: str) -> bool:
    """Tell whether a program header of type PT_INTERP (3) names a dynamic loader; elf(5)."""
    if program[4] == 2:
        (start,) = struct.unpack_from(order + "Q", program, 32)
        size, count = struct.unpack_from(order + "HH", program, 54)
    else:
        (start,) = struct.unpack_from(order + "I", program, 28)
        size, count = struct.unpack_from(order + "HH", program, 42)
    kinds = (struct.unpack_from(order + "I", program, start + i * size)[0] for i in range(count))
    return 3 in kinds


def _applets(busybox: Path) -> list[str]:
    listing = subprocess.run(
        [str(busybox), "--list"], check=True, capture_output=True, text=True, env={}
    )
    return sorted(set(listing.stdout.split()) - {"busybox"})


def _entries(program: bytes, applets: list[str]) -> list[Entry]:
    tree = [directory("bin"), Entry("bin/busybox", mode=0o755, data=program)]
    tree += [hard_link(f"bin/{applet}", "bin/busybox") for applet in applets]
    tree += [directory(name) for name in ("dev", "etc", "etc/network")]
    tree += [
        Entry("etc/group", data=GROUPS.encode()),
        Entry("etc/nsswitch.conf", data=NSSWITCH.encode()),
        Entry("etc/passwd", data=USERS.encode()),
        Entry("etc/shadow", mode=0o600, data=SHADOW.encode()),
        directory("home", owner=(65534, 65534)),
        directory("root", 0o700),
        directory("tmp", 0o1777),
    ]
    tree += [directory(name) for name in ("usr", "usr/bin", "usr/sbin")]
    tree.append(symlink("usr/bin/env", "../../bin/env"))
    tree += [directory(name) for name in ("var", "var/spool", "var/spool/mail", "var/www")]
    tree += [directory("var/tmp", 0o1777), symlink("var/run", "/run"), directory("run")]
    return tree
