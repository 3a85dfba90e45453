import io
import socket
import stat
import tarfile

import pytest
from tests.support.container_files import CONTAINER, Setting, members, tar_of

from pinnace.contracts.files import ViewMount
from pinnace.errors import Forbidden, InvalidParameter, NotFound
from pinnace.host.kernel import mount
from pinnace.host.runtime import roots
from pinnace.host.runtime.files import HostFiles

pytestmark = pytest.mark.root


@pytest.fixture(params=["starting", "running", "stopped"])
def one(request, tmp_path):
    base = tmp_path / "pn"
    base.mkdir()
    setting = Setting(base)
    if request.param == "starting":
        setting.start()
    elif request.param == "running":
        setting.run()
    yield setting
    setting.close()


def test_a_file_is_found_whether_the_container_runs_or_not(one):
    with one.view() as view:
        found = view.stat("/file")
        assert (found.size, stat.S_ISREG(found.mode)) == (8, True)
        assert members(view.pack("/file", name="file")) == {"file": b"content\n"}


@pytest.mark.parametrize("when", ["before it is opened", "after"])
@pytest.mark.parametrize("what", ["run", "end"])
def test_the_files_of_a_container_that_changes_meanwhile_are_found(one, monkeypatch, what, when):
    if not one.bundles.bundle(CONTAINER).exists():
        one.start()
    opened = roots._mounted
    left = [getattr(one, what)]

    def opened_late(path, *where, **how):
        if not left or path != one.mount_point:
            return opened(path, *where, **how)
        change = left.pop()
        if when == "after":
            descriptor = opened(path, *where, **how)
            change()
            return descriptor
        change()
        return opened(path, *where, **how)

    if one.rootfs == one.mount_point:
        monkeypatch.setattr(roots, "_mounted", opened_late)
    with one.view() as view:
        assert view.stat("/file").size == 8


def test_absolute_links_lead_inside_the_container(one):
    with one.view() as view:
        assert view.stat("/var/run").link_target == "/run"
        assert stat.S_ISDIR(view.stat("/var/run/").mode)
        assert members(view.pack("/var/run/pid", name="pid")) == {"pid": b"1\n"}
        assert members(view.pack("/var/run/.", name=".")) == {".": "", "./pid": b"1\n"}


def test_a_volume_is_seen_and_written(one):
    (one.volume / "kept").write_bytes(b"kept\n")
    with one.view(one.on_volume()) as view:
        assert members(view.pack("/data", name="data"))["data/kept"] == b"kept\n"
        extract(view, "/data", new=b"new\n")
    assert (one.volume / "new").read_bytes() == b"new\n"


def test_below_a_directory_volumes_are_archived_too(one):
    (one.volume / "kept").write_bytes(b"kept\n")
    with one.view(one.on_volume()) as view:
        found = {
            name.lstrip("/"): data for name, data in members(view.pack("/", name="/")).items()
        }
        assert found["data/kept"] == b"kept\n"


def test_mount_points_are_made_where_they_are_missing(one):
    source = one.volume / "single"
    source.write_bytes(b"one file\n")
    mounts = (
        ViewMount(str(one.volume), "/new/deep/dir"),
        ViewMount(str(source), "/var/run/single"),
    )
    with one.view(*mounts) as view:
        assert view.stat("/new/deep/dir/single").size == 9
        assert view.stat("/run/single").size == 9


def test_a_part_of_a_volume_is_resolved_inside_the_volume(one):
    (one.volume / "part").mkdir()
    (one.volume / "part/x").write_bytes(b"x")
    (one.volume / "escape").symlink_to("/etc")
    with one.view(one.on_volume(subpath="part")) as view:
        assert view.stat("/data/x").size == 1
    with pytest.raises(Exception, match="cannot open the files"):
        with one.view(one.on_volume(subpath="escape")):
            pass


def test_optional_mounts_stay_out_where_they_have_no_place(one):
    source = one.volume / "hosts"
    source.write_bytes(b"given\n")
    mounts = [ViewMount(str(source), f"/etc/{name}", optional=True) for name in ("hosts", "none")]
    with one.view(*mounts) as view:
        assert members(view.pack("/etc/hosts", name="hosts")) == {"hosts": b"given\n"}
        with pytest.raises(NotFound):
            view.stat("/etc/none")


