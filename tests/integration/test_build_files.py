"""Contexts kept as archives, and copying into roots that hold hostile links."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from pinnace.contracts.build_files import CopyJob, DirectoryJob, Origin
from pinnace.contracts.snapshots import SnapshotKey
from pinnace.engine.builds.context import ContextTree
from pinnace.engine.builds.sources import SourceRules, select, shown_sum
from pinnace.errors import InvalidParameter
from pinnace.host.builds.files import HostBuildFiles
from pinnace.host.snapshots.overlay import OverlaySnapshots

pytestmark = pytest.mark.root
KEY = SnapshotKey("step")


@pytest.fixture
def snapshots(tmp_path):
    return OverlaySnapshots(tmp_path / "overlay2")


@pytest.fixture
def files(tmp_path, snapshots):
    (tmp_path / "exec").mkdir()
    made = HostBuildFiles(tmp_path / "data", tmp_path / "exec", snapshots)
    yield made
    assert list((tmp_path / "exec" / "builds").iterdir()) == []


def tar_of(*members: tarfile.TarInfo, content: bytes = b"") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, **more: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.mode, made.mtime = kind, 0o640, 1_700_000_000
    for key, value in more.items():
        setattr(made, key, value)
    return made


def symlink(name: str, target: str) -> tarfile.TarInfo:
    return member(name, tarfile.SYMTYPE, linkname=target)


def copied(files, snapshots, source: str, target: str, *, base=None, **more):
    """Copy from the context `c` and return the layer's tar."""
    tree = ContextTree(files.receive("c", io.BytesIO(more.pop("context"))))
    try:
        selections = select(tree, source, SourceRules())
        job = CopyJob(origin=Origin(context="c"), selections=selections, target=target, **more)
        files.apply(KEY, base, [job])
        try:
            chain, _ = snapshots.commit(KEY, base)
        finally:
            snapshots.remove(KEY)
        made = io.BytesIO()
        snapshots.export_layer(chain, base, made)
    finally:
        files.drop("c")
    made.seek(0)
    return tarfile.open(fileobj=made)


def base_of(snapshots, *members: tarfile.TarInfo, content: bytes = b""):
    """Return a layer to copy onto."""
    return snapshots.ingest_layer(None, io.BytesIO(tar_of(*members, content=content)))[0]


CONTEXT = tar_of(member("f"), member("d/g"), symlink("d/l", "/etc/passwd"), content=b"text\n")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_arrives_with_its_content_and_a_new_parent(files, snapshots, pack):
    layer = copied(files, snapshots, "f", "/new/x", context=pack(CONTEXT))
    assert layer.getnames() == ["new", "new/x"]
    info = layer.getmember("new/x")
    assert (info.mode, info.uid, info.mtime) == (0o640, 0, 1_700_000_000)
    assert layer.extractfile(info).read() == b"text\n"


def test_sums_are_those_of_docker(files):
    # What dockerd 20.10 shows for `COPY a.txt`, its client having sent this header and content.
    info = member("a.txt", mode=0o100644)
    tree = ContextTree(files.receive("s", io.BytesIO(tar_of(info, content=b"a\n"))))
    files.drop("s")
    wanted = "file:a596f0888def06c3cad1442667ede22d419985a1c8a3155b838b650c4cf52ecc"
    assert shown_sum(select(tree, "a.txt", SourceRules())) == wanted


def test_the_sum_of_a_file_does_not_depend_on_what_is_before_it(files):
    named = member("a" * 120, uname="somebody", gname="some", pax_headers={"comment": "x"})
    before = [member("f"), member("long" * 50)]
    (alone,) = files.receive("c", io.BytesIO(tar_of(named, content=b"odd")))
    *_, last = files.receive("d", io.BytesIO(tar_of(*before, named, content=b"odd")))
    assert last.sum == alone.sum


def test_a_directory_gives_its_content_and_links_stay_links(files, snapshots):
    layer = copied(files, snapshots, "d", "/t", context=CONTEXT)
    assert layer.getnames() == ["t", "t/g", "t/l"]
    assert layer.getmember("t/l").linkname == "/etc/passwd"


