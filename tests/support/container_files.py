"""A container's files on overlayfs, and a volume, for tests of views."""

import io
import os
import shutil
import tarfile
from pathlib import Path

from pinnace.contracts.bundles import snapshot_key
from pinnace.contracts.files import ViewMount
from pinnace.host.runtime.bundles import HostBundles
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
        self._root = -1

    @property
    def rootfs(self):
        """Where the container's root is on the host."""
        return Path(f"/proc/self/fd/{self._root}") if self._root >= 0 else self.mount_point

    @property
    def mount_point(self):
        return self.bundles.rootfs(CONTAINER)

    def start(self):
        """Mount the root, as before a start."""
        self.bundles.mount_rootfs(CONTAINER)

    def run(self):
        """Detach the root from the host, as after a start."""
        if not self.bundles.bundle(CONTAINER).exists():
            self.start()
        self._root = os.open(self.mount_point, os.O_PATH | os.O_CLOEXEC)
        self.bundles.detach_rootfs(CONTAINER)

    def end(self):
        """Clear up as after the end."""
        if self._root >= 0:
            os.close(self._root)
            self._root = -1
        self.bundles.unmount_rootfs(CONTAINER)

    def view(self, *mounts, **how):
        return self.files.view(CONTAINER, mounts, **how)

    def on_volume(self, **how):
        return ViewMount(str(self.volume), "/data", **how)

    def close(self):
        self.end()
        self.bundles.remove(CONTAINER)
        self.bundles.close()
        assert not list((self.base / "exec/views").iterdir())
        assert str(self.base) not in Path("/proc/self/mountinfo").read_text()
        shutil.rmtree(self.base)
