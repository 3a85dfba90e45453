"""SECURITY class 7: copies through links and races (CVE-2018-15664, CVE-2019-10152)."""

import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.container_files import Setting, tar_of

from pinnace.errors import InvalidParameter, NotFound

pytestmark = pytest.mark.root


@pytest.fixture
def one(tmp_path):
    base = tmp_path / "pn"
    base.mkdir()
    setting = Setting(base)
    setting.run()
    yield setting
    setting.close()


class Renamer:
    """Exchanges a directory and a link to the root in a running container, in a loop."""

    def __init__(self, rootfs: Path):
        self.rootfs = rootfs
        self.stopped = threading.Event()
        self.rounds = 0
        self.thread = threading.Thread(target=self._attack)

    def _attack(self):
        swap, aside, link = (self.rootfs / name for name in ("swap", "aside", "link"))
        while not self.stopped.is_set():
            self.rounds += 1
            with suppress(OSError):
                swap.mkdir()
            with suppress(OSError):
                link.symlink_to("/")
            for source, target in ((swap, aside), (link, swap), (swap, link), (aside, swap)):
                with suppress(OSError):
                    os.rename(source, target)
            if self.rounds % 50 == 0:
                for path in (swap, aside):
                    shutil.rmtree(path, ignore_errors=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()


def put(view, path, **content):
    # Losing the race may fail the copy; it must never leave the root.
    with suppress(NotFound, InvalidParameter):
        view.extract(tar_of(**content), path, no_overwrite_dir_non_dir=False, owner=None)


def test_class_7_a_renaming_container_stays_inside_its_root(one):
    outside = one.base / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret of the host")
    below = str(outside).replace("/", "__")
    with Renamer(one.rootfs) as attacker, one.view() as view:
        for _ in range(300):
            data = b""
            with suppress(NotFound):
                data = b"".join(view.pack(f"/swap{outside}/secret", name="x"))
            assert b"secret of the host" not in data
            put(view, f"/swap{outside}", planted=b"!")
            put(view, "/", **{f"swap{below}__planted": b"!"})
    assert attacker.rounds > 10
    assert os.listdir(outside) == ["secret"]


def test_class_7_links_out_of_the_root_lead_inside(one):
    with one.view() as view:
        with pytest.raises(NotFound):
            b"".join(view.pack("/out/", name="x"))
        assert view.stat("/out").link_target == "/etc/shadow"
    assert not (one.rootfs / "etc/shadow").exists()


def test_class_7_a_volumes_link_to_the_host_leads_into_the_container(one):
    (one.volume / "link").symlink_to("/etc/hostname")
    with one.view(one.on_volume()) as view, pytest.raises(NotFound):
        b"".join(view.pack("/data/link/", name="x"))


def test_class_7_a_mount_point_that_is_a_link_lands_inside(one):
    (one.rootfs / "evil").symlink_to(str(one.base / "outside"))
    (one.base / "outside").mkdir()
    with suppress(Exception), one.view(one.on_volume()):
        pass
    mounts = one.on_volume()
    moved = type(mounts)(mounts.source, "/evil/point")
    with suppress(Exception), one.view(moved):
        pass
    assert os.listdir(one.base / "outside") == []
