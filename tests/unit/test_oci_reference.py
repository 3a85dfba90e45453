"""References: Docker's short forms and the grammar's edges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.errors import InvalidParameter
from pinnace.oci.reference import (
    Reference,
    parse_reference,
    parse_repository,
    target_reference,
)

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "normalized", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1", "docker.io/library/busybox:1", "busybox:1"),
        ("user/app", "docker.io/user/app", "user/app"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
        ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/a", "localhost/a", "localhost/a"),
        ("localhost:5000/a:1", "localhost:5000/a:1", "localhost:5000/a:1"),
        ("Host/a", "Host/a", "Host/a"),
        ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
        ("example.com/a/b_c/d--e:T_1", "example.com/a/b_c/d--e:T_1", "example.com/a/b_c/d--e:T_1"),
        ("a@" + DIGEST, "docker.io/library/a@" + DIGEST, "a@" + DIGEST),
        ("a:1@" + DIGEST, "docker.io/library/a:1@" + DIGEST, "a:1@" + DIGEST),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
    ],
)
def test_a_reference_is_normalised_and_shown_as_docker_does(text, normalized, familiar):
    reference = parse_reference(text)
    assert reference.normalized() == normalized
    assert reference.familiar() == familiar


@pytest.mark.parametrize(
    "text",
    ["", "A", "a/B", "a b", "a:", ":1", "a:1:2/", "a//b", "/a", "a/", "-a", "a-", "a..b", "a___b",
     "a@sha256:1", "a@", "@" + DIGEST, "a:" + "t" * 129, "a:-1", "../a", "a/../b", "a" * 256,
     "f" * 64, "a\n", "http://a", "a@md5:" + "a" * 32, "ex_ample.com/a", "[::1/a", "é"],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(InvalidParameter):
        parse_reference(text)


def test_upper_case_is_explained():
    with pytest.raises(
        InvalidParameter, match=r"repository name \(library/Up\) must be lowercase"
    ):
        parse_reference("Up")


COMPONENT = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,2})[a-z0-9]{1,8}){0,2}", fullmatch=True)
DOMAIN = st.one_of(
    st.just("docker.io"),
    st.from_regex(r"[a-z0-9]{1,8}\.[a-z]{1,4}(:[0-9]{1,4})?", fullmatch=True),
)


@given(
    DOMAIN,
    st.lists(COMPONENT, min_size=2, max_size=4),
    st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.none() | st.just(DIGEST),
)
def test_every_valid_reference_survives_both_of_its_forms(domain, path, tag, digest):
    if domain == "index.docker.io" or len(path[0]) == 64:
        return
    reference = Reference(domain, "/".join(path), tag, digest)
    assert parse_reference(reference.normalized()) == reference
    assert parse_reference(reference.familiar()) == reference


@given(st.text(max_size=80))
def test_any_text_is_a_reference_or_refused_and_parsing_is_stable(text):
    try:
        reference = parse_reference(text)
    except InvalidParameter:
        return
    assert parse_reference(reference.normalized()) == reference


def test_a_target_takes_the_explicit_tag_or_latest():
    assert target_reference("", "x") is None
    assert target_reference("a", "").familiar() == "a:latest"
    assert target_reference("a:1", "").familiar() == "a:1"
    assert target_reference("a:1", "2").familiar() == "a:2"
    for repository, tag in (("a@" + DIGEST, ""), ("sha256", "1"), ("a", "-bad")):
        with pytest.raises(InvalidParameter):
            target_reference(repository, tag)


def test_a_repository_has_neither_tag_nor_digest():
    assert parse_repository("a/b").name == "docker.io/a/b"
    with pytest.raises(InvalidParameter):
        parse_repository("a:1")
