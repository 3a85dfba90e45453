"""Content by digest."""

import errno
import hashlib
import io
import os
import tempfile
from pathlib import Path

import pytest
from tests.support.archives import file, hardlink, symlink, tar_of

from pinnace.errors import Conflict, Internal, InvalidParameter, NotFound
from pinnace.host.content.blobs import BlobContent


@pytest.fixture
def content(tmp_path):
    return BlobContent(tmp_path)


def test_what_is_ingested_can_be_opened_listed_and_deleted(content):
    digest, size = content.ingest(io.BytesIO(b"hello"))
    assert digest == "sha256:" + hashlib.sha256(b"hello").hexdigest()
    assert size == content.size(digest) == 5
    with content.open(digest) as blob:
        assert blob.read() == b"hello"
    assert list(content.digests()) == [(digest, 5)]
    content.delete(digest)
    content.delete(digest)
    with pytest.raises(NotFound):
        content.open(digest)
    with pytest.raises(NotFound):
        content.size(digest)


def test_a_wrong_digest_or_too_many_bytes_leave_nothing(content, tmp_path):
    with pytest.raises(InvalidParameter, match="instead of"):
        content.ingest(io.BytesIO(b"x"), expected="sha256:" + "0" * 64)
    with pytest.raises(InvalidParameter, match="larger"):
        content.ingest(io.BytesIO(b"x" * 10), limit=9)
    assert list(content.digests()) == []
    assert not any((tmp_path / "incoming").iterdir())


@pytest.mark.parametrize(
    "digest", ["sha256:../x", "sha512:" + "0" * 128, "x", "sha256:" + "A" * 64]
)
def test_a_digest_that_could_be_a_path_is_refused(content, digest):
    with pytest.raises(InvalidParameter):
        content.open(digest)


def test_an_archives_links_lead_inside_of_it(content):
    tar = tar_of(
        file("a/layer.tar", b"1"),
        symlink("b/layer.tar", "../a/layer.tar"),
        hardlink("c", "a/layer.tar"),
        symlink("out", "../../etc/passwd"),
        symlink("loop", "loop"),
        symlink("abs", "/a/layer.tar"),
    )
    with content.receive_archive(io.BytesIO(tar)) as archive:
        for name in ("a/layer.tar", "b/layer.tar", "c", "abs", "./a//layer.tar"):
            with archive.open(name) as found:
                assert found.read() == b"1"
        for name in ("out", "loop", "missing", "../a/layer.tar"):
            assert not archive.has(name)


def test_repair_sweeps_what_an_earlier_process_left(content, tmp_path):
    (tmp_path / "incoming/archive-x").mkdir()
    (tmp_path / "incoming/blob-x").touch()
    assert len(content.repair()) == 2
    assert content.repair() == []


def test_what_is_spooled_has_no_name_and_ends_with_its_block(content, tmp_path):
    def produce(target):
        target.write(b"hel")
        target.write(b"lo")

    with content.spool(produce) as spooled:
        assert spooled.digest == "sha256:" + hashlib.sha256(b"hello").hexdigest()
        assert spooled.size == 5
        spooled.file.seek(1)
        assert spooled.file.read() == b"ello"
        assert not list((tmp_path / "incoming").iterdir())
    assert spooled.file.closed
    assert not list(content.digests())


def test_a_full_disk_while_spooling_is_told_in_its_words(content):
    def produce(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(Internal, match="No space left on device"), content.spool(produce):
        pytest.fail("nothing was spooled")


def test_a_blob_comes_in_pieces_and_goes_on_where_it_was_left(content, tmp_path):
    digest = "sha256:" + hashlib.sha256(b"hello world").hexdigest()
    part = content.receive(digest)
    part.write(b"hello ")
    part.close()
    again = BlobContent(tmp_path)
    assert again.repair() == []
    (left,) = again.unfinished()
    assert (left.digest, left.size) == (digest, 6)
    part = again.receive(digest)
    assert part.size == 6
    with part.held() as held:
        assert held.read() == b"hello "
    part.write(b"world")
    assert list(again.digests()) == []
    part.complete()
    part.close()
    assert list(again.digests()) == [(digest, 11)]
    assert again.unfinished() == []


def test_a_blob_is_received_by_one_at_a_time(content):
    digest = "sha256:" + "1" * 64
    part = content.receive(digest)
    with pytest.raises(Conflict):
        content.receive(digest)
    part.discard()
    part.close()
    assert content.unfinished() == []
    part = content.receive(digest)
    part.write(b"x")
    part.close()
    content.drop_unfinished(digest)
    content.drop_unfinished(digest)
    assert content.unfinished() == []


def test_a_blob_that_cannot_be_stored_says_why(content):
    part = content.receive("sha256:" + "1" * 64)
    os.close(part._fd)
    part._fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(Internal, match="No space left"):
        part.write(b"x")
    part.close()


def test_a_file_of_an_archive_can_stay_as_a_blob(content, tmp_path):
    tar = tar_of(file("layer", b"bytes"), hardlink("same", "layer"))
    digest = "sha256:" + hashlib.sha256(b"bytes").hexdigest()
    with content.receive_archive(io.BytesIO(tar)) as archive:
        archive.keep("same", digest)
        archive.keep("layer", digest)
        with pytest.raises(NotFound):
            archive.keep("missing", digest)
        with pytest.raises(InvalidParameter):
            archive.keep("layer", "sha512:" + "0" * 128)
    assert list(content.digests()) == [(digest, 5)]
    with content.open(digest) as blob:
        assert blob.read() == b"bytes"
    assert not any((tmp_path / "incoming").iterdir())


def test_a_disk_without_any_room_is_named(content, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    part = content.receive("sha256:" + "1" * 64)
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "mkstemp", full)
        patched.setattr(tempfile, "mkdtemp", full)
        patched.setattr(Path, "rename", full)
        for act in (lambda: content.ingest(io.BytesIO(b"x")), part.complete):
            with pytest.raises(Internal, match="No space left on device"):
                act()
        with (
            pytest.raises(Internal, match="No space left on device"),
            content.receive_archive(io.BytesIO()),
        ):
            raise AssertionError("nothing can be received")
    part.close()
    assert list(content.digests()) == []
