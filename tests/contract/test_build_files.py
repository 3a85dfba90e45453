"""What every implementation of `contracts.build_files.BuildFiles` promises."""

from __future__ import annotations

import gzip
import hashlib
import io
from pathlib import Path

import pytest
from tests.support.archives import file, folder, hardlink, symlink, tar_of

from pinnace.contracts.build_files import (
    BuildFiles,
    ContextLimits,
    CopyJob,
    DirectoryJob,
    Origin,
    Selection,
)
from pinnace.contracts.snapshots import SnapshotKey, Snapshots
from pinnace.errors import InvalidParameter, NotFound
from pinnace.host.builds.files import HostBuildFiles
from pinnace.host.snapshots.overlay import OverlaySnapshots
from pinnace.testing.build_files import FakeBuildFiles
from pinnace.testing.snapshots import FakeSnapshots

KEY = SnapshotKey("step")
SECOND = 1_000_000_000
CONTEXT = tar_of(
    file("f", b"one", mode=0o640, uid=3, gid=4, mtime=1000),
    folder("d", mode=0o750),
    file("d/g", b"two", mode=0o755, mtime=2000),
    symlink("d/l", "/etc/passwd"),
    file("d/e", b""),
)
BASE = tar_of(
    folder("etc"),
    file("etc/passwd", b"ada:x:7:8::/:\n"),
    file("etc/group", b"staff:x:9:\n"),
    folder("real", mode=0o700, uid=5),
    file("real/kept", b"kept"),
    symlink("way", "/real"),
    symlink("out", "../../../../etc"),
    symlink("round", "round"),
    hardlink("real/other", "real/kept"),
)
LIMITS = ContextLimits(max_read=10)


class World:
    def __init__(self, files: BuildFiles, snapshots: Snapshots, exec_root: Path | None) -> None:
        self.files = files
        self.snapshots = snapshots
        self._exec_root = exec_root
        self.base, _ = snapshots.ingest_layer(None, io.BytesIO(BASE))

    def left(self) -> list[str]:
        """Return active snapshots and mounts."""
        if self._exec_root is None:
            return [*self.snapshots.active, *map(str, self.snapshots.mounts)]
        snapshots = self._exec_root.parent / "overlay2/snapshots"
        return [
            path.name for at in (snapshots, self._exec_root / "builds") for path in at.iterdir()
        ]

    def selections(self, context: str = "c", archive: bytes = CONTEXT) -> dict[str, Selection]:
        """Receive a context; return what can be copied from it, by name."""
        entries = self.files.receive(context, io.BytesIO(archive))
        found = {
            entry.path: Selection(
                entry.path.rpartition("/")[2], entry.path, is_directory=False, entries=[entry]
            )
            for entry in entries
            if entry.kind != "directory"
        }
        for top in [entry.path for entry in entries if entry.kind == "directory"]:
            below = [entry for entry in entries if entry.path.startswith(f"{top}/")]
            found[top] = Selection("", top, is_directory=True, entries=below)
        return found

    def layer(self, *jobs, base=None, key=KEY) -> dict:
        """Do jobs on the base; return all files then, by path."""
        chain = self.chain(*jobs, base=base, key=key)
        with self.files.tree(chain) as tree:
            return {entry.path: entry for entry in tree.walk("")}

    def chain(self, *jobs, base=None, key=KEY):
        base = base or self.base
        self.files.apply(key, base, jobs)
        chain, _ = self.snapshots.commit(key, base)
        self.snapshots.remove(key)
        return chain


@pytest.fixture(params=["fake", pytest.param("overlay", marks=pytest.mark.root)])
def world(request, tmp_path):
    if request.param == "fake":
        snapshots = FakeSnapshots()
        made = World(FakeBuildFiles(snapshots, LIMITS), snapshots, None)
    else:
        (tmp_path / "exec").mkdir()
        real = OverlaySnapshots(tmp_path / "overlay2")
        files = HostBuildFiles(tmp_path / "data", tmp_path / "exec", real, limits=LIMITS)
        made = World(files, real, tmp_path / "exec")
    yield made
    assert made.left() == []


@pytest.fixture
def files(world):
    return world.files


def job(*selections, target, context="c", **more):
    return CopyJob(origin=Origin(context=context), selections=selections, target=target, **more)


