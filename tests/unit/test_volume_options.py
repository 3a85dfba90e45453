from __future__ import annotations

import pytest

from pinnace.engine.volumes.service import data_directory, mount_options
from pinnace.model.volume import Volume

PLACE = "/data/volumes/v/_data"


def a_volume(**options: str) -> Volume:
    return Volume(created_at="", mountpoint=PLACE, name="v", options=options or None)


@pytest.mark.parametrize("options", [{}, {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}])
def test_a_plain_volume_and_a_mounted_one_are_at_their_mount_point(options):
    volume = a_volume(**options)
    assert str(data_directory(volume)) == PLACE
    assert mount_options(volume) == [f"{key}={value}" for key, value in options.items()]


@pytest.mark.parametrize("words", ["bind", "ro,rbind"])
def test_a_bound_volume_is_the_hosts_directory_and_no_mount_of_ours(words):
    volume = a_volume(type="none", device="/srv/files", o=words)
    assert str(data_directory(volume)) == "/srv/files"
    assert mount_options(volume) == []