def test_links_of_the_image_are_followed_inside_of_it_only(files, snapshots, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    base = base_of(
        snapshots,
        symlink("abs", str(outside)),
        symlink("up", "../../../../../../.." + str(outside)),
        symlink("dangling", "/not/there"),
        symlink("round", "round"),
    )
    for target in ("/abs/", "/up/", "/abs/x", "/dangling"):
        copied(files, snapshots, "f", target, base=base, context=CONTEXT)
    with pytest.raises(InvalidParameter):
        copied(files, snapshots, "f", "/round/", base=base, context=CONTEXT)
    assert list(outside.iterdir()) == []


def test_a_dangling_link_is_written_through_inside_the_root(files, snapshots):
    base = base_of(snapshots, symlink("dangling", "/not/there"))
    layer = copied(files, snapshots, "f", "/dangling", base=base, context=CONTEXT)
    assert layer.getnames() == ["not", "not/there"]


def test_owners_are_names_of_the_root(files, snapshots):
    base = base_of(
        snapshots, member("etc/passwd"), member("etc/group"), content=b"ada:x:7:8::/:\n"
    )
    layer = copied(files, snapshots, "f", "/x", base=base, context=CONTEXT, owner="ada:9")
    assert (layer.getmember("x").uid, layer.getmember("x").gid) == (7, 9)
    with pytest.raises(InvalidParameter, match=r"no such user|no matching entries"):
        copied(files, snapshots, "f", "/x", base=base, context=CONTEXT, owner="bob")


def test_passwd_as_a_pipe_does_not_hang_the_build(files, snapshots):
    base = base_of(snapshots, member("etc/passwd", tarfile.FIFOTYPE))
    with pytest.raises(InvalidParameter):
        copied(files, snapshots, "f", "/x", base=base, context=CONTEXT, owner="ada")


def test_archives_are_unpacked_only_when_asked_and_only_inside(files, snapshots):
    inner = tar_of(member("in/side"), content=b"x")
    context = tar_of(member("a.tar"), content=gzip.compress(inner))
    layer = copied(files, snapshots, "a.tar", "/t/", context=context, unpack=True)
    assert "t/in/side" in layer.getnames()
    assert copied(files, snapshots, "a.tar", "/t/", context=context).getnames() == ["t", "t/a.tar"]
    hostile = tar_of(member("a.tar"), content=tar_of(member("../../out"), content=b"x"))
    with pytest.raises(InvalidParameter):
        copied(files, snapshots, "a.tar", "/t/", context=hostile, unpack=True)


def test_modes_and_hard_links_survive(files, snapshots):
    context = tar_of(
        member("d/a", mode=0o4711), member("d/b", tarfile.LNKTYPE, linkname="d/a"), content=b"x"
    )
    layer = copied(files, snapshots, "d", "/t", context=context)
    assert layer.getmember("t/a").mode == 0o4711
    assert layer.getmember("t/b").islnk()
    layer = copied(files, snapshots, "d", "/t", context=context, mode="u=rw,go=")
    assert layer.getmember("t/a").mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "broken", [b"no archive at all" * 64, CONTEXT[:700], gzip.compress(CONTEXT)[:-9]]
)
def test_a_broken_context_leaves_nothing(files, tmp_path, broken):
    with pytest.raises(InvalidParameter):
        files.receive("c", io.BytesIO(broken))
    assert list((tmp_path / "data" / "builds" / "contexts").iterdir()) == []


def test_a_directory_is_made_where_links_lead(files, snapshots, tmp_path):
    base = base_of(snapshots, member("real", tarfile.DIRTYPE, mode=0o755), symlink("w", "real"))
    files.apply(KEY, base, [DirectoryJob("/w/deep/er")])
    found = [change.path for change in snapshots.changes(KEY, base)]
    snapshots.remove(KEY)
    assert found == ["/real", "/real/deep", "/real/deep/er"]
    with pytest.raises(InvalidParameter, match="not a directory"):
        files.apply(KEY, base_of(snapshots, member("w"), content=b"x"), [DirectoryJob("/w/x")])
    assert list((tmp_path / "overlay2" / "snapshots").iterdir()) == []
