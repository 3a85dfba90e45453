"""A container's files on overlayfs, and a volume, for tests of views."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from pinnace.contracts.bundles import snapshot_key
from pinnace.contracts.files import ViewMount
from pinnace.host.runtime.bundles import HostBundles
from pinnace.host.runtime.files import HostFiles
from pinnace.host.snapshots.overlay import OverlaySnapshots
from pinnace.model.record import ContainerId

CONTAINER = ContainerId("c0" * 32)
# Goes into a mount namespace of its own, makes argv[1] its root, as runtimes do, and stays.
IN_ROOT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
call(libc.unshare(0x20000))
call(libc.mount(b"", b"/", None, 1 << 18 | 16384, None))
os.chdir(sys.argv[1])
call(libc.syscall(%d, b".", b"."))
call(libc.umount2(b".", 2))
for command in sys.stdin:
    exec(command)
    print("done", flush=True)
"""
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[os.uname().machine]


def tar_of(**members):
    """A tar; values: bytes a file, None a directory, str a link. `__` in names is a slash."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.mode = 0o755
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    out.seek(0)
    return out


def members(chunks):
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        return {
            info.name: tar.extractfile(info).read() if info.isreg() else info.linkname
            for info in tar
        }


class Setting:
    """A container's snapshot, mounted or not, and a place for volumes."""

    def __init__(self, base: Path):
        self.base = base
        for name in ("data", "exec", "volume"):
            (base / name).mkdir()
        self.snapshots = OverlaySnapshots(base / "data")
        layer = tar_of(
            etc=None,
            etc__passwd=b"root:x:0:0::/:\nweb:x:33:34::/:\n",
            etc__hosts=b"empty\n",
            run=None,
            run__pid=b"1\n",
            var=None,
            var__run="/run",
            data=None,
            file=b"content\n",
            out="../../../../../../etc/shadow",
        )
        chain, _ = self.snapshots.ingest_layer(None, layer)
        self.snapshots.prepare(snapshot_key(CONTAINER), chain)
        self.volume = base / "volume"
        self.bundles = HostBundles(base / "data", base / "exec", self.snapshots)
        self.files = HostFiles(base / "exec", self.snapshots, self.bundles.copy_rootfs)
        self.process = None

    @property
    def rootfs(self):
        """Where the container's root is on the host."""
        if self.process is not None:
            return Path(f"/proc/{self.process.pid}/root")
        return self.bundles.rootfs(CONTAINER)

    def start(self):
        """Mount the root, as before a start."""
        self.bundles.mount_rootfs(CONTAINER)

    def run(self):
        """Have a process with the root, which is detached from the host."""
        if not self.bundles.bundle(CONTAINER).exists():
            self.start()
        command = [sys.executable, "-c", IN_ROOT % PIVOT_ROOT, str(self.rootfs)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.inside("pass")
        self.bundles.write_bundle_file(CONTAINER, "pid", str(self.process.pid).encode())
        self.bundles.detach_rootfs(CONTAINER)

    def inside(self, command):
        """Let the process do something."""
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self):
        """End the process."""
        if self.process is not None:
            self.process.communicate()
            self.process = None

    def view(self, *mounts, **how):
        return self.files.view(CONTAINER, mounts, **how)

    def on_volume(self, **how):
        return ViewMount(str(self.volume), "/data", **how)

    def close(self):
        self.end()
        self.bundles.remove(CONTAINER)
        assert not list((self.base / "exec/views").iterdir())
        assert str(self.base) not in Path("/proc/self/mountinfo").read_text()
        shutil.rmtree(self.base)
