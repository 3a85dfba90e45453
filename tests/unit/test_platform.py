"""Platforms as users write them; errors as dockerd words them."""

import pytest

from pinnace.errors import InvalidParameter
from pinnace.oci.platform import Platform, parse_platform

HOST = Platform("linux", "amd64")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("linux", ("linux", "amd64", "")),
        ("windows", ("windows", "amd64", "")),
        ("arm64", ("linux", "arm64", "")),
        ("aarch64", ("linux", "arm64", "")),
        ("x86_64", ("linux", "amd64", "")),
        ("armhf", ("linux", "arm", "v7")),
        ("LINUX/AMD64", ("linux", "amd64", "")),
        ("linux/x86-64", ("linux", "amd64", "")),
        ("linux/arm/v6", ("linux", "arm", "v6")),
        ("linux/foo", ("linux", "foo", "")),
    ],
)
def test_what_a_platform_means(text, meant):
    assert parse_platform(text, HOST) == Platform(*meant)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("foo", '"foo": unknown operating system or architecture: invalid argument'),
        ("a/b/c/d", '"a/b/c/d": cannot parse platform specifier: invalid argument'),
        (
            "bo gus",
            '"bo gus" is an invalid component of "bo gus": platform specifier component must match'
            ' "^[A-Za-z0-9_-]+$": invalid argument',
        ),
        (
            "linux/",
            '"" is an invalid component of "linux/": platform specifier component must match'
            ' "^[A-Za-z0-9_-]+$": invalid argument',
        ),
    ],
)
def test_what_no_platform_is_refused_as_dockerd_does(text, reason):
    with pytest.raises(InvalidParameter) as caught:
        parse_platform(text, HOST)
    assert caught.value.message == reason
