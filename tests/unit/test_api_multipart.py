"""Multipart bodies, however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.api.multipart import boundary_of, parts
from pinnace.errors import InvalidParameter

BOUNDARY = "b0"


def packed(*contents, end=True):
    """A body of file parts named f0, f1, …"""
    pieces = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="f{number}"; filename="x"'.encode()
        + b"\r\nContent-Type: text/plain\r\n\r\n"
        + content
        + b"\r\n"
        for number, content in enumerate(contents)
    ]
    return b"".join(pieces) + (f"--{BOUNDARY}--\r\n".encode() if end else b"")


async def pieces_of(body, size):
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def read(body, size=7, *, skip=False):
    """Return [(name, is_file, content)]; with `skip` contents are not read."""
    found = []
    async for part in parts(pieces_of(body, size), BOUNDARY):
        content = b"" if skip else b"".join([piece async for piece in part.content])
        found.append((part.name, part.is_file, content))
    return found


contents = st.lists(
    st.one_of(st.binary(max_size=200), st.just(b"--b0"), st.just(b"\r\n--b"), st.just(b"\r\n")),
    max_size=5,
).filter(lambda chosen: not any(b"\r\n--b0" in one for one in chosen))


@given(
    contents.filter(lambda all_: not any(b"\r\n--b0" in one for one in all_)), st.integers(1, 99)
)
async def test_parts_come_out_as_they_went_in_however_they_are_cut(given_, size):
    found = await read(packed(*given_), size)
    assert found == [(f"f{number}", True, one) for number, one in enumerate(given_)]


async def test_what_is_not_read_is_skipped():
    assert [name for name, _, _ in await read(packed(b"a" * 999, b"b"), skip=True)] == ["f0", "f1"]


async def test_a_form_may_be_empty_and_have_words_around_it():
    assert await read(b"--b0--\r\n") == []
    assert await read(b"before\r\n" + packed(b"a") + b"after") == [("f0", True, b"a")]


async def test_names_may_stand_without_quotes_and_fields_without_files():
    body = b"--b0\r\ncontent-disposition: form-data; name=plain\r\n\r\nx\r\n--b0--\r\n"
    assert await read(body) == [("plain", False, b"x")]
    body = b"--b0\r\nX-Other: y\r\n\r\nx\r\n--b0--\r\n"
    assert await read(body) == [("", False, b"x")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        packed(b"cut", end=False),
        packed(b"cut")[:-6],
        packed(b"cut")[:40],
        b"--b0\r\n" + b"X: " + b"y" * 40_000,
        b"--b0\r\n" + b"X: y\r\n" * 9000,
        packed(*[b""] * 65),
    ],
)
async def test_broken_bodies_are_refused(body):
    with pytest.raises(InvalidParameter, match="multipart"):
        await read(body, 512)


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ('multipart/form-data; boundary="a b"; x=y', "a b"),
        ("Multipart/Form-Data; Boundary=abc", "abc"),
    ],
)
def test_boundaries_are_read_from_content_types(kind, boundary):
    assert boundary_of(kind) == boundary


def test_a_form_without_a_boundary_is_refused():
    with pytest.raises(InvalidParameter):
        boundary_of("multipart/form-data")
