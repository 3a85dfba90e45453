"""Credentials of the command line: the Docker CLI's file and its helpers."""

import base64
import json

import pytest

from pinnace.cli import credentials
from pinnace.cli.context import CommandError


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def write(content):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "config.json").write_text(text)

    write.helper = lambda script: _program(tmp_path / "docker-credential-box", script)
    return write


def _program(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def header(reference):
    found = credentials.auth_headers(reference)["X-Registry-Auth"]
    return json.loads(base64.urlsafe_b64decode(found))


@pytest.mark.parametrize(
    ("reference", "server"),
    [
        ("busybox", "https://index.docker.io/v1/"),
        ("ann/app", "https://index.docker.io/v1/"),
        ("docker.io/ann/app", "https://index.docker.io/v1/"),
        ("localhost/app", "localhost"),
        ("localhost:5000/app", "localhost:5000"),
        ("registry.example/team/app", "registry.example"),
    ],
)
def test_the_registry_of_an_image_is_the_key(reference, server):
    assert credentials.registry_of(reference) == server


def test_without_a_file_nothing_is_sent_but_an_empty_object(write):
    assert header("busybox") == {}


def test_a_password_is_found_by_its_registry(write):
    auth = base64.b64encode(b"ann:se:cret").decode()
    write({"auths": {"localhost:5000": {"auth": auth}}, "HttpHeaders": {"x": "y"}})
    assert header("localhost:5000/app") == {
        "serveraddress": "localhost:5000",
        "username": "ann",
        "password": "se:cret",
    }
    assert header("localhost:5001/app") == {}


def test_an_identity_token_replaces_the_password(write):
    auth = base64.b64encode(b"ann:old").decode()
    write({"auths": {"localhost:5000": {"auth": auth, "identitytoken": "t"}}})
    assert header("localhost:5000/app") == {
        "serveraddress": "localhost:5000",
        "username": "ann",
        "identitytoken": "t",
    }


def test_a_helper_is_asked(write):
    write({"credHelpers": {"localhost:5000": "box"}})
    write.helper("""read server; echo '{"Username": "'$server'", "Secret": "s"}'""")
    assert header("localhost:5000/app")["username"] == "localhost:5000"
    assert header("localhost:5001/app") == {}


def test_a_helper_that_knows_nothing_is_no_failure(write):
    write({"credsStore": "box"})
    write.helper("echo 'credentials not found in native keychain'; exit 1")
    assert header("busybox") == {}


def test_a_helper_may_keep_an_identity_token(write):
    write({"credsStore": "box"})
    write.helper("""echo '{"Username": "<token>", "Secret": "t"}'""")
    assert header("x.example/a") == {"serveraddress": "x.example", "identitytoken": "t"}


@pytest.mark.parametrize(
    "content", ["{", {"auths": {"localhost:5000": {"auth": "%%"}}}, {"credsStore": "missing"}]
)
def test_what_cannot_be_read_is_told(write, content):
    write(content)
    with pytest.raises(CommandError):
        header("localhost:5000/app")
