"""Layers inflated in a thread beside the one that unpacks them."""

import gzip
import hashlib
import io
import random
import threading

import pytest

from pinnace.contracts.snapshots import UnpackLimits
from pinnace.host.content.inflate import CorruptStream, InflatedLayer

DATA = random.Random(3).randbytes(1 << 20) * 9


def inflate_threads():
    return [thread for thread in threading.enumerate() if thread.name == "inflate"]


@pytest.mark.parametrize("pack", [bytes, lambda data: gzip.compress(data, 1)])
def test_everything_arrives_and_is_hashed(pack):
    packed = pack(DATA)
    with InflatedLayer(io.BytesIO(packed), UnpackLimits()) as layer:
        assert b"".join(layer) == DATA
    assert layer.diff_id == "sha256:" + hashlib.sha256(DATA).hexdigest()
    assert layer.digest == "sha256:" + hashlib.sha256(packed).hexdigest()
    assert (layer.size, layer.compressed_size) == (len(DATA), len(packed))


def test_what_is_whole_arrives_before_the_damage():
    packed = gzip.compress(DATA, 1)
    chunks = []
    with (
        InflatedLayer(io.BytesIO(packed[:-100]), UnpackLimits()) as layer,
        pytest.raises(CorruptStream),
    ):
        chunks.extend(layer)
    found = b"".join(chunks)
    assert len(found) > len(DATA) // 2
    assert DATA.startswith(found)


def test_whoever_leaves_early_stops_the_thread():
    with InflatedLayer(io.BytesIO(DATA), UnpackLimits()) as layer:
        assert DATA.startswith(next(iter(layer)))
    assert not inflate_threads()