# Contexts


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_members_are_returned_in_their_order_with_what_they_hold(files, pack):
    entries = files.receive("c", io.BytesIO(pack(CONTEXT)))
    shown = [(entry.path, entry.kind, entry.mode, entry.size) for entry in entries]
    assert shown == [
        ("f", "file", 0o640, 3), ("d", "directory", 0o750, 0), ("d/g", "file", 0o755, 3),
        ("d/l", "symlink", 0o777, 0), ("d/e", "file", 0o644, 0),
    ]  # fmt: skip
    assert (entries[0].uid, entries[0].gid, entries[0].mtime_ns) == (3, 4, 1000 * SECOND)
    assert entries[3].link == "/etc/passwd"
    assert [files.read("c", entry) for entry in (entries[0], entries[2])] == [b"one", b"two"]


def test_a_hard_link_tells_the_path_of_the_other_name(files):
    archive = tar_of(file("a", b"x"), hardlink("b", "./a"))
    _, entry = files.receive("c", io.BytesIO(archive))
    assert (entry.kind, entry.link.removeprefix("./"), entry.size) == ("hardlink", "a", 0)


def test_sums_tell_contents_and_attributes_apart_and_not_times(files):
    plain = {"content": b"x", "mode": 0o644, "mtime": 1}
    changes = [{}, {"mtime": 2}, {"content": b"y"}, {"mode": 0o600}, {"uid": 1}, {"gid": 1}]
    sums = []
    for number, change in enumerate(changes):
        archive = tar_of(file("f", **{**plain, **change}))
        sums.append(files.receive(f"c{number}", io.BytesIO(archive))[0].sum)
    assert sums[0] == sums[1]
    assert len(set(sums)) == len(sums) - 1


@pytest.mark.parametrize(
    "broken",
    [
        b"no archive at all" * 64,
        CONTEXT[:700],
        gzip.compress(CONTEXT)[:-9],
        tar_of(file("a"), file("../x")),
        tar_of(file("a"), file("b/../../x")),
    ],
)
def test_a_broken_or_hostile_context_leaves_nothing(files, broken):
    with pytest.raises(InvalidParameter):
        files.receive("c", io.BytesIO(broken))
    assert files.repair() == []
    assert len(files.receive("c", io.BytesIO(CONTEXT))) == 5


def test_a_source_that_breaks_off_leaves_nothing(files):
    class Breaking(io.BytesIO):
        def read(self, size=-1, /):
            if self.tell() > 100:
                raise NotFound("gone")
            return super().read(min(size, 200) if size > 0 else 200)

    with pytest.raises(NotFound, match="gone"):
        files.receive("c", Breaking(CONTEXT))
    with pytest.raises(NotFound, match="gone"):
        files.take_file("d", "f", Breaking(CONTEXT), mtime_ns=0)
    assert files.repair() == []


def test_a_single_file_is_kept_with_its_digest(files):
    entry = files.take_file("c", "name", io.BytesIO(b"content"), mtime_ns=7 * SECOND)
    shown = (entry.path, entry.kind, entry.mode, entry.size, entry.mtime_ns)
    assert shown == ("name", "file", 0o600, 7, 7 * SECOND)
    assert files.digest("c", "sha256") == hashlib.sha256(b"content").hexdigest()
    assert files.read("c", entry) == b"content"
    other = files.take_file("d", "name", io.BytesIO(b"Content"), mtime_ns=7 * SECOND)
    assert entry.sum != other.sum


def test_small_files_are_kept_under_their_names(files):
    contents = {"a": b"1", "empty": b"", "é/b": b"22"}
    entries = files.take_files("c", contents, 5 * SECOND)
    assert [(entry.path, entry.mode, entry.mtime_ns) for entry in entries] == [
        (name, 0o644, 5 * SECOND) for name in contents
    ]
    assert [files.read("c", entry) for entry in entries] == list(contents.values())


def test_a_large_file_is_not_read_as_a_whole(files):
    (entry,) = files.receive("c", io.BytesIO(tar_of(file("f", b"x" * 11))))
    with pytest.raises(InvalidParameter, match="larger than 10 bytes"):
        files.read("c", entry)


def test_a_context_that_was_dropped_is_gone(files):
    entry, *_ = files.receive("c", io.BytesIO(CONTEXT))
    for _ in range(2):
        files.drop("c")
    with pytest.raises(NotFound):
        files.read("c", entry)
    with pytest.raises(NotFound):
        files.digest("c", "sha256")


def test_repair_removes_all_contexts_and_tells_which(files):
    files.receive("c", io.BytesIO(CONTEXT))
    files.take_file("d", "f", io.BytesIO(b"x"), mtime_ns=0)
    done = files.repair()
    assert len(done) == 2
    assert all("removed build context" in line for line in done)
    assert files.repair() == []


# Trees


