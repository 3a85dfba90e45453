"""Progress in the words of API 1.0 to 1.2."""

import pytest

from pinnace.api.early_streams import EarlyProgress
from pinnace.engine.images.progress import counted, step

LAYER = "0123456789ab"
IMAGE = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("message", "text", "json"),
    [
        ({"status": "done"}, b"done\r\n", b'{"status":"done"}'),
        ({"status": IMAGE}, b"abababababab\r\n", b'{"status":"abababababab"}'),
        ({"stream": "read\n"}, b"read\r\n", b'{"status":"read"}'),
        (
            counted("Importing", "", 1, 3),
            b"Importing 1/3 (33%)\r",
            b'{"status":"Importing","progress":"1/3 (33%)"}',
        ),
        (
            counted("Downloading", LAYER, 5, 0),
            b"Downloading 5/? (n/a)\r",
            b'{"status":"Downloading","progress":"5/? (n/a)"}',
        ),
        (
            step("Pulling fs layer", LAYER),
            b"Pulling 0123456789ab fs layer\r\n",
            b'{"status":"Pulling 0123456789ab fs layer"}',
        ),
        (
            step("Pull complete", LAYER),
            b"0123456789ab: Pull complete\r\n",
            b'{"status":"0123456789ab: Pull complete"}',
        ),
        (
            {"status": "Pulling from a/b", "id": "v1"},
            b"Pulling image (v1) from a/b\r\n",
            b'{"status":"Pulling image (v1) from a/b"}',
        ),
        (
            {"error": "lost", "errorDetail": {"message": "lost"}},
            b"Error: lost\r\n",
            b'{"error":"lost"}',
        ),
        ({"Id": "abc"}, b'{"Id":"abc"}', b'{"Id":"abc"}'),
        ({"aux": {"ID": IMAGE}}, b"", b""),
        ({}, b"", b""),
    ],
)
def test_a_message_is_one_line_or_an_object_of_few_keys(message, text, json):
    assert EarlyProgress(as_text=True).encode(message) == text
    assert EarlyProgress(as_text=False).encode(message) == json


@pytest.mark.parametrize(("as_text", "end"), [(True, b"\r\n"), (False, b"{}")])
def test_the_end_of_a_download_is_a_status_without_text(as_text, end):
    form = EarlyProgress(as_text=as_text)
    form.encode(counted("Downloading", "", 1, 2))
    assert not form.encode(counted("Downloading", "", 2, 2)).startswith(end)
    assert form.encode({"status": "done"}).startswith(end)
    assert not form.encode({"status": "again"}).startswith(end)


def test_content_types_are_those_that_clients_compare():
    assert EarlyProgress(as_text=True).content_type == "application/vnd.docker.raw-stream"
    assert EarlyProgress(as_text=False).content_type == "application/json"
