import os
from pathlib import Path

from pinnace.host.volume_files import VolumeDirectories


def test_a_volume_is_made_measured_and_removed(tmp_path):
    files = VolumeDirectories(tmp_path)
    files.make("data")
    files.make("data")
    (files.mountpoint("data") / "a").write_bytes(b"12345")
    os.link(files.mountpoint("data") / "a", files.mountpoint("data") / "b")
    assert files.size("data") == 5
    files.remove("data")
    files.remove("data")
    assert list(tmp_path.iterdir()) == []


def test_a_tree_deeper_than_a_path_can_say_is_removed(tmp_path):
    files = VolumeDirectories(tmp_path)
    files.make("deep")
    fd = os.open(files.mountpoint("deep"), os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("dddd", dir_fd=fd)
        below = os.open("dddd", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    files.remove("deep")
    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_half_removed_goes_at_the_next_start(tmp_path):
    (tmp_path / ".removing-x" / "_data").mkdir(parents=True)
    VolumeDirectories(tmp_path)
    assert list(Path(tmp_path).iterdir()) == []