def test_a_tree_shows_the_files_of_all_layers(world, files):
    upper, _ = world.snapshots.ingest_layer(
        world.base, io.BytesIO(tar_of(file("real/new", b"12345"), file("real/.wh.kept", b"")))
    )
    with files.tree(upper) as tree:
        assert tree.children("real") == ["new", "other"]
        assert tree.children("real/new") == []
        assert tree.children("nowhere") == []
        assert tree.entry("real/new").size == 5
        assert (tree.entry("real").kind, tree.entry("real").uid) == ("directory", 5)
        with pytest.raises(NotFound):
            tree.entry("real/kept")
        below = [entry.path for entry in tree.walk("")]
        assert below == [
            "etc", "etc/group", "etc/passwd", "out", "real", "real/new", "real/other", "round",
            "way",
        ]  # fmt: skip


def test_links_in_a_tree_lead_nowhere_outside(world, files):
    with files.tree(world.base) as tree:
        for path, found in (
            ("way/kept", "real/kept"), ("/way/../etc/group", "etc/group"), ("", ""),
            ("out/passwd", "etc/passwd"), ("../../etc", "etc"), ("round", None),
            ("way/nothing", None),
        ):  # fmt: skip
            assert tree.resolve(path) == found
        assert tree.entry("way").link == "/real"


def test_names_of_one_file_have_the_same_number(world, files):
    with files.tree(world.base) as tree:
        entries = {entry.path: entry for entry in tree.walk("")}
    assert entries["real/kept"].inode == entries["real/other"].inode != 0
    assert entries["etc/passwd"].inode == 0


def test_without_a_layer_a_tree_is_empty(files):
    with files.tree(None) as tree:
        assert list(tree.walk("")) == []
        assert tree.resolve("x") is None


def test_sums_of_a_tree_tell_contents_apart(world, files):
    first = world.chain(job(world.selections()["f"], target="/x"))
    other = world.selections("d", tar_of(file("f", b"eno", mode=0o640)))["f"]
    second = world.chain(job(other, target="/x", context="d"))
    sums = []
    for chain in (first, second):
        with files.tree(chain) as tree:
            sums.append((tree.entry("x").sum, tree.entry("etc/passwd").sum))
    assert sums[0][0] != sums[1][0]
    assert sums[0][1] == sums[1][1]


# Writing


def test_a_file_is_copied_with_its_mode_and_time_to_root(world):
    found = world.layer(job(world.selections()["f"], target="/new/x"))
    entry = found["new/x"]
    assert (entry.mode, entry.uid, entry.gid, entry.size) == (0o640, 0, 0, 3)
    assert entry.mtime_ns == 1000 * SECOND
    assert (found["new"].kind, found["new"].mode) == ("directory", 0o755)


def test_a_file_goes_into_a_directory_under_its_own_name(world):
    chosen = world.selections()
    found = world.layer(
        job(chosen["f"], target="/made/"),
        job(chosen["f"], target="/real"),
        job(chosen["d/g"], target="/way/deep"),
    )
    assert {"made/f", "real/f", "real/deep"} <= found.keys()


def test_of_a_directory_the_content_is_copied(world):
    found = world.layer(job(world.selections()["d"], target="/t"))
    assert {path for path in found if path.startswith("t/")} == {"t/g", "t/l", "t/e"}
    assert found["t/l"].link == "/etc/passwd"


def test_several_jobs_are_done_in_their_order(world):
    chosen = world.selections()
    found = world.layer(
        DirectoryJob("/a/b"),
        job(chosen["f"], target="/a/b/x"),
        job(chosen["d/g"], target="/a/b/x"),
    )
    assert found["a/b/x"].mode == 0o755


def test_owner_mode_and_latest_time_can_be_said(world):
    chosen = world.selections()["f"]
    for owner, ids in (
        ("12:13", (12, 13)), ("12", (12, 12)), ("ada:staff", (7, 9)), (None, (3, 4))
    ):  # fmt: skip
        found = world.layer(job(chosen, target="/x", owner=owner))
        assert (found["x"].uid, found["x"].gid) == ids
    assert world.layer(job(chosen, target="/x", mode="4711"))["x"].mode == 0o4711
    for latest, time in ((500, 500), (5000, 1000)):
        found = world.layer(job(chosen, target="/x", mtime_ns=latest * SECOND))
        assert found["x"].mtime_ns == time * SECOND


def test_archives_are_unpacked_when_asked(world):
    inner = tar_of(folder("in"), file("in/side", b"x"))
    archive = tar_of(file("a.tar", gzip.compress(inner)), file("plain", b"x"))
    chosen = world.selections(archive=archive)
    found = world.layer(
        job(chosen["a.tar"], target="/t/", unpack=True),
        job(chosen["a.tar"], target="/as/it/is/"),
        job(chosen["plain"], target="/t/", unpack=True),
    )
    paths = {path for path in found if path.startswith(("t/", "as/it/is/"))}
    assert paths == {"t/in", "t/in/side", "t/plain", "as/it/is/a.tar"}


