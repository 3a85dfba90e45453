"""Roots of running containers, which are in no mount table but their own."""

import os
from pathlib import Path

import pytest
from tests.support.container_files import CONTAINER, Setting

from pinnace.errors import Conflict, Internal
from pinnace.host.kernel.paths import directory
from pinnace.host.runtime.roots import copy_root, detach_root, root_of

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


def entries(bundle):
    with root_of(bundle) as root_fd, directory(f"/proc/self/fd/{root_fd}") as listed:
        return set(os.listdir(listed))


def mounts():
    return Path("/proc/self/mountinfo").read_text()


def test_a_detached_root_is_in_no_table_of_the_host_and_still_found(one, bundle):
    assert str(bundle) not in mounts()
    assert "file" in entries(bundle)
    one.inside("open('/new', 'w').close()")
    assert "new" in entries(bundle)
    copy = copy_root(bundle)
    assert os.fstat(copy).st_dev == one.rootfs.stat().st_dev
    os.close(copy)


def test_detaching_may_be_repeated_and_needs_no_bundle(one, bundle):
    detach_root(bundle)
    assert "file" in entries(bundle)
    detach_root(bundle.parent / "none")


def test_a_root_is_detached_although_a_crash_came_between_note_and_unmount(one):
    one.start()
    bundle = one.bundles.bundle(CONTAINER)
    (bundle / "root-device").touch()
    assert "file" in entries(bundle)
    one.run()
    assert str(bundle) not in mounts()
    assert "file" in entries(bundle)


def test_names_of_users_are_looked_up_in_a_detached_root(one, bundle):
    assert one.bundles.identity(CONTAINER, "web", []).uid == 33
    one.inside("open('/etc/passwd', 'a').write('new:x:77:78::/:\\n')")
    assert one.bundles.identity(CONTAINER, "new", []).gid == 78


def test_an_ended_container_has_no_root(one, bundle):
    one.end()
    with pytest.raises(FileNotFoundError):
        copy_root(bundle)
    with pytest.raises(Conflict, match="is not running"):
        one.bundles.identity(CONTAINER, "web", [])


MOUNT = (
    "call(libc.mount(b'tmpfs', b'%s', b'tmpfs', 0, None)); "
    "os.chroot('%s'); open('/planted', 'w').close()"
)


def test_class_7_what_a_container_mounts_on_its_root_is_not_seen(one, bundle):
    one.inside(MOUNT % ("/etc", "/etc"))
    assert os.path.exists(one.rootfs / "planted")
    assert one.bundles.identity(CONTAINER, "web", []).uid == 33


def test_class_7_a_root_that_a_container_mounts_over_its_own_is_refused(one, bundle):
    one.inside(MOUNT % ("/", "/.."))
    with pytest.raises(Internal, match="mounted over"):
        copy_root(bundle)
    with pytest.raises(Internal, match="mounted over"):
        with one.view():
            pass


def test_a_process_that_has_taken_the_id_of_an_ended_one_gives_nothing_away(one, bundle):
    one.bundles.write_bundle_file(CONTAINER, "pid", str(os.getpid()).encode())
    with pytest.raises(Internal, match="mounted over"):
        copy_root(bundle)
