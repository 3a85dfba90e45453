"""Reading and writing tar headers."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.archives import file, folder, hardlink, symlink, tar_of

from pinnace.errors import InvalidParameter
from pinnace.oci.layer import UnsafePath, is_kept_xattr, safe_path, whiteout_target
from pinnace.oci.tar_reader import BLOCK, ByteStream, TarEntry, TarReader, is_header
from pinnace.oci.tar_writer import END_OF_ARCHIVE, entry_header, padding


def read(data, *, step=700):
    """Return the entries with their content, and the bytes that were recorded."""
    recorded = bytearray()
    chunks = (data[at : at + step] for at in range(0, len(data), step))
    reader = TarReader(ByteStream(chunks), recorded.extend)
    found = []
    while (entry := reader.next_entry()) is not None:
        found.append((entry, b"".join(reader.content())))
    return found, bytes(recorded)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("step", [1, 511, 512, 4096, 1 << 20])
def test_every_format_is_read_whatever_the_chunks(form, step):
    long = "d" * 90 + "/" + "n" * 90
    tar = tar_of(
        folder("d"),
        file("d/f", b"content", uid=7, mtime=5),
        symlink("l", "d/f"),
        hardlink("h", "d/f"),
        file(long, b""),
        form=form,
    )
    found, _ = read(tar, step=step)
    assert [entry.name.rstrip(b"/") for entry, _ in found] == [
        b"d",
        b"d/f",
        b"l",
        b"h",
        long.encode(),
    ]
    assert found[1][1] == b"content"
    assert (found[1][0].uid, found[1][0].mtime_ns) == (7, 5_000_000_000)
    assert found[2][0].link == b"d/f"


def test_recorded_bytes_and_contents_are_the_whole_archive():
    tar = tar_of(file("a", b"x" * 600), file("b", b"y" * 512)) + b"behind"
    found, recorded = read(tar)
    assert len(recorded) + sum(len(content) for _, content in found) == len(tar)
    assert recorded.endswith(b"behind")


def test_pax_values_win_over_the_header():
    info = file("short", b"x", mtime=12.25, pax={"SCHILY.xattr.user.a": "b"})
    ((entry, _),) = read(tar_of(info))[0]
    assert entry.mtime_ns == 12_250_000_000
    assert entry.xattrs == {"user.a": b"b"}


ENTRIES = st.builds(
    TarEntry,
    name=st.binary(min_size=1, max_size=300).filter(lambda n: b"\0" not in n
                                                    and not n.endswith(b"/")),
    kind=st.sampled_from([b"0", b"1", b"2", b"3", b"4", b"6"]),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, (1 << 32) - 1),
    gid=st.integers(0, (1 << 32) - 1),
    mtime_ns=st.integers(-(1 << 40), 1 << 62),
    link=st.binary(max_size=300).filter(lambda n: b"\0" not in n),
    xattrs=st.dictionaries(st.sampled_from(["user.a", "security.capability"]),
                           st.binary(max_size=50)),
)  # fmt: skip


@given(ENTRIES, st.binary(max_size=1500))
def test_what_is_written_is_read_back(entry, content):
    if entry.kind == b"0":
        entry.size = len(content)
        entry.link = b""
    data = entry_header(entry)
    if entry.size:
        data += content + padding(len(content))
    ((back, found),) = read(data + END_OF_ARCHIVE)[0]
    assert back == entry
    assert found == (content if entry.size else b"")
    assert tarfile.open(fileobj=io.BytesIO(data + END_OF_ARCHIVE)).next() is not None


@given(st.binary(max_size=3000))
def test_any_bytes_are_read_or_refused(data):
    try:
        read(data)
    except InvalidParameter:
        return


@given(st.integers(0, 4095), st.binary(min_size=1, max_size=20))
def test_a_damaged_archive_is_read_or_refused(at, damage):
    tar = bytearray(
        tar_of(folder("d"), file("d/" + "n" * 150, b"x" * 700), symlink("l", "t" * 150))
    )
    tar[at : at + len(damage)] = damage
    try:
        read(bytes(tar))
    except InvalidParameter:
        return


@given(st.binary(max_size=200))
def test_a_safe_path_has_no_component_that_leads_out(name):
    try:
        path = safe_path(name)
    except UnsafePath:
        return
    parts = path.split(b"/") if path else []
    assert not {b"", b".", b".."} & set(parts)
    assert b"\0" not in path


@pytest.mark.parametrize(
    ("name", "path"),
    [(b"a", b"a"), (b"/a/b/", b"a/b"), (b"./a", b"a"), (b"a/./b", b"a/b"), (b".", b""),
     (b"/", b""), (b"./", b""), (b"a//b", b"a/b"), (b"..a/b..", b"..a/b..")],
)  # fmt: skip
def test_names_are_made_relative_and_plain(name, path):
    assert safe_path(name) == path


def test_whiteouts_name_what_they_hide():
    assert whiteout_target(b".wh.a") == b"a"
    assert whiteout_target(b".wh..wh.plnk") is None
    for bad in (b".wh.", b".wh..", b".wh..."):
        with pytest.raises(UnsafePath):
            whiteout_target(bad)


def test_only_harmless_extended_attributes_are_kept():
    allowed = frozenset({"security.capability"})
    kept = ["security.capability", "user.note"]
    dropped = ["security.selinux", "trusted.overlay.opaque", "user.overlay.x", "system.posix_acl"]
    assert [n for n in kept + dropped if is_kept_xattr(n, allowed)] == kept


@given(st.binary(min_size=BLOCK, max_size=BLOCK) | st.sampled_from([b"\xff" * BLOCK]))
def test_a_block_is_a_header_when_its_bytes_sum_up_to_what_it_says(block):
    total = sum(block[:148]) + sum(block[156:]) + 8 * 0x20
    right = block[:148] + b"%06o\0 " % total + block[156:]
    wrong = block[:148] + b"%06o\0 " % (total + 1) + block[156:]
    assert is_header(right)
    assert not is_header(wrong)
    assert not is_header(right[:-1])
