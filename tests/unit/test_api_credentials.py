"""Credentials as clients send them."""

import base64
import json

import pytest

from pinnace.api.credentials import AuthConfig, header_auth, header_credentials, parse_auth
from pinnace.api.platforms import read_platform
from pinnace.contracts.registry import ANONYMOUS, Credentials
from pinnace.errors import InvalidParameter
from pinnace.oci.platform import Platform

ANN = {"username": "ann", "password": "se?cret>~~", "serveraddress": "r.example"}


@pytest.mark.parametrize(
    "encode",
    [
        base64.urlsafe_b64encode,
        base64.b64encode,
        lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
        lambda data: b" " + base64.b64encode(data).rstrip(b"=") + b" ",
    ],
)
def test_every_form_of_base64_is_read(encode):
    header = encode(json.dumps(ANN).encode()).decode()
    assert header_credentials(header) == Credentials("ann", "se?cret>~~")
    assert header_auth(header) == AuthConfig(**ANN)


@pytest.mark.parametrize("header", [None, "", "e30=", "null", "%%", "AAAA", "W10=", "e" * 100_000])
def test_what_says_nothing_or_cannot_be_read_is_anonymous(header):
    assert header_credentials(header) == ANONYMOUS


def test_the_old_field_holds_name_and_password():
    packed = base64.b64encode(b"ann:a:b").decode()
    config = parse_auth(json.dumps({"auth": packed, "email": "a@b"}).encode())
    assert config.credentials() == Credentials("ann", "a:b")


def test_tokens_are_taken_over():
    content = json.dumps({"identitytoken": "i", "registrytoken": "r"}).encode()
    assert parse_auth(content).credentials() == Credentials(
        identity_token="i",
        registry_token="r",
    )


def test_secrets_do_not_show_in_logs():
    assert "se?cret" not in repr(AuthConfig(**ANN).credentials())


def test_a_platform_is_json():
    text = '{"os": "linux", "architecture": "arm", "variant": "v5", "os.version": "1"}'
    assert read_platform(text) == Platform("linux", "arm", "v5")
    assert read_platform("") is None


@pytest.mark.parametrize("text", ["linux/amd64", "{}", '{"os": "linux"}', '{"os": 1}', "[]"])
def test_what_is_no_platform_is_refused(text):
    with pytest.raises(InvalidParameter):
        read_platform(text)
