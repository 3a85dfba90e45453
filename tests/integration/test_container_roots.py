"""Roots of running containers, which are in a mount namespace of their own."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.container_files import CONTAINER, Setting

from pinnace.errors import Conflict
from pinnace.host.kernel import mount, mount_namespace
from pinnace.host.kernel.paths import directory
from pinnace.host.runtime.roots import Roots

pytestmark = pytest.mark.root


@pytest.fixture
def one(tmp_path):
    base = tmp_path / "pn"
    base.mkdir()
    setting = Setting(base)
    yield setting
    setting.close()


@pytest.fixture
def bundle(one):
    one.run()
    return one.bundles.bundle(CONTAINER)


def entries(roots, bundle):
    with roots.root(bundle) as root_fd, directory(f"/proc/self/fd/{root_fd}") as listed:
        return set(os.listdir(listed))


def roots_of(one):
    return Roots(one.base / "exec/roots")


def mounts():
    return Path("/proc/self/mountinfo").read_text()


def test_a_detached_root_is_not_among_the_hosts_mounts_and_still_found(one, bundle):
    assert str(bundle) not in mounts()
    (one.rootfs / "new").touch()
    assert {"file", "new"} <= entries(roots_of(one), bundle)
    copy = one.bundles.copy_rootfs(CONTAINER)
    assert os.fstat(copy).st_dev == one.rootfs.stat().st_dev
    os.close(copy)


def test_detaching_may_be_repeated_and_needs_no_bundle(one, bundle):
    one.bundles.detach_rootfs(CONTAINER)
    assert "file" in entries(roots_of(one), bundle)
    one.bundles.detach_rootfs("none")


def test_the_next_daemon_finds_what_the_last_one_detached(one, bundle):
    code = """
import sys
from pathlib import Path
from tests.support.container_files import CONTAINER
from pinnace.host.runtime.roots import Roots
with Roots(Path(sys.argv[1])).root(Path(sys.argv[2])) as root:
    print(Path(f"/proc/self/fd/{root}/file").read_text(), end="")
"""
    command = [sys.executable, "-c", code, str(one.base / "exec/roots"), str(bundle)]
    repository = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, cwd=repository, check=False)
    assert done.stdout == b"content\n", done.stderr
    one.end()
    assert not os.listdir(f"/proc/self/fd/{one.bundles._roots._top}")


def test_a_root_is_detached_although_a_crash_came_between_the_two_steps(one, bundle):
    mount.mount("overlay-of-the-host", one.mount_point, "tmpfs")
    one.bundles.detach_rootfs(CONTAINER)
    assert str(bundle) not in mounts()
    assert "file" in entries(roots_of(one), bundle)


def test_names_of_users_are_looked_up_in_a_detached_root(one, bundle):
    assert one.bundles.identity(CONTAINER, "web", []).uid == 33
    with (one.rootfs / "etc/passwd").open("a") as file:
        file.write("new:x:77:78::/:\n")
    assert one.bundles.identity(CONTAINER, "new", []).gid == 78


def test_an_ended_container_has_no_root(one, bundle):
    one.end()
    with pytest.raises(FileNotFoundError):
        one.bundles.copy_rootfs(CONTAINER)
    with pytest.raises(Conflict, match="is not running"):
        one.bundles.identity(CONTAINER, "web", [])


def test_a_start_clears_away_what_the_last_run_left(one, bundle):
    (bundle / "pid").write_text("1")
    before = one.rootfs.stat().st_dev
    one.start()
    assert not (bundle / "pid").exists()
    assert one.mount_point.stat().st_dev != before
    one.run()
    assert "file" in entries(roots_of(one), bundle)


def test_nothing_but_roots_is_in_the_namespace_and_its_end_leaves_nothing(one, bundle):
    place = one.base / "exec/roots"
    listed = subprocess.run(
        ["nsenter", f"--mount={place}/namespace", "--no-fork"],
        capture_output=True,
        check=False,
    )
    assert listed.returncode == 127  # no program is there
    top = one.bundles._roots._top
    assert os.listdir(f"/proc/self/fd/{top}") == [CONTAINER]
    one.end()
    one.bundles.close()
    assert not place.exists()
    assert str(place) not in mounts()


def test_where_no_namespace_can_be_made_roots_stay_mounted(one, monkeypatch, caplog):
    def refused():
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(mount_namespace, "enter_empty", refused)
    one.start()
    for _ in range(2):
        one.bundles.detach_rootfs(CONTAINER)
    assert one.mount_point.is_mount()
    assert caplog.text.count("stay among the host's mounts") == 1
    with one.view() as view:
        assert view.stat("/file").size == 8
    assert one.bundles.identity(CONTAINER, "web", []).uid == 33


# argv: a directory, and "" or what becomes the root directory, with or without a mount of its own
ELSEWHERE = """
import ctypes, os, subprocess, sys
from pathlib import Path
from pinnace.host.kernel import mount
from pinnace.host.runtime.roots import Roots
assert ctypes.CDLL(None).unshare(0x20000) == 0
mount.mount("", Path("/"), "", flags=mount.MS_SHARED | mount.MS_REC)
slave = ["unshare", "--mount", "--propagation", "slave", "cat"]
service = subprocess.Popen(slave, stdin=subprocess.PIPE)
base, root, is_mount = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "mount"
if sys.argv[2]:
    if is_mount:
        mount.bind(Path("/"), root, recursive=True)
    else:
        (root / "proc").mkdir()
        mount.bind(Path("/proc"), root / "proc", recursive=True)
    os.chroot(root)
    os.chdir("/")
bundle = base / "c0"
(bundle / "rootfs").mkdir(parents=True)
mount.mount("root", bundle / "rootfs", "tmpfs")
(bundle / "rootfs/file").touch()
roots = Roots(base / "roots")
roots.detach(bundle)
assert not (bundle / "rootfs/file").exists()
with roots.root(bundle) as found:
    assert Path(f"/proc/self/fd/{found}/file").exists()
again = Roots(base / "roots")
os.close(again.copy(bundle))
again.drop(bundle)
roots.close()
assert not (base / "roots").exists()
service.communicate()
print("done")
"""


@pytest.mark.parametrize(("root", "kind"), [("", ""), ("root", "directory"), ("root", "mount")])
def test_it_works_among_shared_mounts_and_in_a_chroot(tmp_path, root, kind):
    base = tmp_path / "base"
    if root:
        (tmp_path / root).mkdir()
        root = str(tmp_path / root)
    command = [sys.executable, "-c", ELSEWHERE, str(base), root, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr
    assert "stay among" not in done.stderr
