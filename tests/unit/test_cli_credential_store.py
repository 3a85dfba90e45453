"""Logins of the command line: what is kept, where, and who may read it."""

import base64
import json
import stat

import pytest

from pinnace.cli import credential_store, credentials
from pinnace.cli.context import CommandError
from pinnace.cli.login import server_key


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "docker/config.json"


def test_what_is_kept_is_found_again_and_forgotten(file):
    credential_store.keep("r.example:5000", "ada", "pass:word")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert credentials.find_credentials("r.example:5000") == {
        "serveraddress": "r.example:5000",
        "username": "ada",
        "password": "pass:word",
    }
    assert credential_store.forget("r.example:5000")
    assert not credential_store.forget("r.example:5000")
    assert credentials.find_credentials("r.example:5000") == {}
    assert [path.name for path in file.parent.iterdir()] == ["config.json"]


def test_an_identity_token_is_kept_in_place_of_the_password(file):
    credential_store.keep("r.example", "ada", "s3cret", "token")
    stored = json.loads(file.read_text())["auths"]["r.example"]
    assert stored["identitytoken"] == "token"
    assert b"s3cret" not in base64.b64decode(stored["auth"])


def test_what_others_keep_in_the_file_stays(file):
    file.parent.mkdir()
    file.write_text(json.dumps({"auths": {"x": {"auth": "YTpi"}}, "psFormat": "{{.ID}}"}))
    credential_store.keep("r.example", "ada", "p")
    document = json.loads(file.read_text())
    assert document["psFormat"] == "{{.ID}}"
    assert set(document["auths"]) == {"x", "r.example"}


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": 1}'])
def test_a_file_that_cannot_be_read_is_left_alone(file, content):
    file.parent.mkdir()
    file.write_text(content)
    with pytest.raises(CommandError, match="cannot read"):
        credential_store.keep("r.example", "ada", "p")
    assert file.read_text() == content


def test_a_helper_keeps_the_secret_in_place_of_the_file(file, tmp_path):
    program = tmp_path / "docker-credential-box"
    program.write_text(f'#!/bin/sh\necho "$1" >>{tmp_path}/asked\ncat >>{tmp_path}/asked\n')
    program.chmod(0o755)
    file.parent.mkdir()
    file.write_text('{"credsStore": "box"}')
    credential_store.keep("r.example", "ada", "s3cret")
    credential_store.forget("r.example")
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("store\n")
    assert '"Secret": "s3cret"' in asked
    assert asked.endswith("erase\nr.example")
    assert "s3cret" not in file.read_text()


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("", "https://index.docker.io/v1/"),
        ("docker.io", "https://index.docker.io/v1/"),
        ("https://index.docker.io/v1/", "https://index.docker.io/v1/"),
        ("r.example:5000", "r.example:5000"),
        ("http://r.example/v2/", "r.example"),
    ],
)
def test_a_registry_has_one_name_in_the_file(server, expected):
    assert server_key(server) == expected