def test_nothing_of_a_view_shows_in_the_container(one):
    (one.volume / "kept").touch()
    with one.view(one.on_volume()):
        assert not (one.rootfs / "data/kept").exists()


def test_writes_reach_the_container(one):
    with one.view() as view:
        extract(view, "/var/run", written=b"here\n")
    with one.view() as view:
        assert view.stat("/run/written").size == 5


def extract(view, path, *, owner=None, strict=False, **content):
    view.check_writable(path)
    view.extract(tar_of(**content), path, no_overwrite_dir_non_dir=strict, owner=owner)


def test_files_can_be_given_to_the_containers_user(one):
    with one.view() as view:
        assert view.owner("web") == (33, 34)
        extract(view, "/run", owner=view.owner("web"), mine=b"x")
    with one.view() as view:
        with tarfile.open(fileobj=io.BytesIO(b"".join(view.pack("/run/mine", name="m")))) as tar:
            (info,) = tar
    assert (info.uid, info.gid) == (33, 34)


def test_a_directory_does_not_give_way_to_a_file_when_told_so(one):
    with one.view() as view:
        with pytest.raises(InvalidParameter, match='cannot overwrite directory "/run"'):
            extract(view, "/", strict=True, run=b"file")
        with pytest.raises(InvalidParameter, match='cannot overwrite non-directory "/file"'):
            extract(view, "/", strict=True, file=None)
        extract(view, "/", file=None)
        assert stat.S_ISDIR(view.stat("/file").mode)


def test_read_only_places_refuse_writes(one):
    with one.view(one.on_volume(read_only=True)) as view:
        with pytest.raises(Forbidden, match="mounted volume is marked read-only"):
            view.check_writable("/data")
        with pytest.raises(Exception, match="Read-only file system"):
            view.extract(tar_of(x=b""), "/data", no_overwrite_dir_non_dir=False, owner=None)
    with one.view(one.on_volume(), read_only_root=True) as view:
        with pytest.raises(Forbidden, match="container rootfs is marked read-only"):
            view.check_writable("/run")
        extract(view, "/data", fine=b"")
    assert (one.volume / "fine").exists()
    assert not (one.volume / "x").exists()


def test_only_a_directory_takes_an_archive(one):
    with one.view() as view:
        with pytest.raises(InvalidParameter, match="extraction point is not a directory"):
            view.check_writable("/file")
        with pytest.raises(NotFound):
            view.check_writable("/nowhere")


def test_export_is_the_root_without_volumes(one):
    (one.volume / "kept").touch()
    with one.view() as view:
        found = members(view.export())
    assert found["file"] == b"content\n"
    assert found["var/run"] == "/run"
    assert "data/kept" not in found


def test_sockets_are_left_out(one):
    if one.rootfs == one.mount_point:
        one.run()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(one.rootfs / "run/sock"))
        with one.view() as view:
            assert "run/sock" not in members(view.pack("/run", name="run"))


def test_a_failed_mount_leaves_nothing_behind(one):
    with pytest.raises(Exception, match="cannot open the files"):
        with one.view(ViewMount("/no/such/source", "/data")):
            pass


def test_views_of_a_crashed_daemon_are_removed(one):
    leaked = one.base / "exec/views/leaked"
    leaked.mkdir()
    mount.mount("tmpfs", leaked, "tmpfs")
    HostFiles(one.base / "exec", one.snapshots, one.bundles.copy_rootfs)
    assert not leaked.exists()


def test_submounts_of_a_bind_survive_the_end_of_the_view(one):
    # A view shares nothing with the mounts it shows: taking it away must not take theirs.
    shared = one.base / "shared"
    shared.mkdir()
    mount.mount("tmpfs", shared, "tmpfs")
    mount.mount("", shared, "", flags=mount.MS_SHARED)
    (shared / "below").mkdir()
    mount.mount("tmpfs", shared / "below", "tmpfs")
    (shared / "below/file").touch()
    try:
        with one.view(ViewMount(str(shared), "/data", recursive=True)) as view:
            assert view.stat("/data/below/file").size == 0
        assert (shared / "below/file").exists()
    finally:
        mount.unmount(shared / "below")
        mount.unmount(shared)
