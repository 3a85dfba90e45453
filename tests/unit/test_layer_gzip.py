"""Layers as gzip."""

import gzip
import random

import pytest

from pinnace.oci.layer_gzip import GzipSink


class _Collected:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data


def _compressed(content: bytes, cuts: list[int]) -> bytes:
    target = _Collected()
    sink = GzipSink(target)
    at = 0
    for cut in cuts:
        sink.write(content[at : at + cut])
        at += cut
    sink.write(content[at:])
    sink.close()
    assert sink.size == len(content)
    return bytes(target.data)


@pytest.mark.parametrize("size", [0, 1, 5000, 1 << 18, (1 << 18) + 1, 3_000_000])
def test_what_was_written_comes_back(size: int) -> None:
    content = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
    assert gzip.decompress(_compressed(content, [])) == content


def test_the_bytes_do_not_depend_on_how_they_were_written() -> None:
    source = random.Random(1)
    words = [source.randbytes(12) for _ in range(300)]
    content = b"".join(source.choice(words) for _ in range(200_000))
    once = _compressed(content, [])
    assert _compressed(content, [512] * 1000) == once
    assert _compressed(content, [7, 1 << 20, 3, 262_144, 99_999]) == once


def test_the_header_tells_nothing_of_time_or_name() -> None:
    flags, time = 3, slice(4, 8)
    data = _compressed(b"x", [])
    assert data[flags] == 0
    assert data[time] == bytes(4)
