"""A container's files on overlayfs, and a volume, for tests of views."""

import io
import shutil
import tarfile
from pathlib import Path

from pinnace.contracts.bundles import snapshot_key
from pinnace.contracts.files import ViewMount
from pinnace.host.kernel import mount
from pinnace.host.runtime.files import HostFiles
from pinnace.host.snapshots.overlay import OverlaySnapshots
from pinnace.model.record import ContainerId

CONTAINER = ContainerId("c0" * 32)


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
        for name in ("data", "exec", "rootfs", "volume"):
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
        self.rootfs = base / "rootfs"
        self.volume = base / "volume"
        self.files = HostFiles(base / "exec", self.snapshots, lambda _id: self.rootfs)

    def run(self):
        self.snapshots.mount(snapshot_key(CONTAINER), self.rootfs)

    def view(self, *mounts, **how):
        return self.files.view(CONTAINER, mounts, **how)

    def on_volume(self, **how):
        return ViewMount(str(self.volume), "/data", **how)

    def close(self):
        while mount.unmount(self.rootfs):
            pass
        assert not list((self.base / "exec/views").iterdir())
        assert str(self.base) not in Path("/proc/self/mountinfo").read_text()
        shutil.rmtree(self.base)
