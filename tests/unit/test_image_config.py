"""Settings of images."""

import json

import pytest

from pinnace.daemon.config import Config, load
from pinnace.daemon.image_config import pull_settings, unpack_limits
from pinnace.errors import InvalidParameter


@pytest.fixture
def loaded(tmp_path):
    def load_with(*flags, **keys):
        path = tmp_path / "daemon.json"
        path.write_text(json.dumps({key.replace("_", "-"): value for key, value in keys.items()}))
        return load(["--config-file", str(path), *flags])[0]

    return load_with


def test_what_is_kept_and_accepted_is_said_by_flags_or_in_the_file(loaded):
    flags = ["--no-keep-layer-blobs", "--max-image-layers=5", "--image-gc-threshold=80"]
    config = loaded(*flags, max_layer_bytes=1000, max_manifest_bytes=5000)
    settings = pull_settings(config)
    assert settings.keep_blobs is False
    assert (settings.limits.layers, settings.limits.manifest_bytes) == (5, 5000)
    assert unpack_limits(config).max_bytes == 1000
    assert config.image_gc_threshold == 80


def test_the_defaults_are_those_of_the_parts():
    assert pull_settings(Config()) == type(pull_settings(Config()))()
    assert unpack_limits(Config()) == type(unpack_limits(Config()))()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_image_layers", 0),
        ("max_image_layers", 128),
        ("max_layer_bytes", 0),
        ("max_manifest_bytes", 100),
        ("max_manifest_bytes", 9 << 20),
        ("image_gc_threshold", -1),
        ("image_gc_threshold", 100),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(loaded, key, value):
    with pytest.raises(InvalidParameter, match=f"invalid {key.replace('_', '-')}: {value}"):
        loaded(**{key: value})