def test_links_in_the_root_are_followed_inside_it_or_replaced_with_link(world):
    chosen = world.selections()["f"]
    assert "etc/x" in world.layer(job(chosen, target="/out/x"))
    found = world.layer(job(chosen, target="/out/x", link=True))
    assert (found["out"].kind, found["out/x"].kind) == ("directory", "file")


def test_files_of_a_layer_are_copied_as_they_are(world, files):
    with files.tree(world.base) as tree:
        chosen = Selection(
            "kept", "real/kept", is_directory=False, entries=[tree.entry("real/kept")]
        )
        whole = Selection("", "real", is_directory=True, entries=list(tree.walk("real")))
    found = world.layer(
        CopyJob(
            origin=Origin(chain=world.base), selections=[chosen, whole], target="/t/", owner=None
        )
    )
    assert (found["t/kept"].size, found["t/other"].size) == (4, 4)


def test_a_directory_is_made_with_its_owner_where_links_lead(world):
    found = world.layer(DirectoryJob("/way/deep/er", "12:13"), DirectoryJob("/real"))
    entry = found["real/deep/er"]
    assert (entry.kind, entry.mode, entry.uid, entry.gid) == ("directory", 0o755, 12, 13)
    assert found["real"].mode == 0o700


def test_changes_are_only_those_that_were_made(world, files):
    files.apply(KEY, world.base, [DirectoryJob("/real/new"), DirectoryJob("/etc")])
    changes = world.snapshots.changes(KEY, world.base)
    world.snapshots.remove(KEY)
    assert [(change.path, change.kind) for change in changes] == [("/real", 0), ("/real/new", 1)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": "/x", "owner": "nobody-knows"},
        {"target": "/x", "owner": "0:nobody-knows"},
        {"target": "/etc/passwd/x"},
        {"target": "/round/"},
    ],
)
def test_what_cannot_be_copied_leaves_no_snapshot(world, files, wrong):
    chosen = world.selections()
    with pytest.raises(InvalidParameter):
        files.apply(KEY, world.base, [job(chosen["d"], target="/t"), job(chosen["f"], **wrong)])
    assert world.left() == []
    files.apply(KEY, world.base, [])
    world.snapshots.remove(KEY)


def test_a_directory_cannot_be_made_over_a_file(world, files):
    with pytest.raises(InvalidParameter, match="not a directory"):
        files.apply(KEY, world.base, [DirectoryJob("/etc/passwd/x")])


def test_a_context_that_is_not_there_cannot_be_copied_from(world, files):
    chosen = world.selections()["f"]
    files.drop("c")
    with pytest.raises(NotFound):
        files.apply(KEY, world.base, [job(chosen, target="/x")])


# Sources of mounts


def test_a_source_is_shown_until_it_is_closed(world, files):
    chosen = world.selections()["d"]
    path = files.open_source(KEY, world.base, [job(chosen, target="/t")], "way/../t/g")
    assert path.endswith("/t/g")
    if isinstance(files, HostBuildFiles):
        assert Path(path).read_bytes() == b"two"
    assert world.left() != []
    for _ in range(2):
        files.close_source(KEY)
    assert world.left() == []


def test_a_source_that_is_not_there_leaves_nothing(world, files):
    with pytest.raises(NotFound):
        files.open_source(KEY, world.base, [], "nowhere")
    assert world.left() == []


# Caches


def test_a_cache_directory_is_the_same_until_it_is_removed(files):
    options = {"mode": 0o700, "owner": (0, 0)}
    odd = "../../é/\n"
    paths = [
        files.cache_directory(id_, number, **options)
        for id_, number in (("apt", 0), ("apt", 1), (odd, 0))
    ]
    assert len(set(paths)) == 3
    assert {Path(path).parent for path in paths} == {Path(paths[0]).parent}
    assert files.cache_directory("apt", 0, mode=0o755, owner=(1, 1)) == paths[0]
    assert files.cache_size("apt", 0) == files.cache_size("never", 0) == 0
    for _ in range(2):
        files.remove_cache("apt", 0)
    assert files.repair() == []


def test_mount_points_are_removed_when_they_are_empty(world, files):
    chosen = world.selections()["f"]
    jobs = [DirectoryJob("/a/b"), job(chosen, target="/full/x")]
    files.apply(KEY, world.base, jobs)
    files.remove_stubs(KEY, ["/a/b", "/a", "/full/x", "/full", "/not/there"])
    changes = [change.path for change in world.snapshots.changes(KEY, world.base)]
    world.snapshots.remove(KEY)
    assert changes == ["/full", "/full/x"]
