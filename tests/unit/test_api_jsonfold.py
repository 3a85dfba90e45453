import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.api.jsonfold import convert, decode_object, fold
from pinnace.errors import InvalidParameter
from pinnace.model.exec import ExecConfig
from pinnace.wire.containers import ContainerCreateRequest

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = [
    field.encode_name for field in __import__("msgspec").structs.fields(ContainerCreateRequest)
]


def create(body: dict) -> ContainerCreateRequest:
    return convert(fold(body, ContainerCreateRequest), ContainerCreateRequest)


def test_keys_match_in_any_letter_case_at_every_depth():
    request = create({"IMAGE": "x", "hostCONFIG": {"binds": ["/a:/b"], "portbindings": {}}})
    assert request.image == "x"
    assert request.host_config.binds == ["/a:/b"]


def test_keys_of_maps_are_data_and_keep_their_case():
    request = create({"Labels": {"Image": "a", "image": "b"}})
    assert request.labels == {"Image": "a", "image": "b"}


def test_null_leaves_the_default_and_clears_what_may_be_null():
    request = create({"Hostname": None, "Env": None, "HostConfig": None, "Tty": None})
    assert (request.hostname, request.env, request.tty) == ("", None, False)


def test_null_inside_lists_and_maps_is_the_zero_value():
    request = create({"Env": [None], "Labels": {"a": None}, "ExposedPorts": {"80/tcp": None}})
    assert request.env == [""]
    assert request.labels == {"a": ""}
    assert request.exposed_ports == {"80/tcp": {}}


def test_one_string_is_a_command():
    request = create({"Cmd": "a b", "Entrypoint": "sh", "HostConfig": {"CapAdd": "ALL"}})
    assert (request.cmd, request.entrypoint) == (["a b"], ["sh"])
    assert request.host_config.cap_add == ["ALL"]


def test_sets_ignore_what_their_values_hold():
    request = create({"Volumes": {"/data": {"Anything": 1}}})
    assert request.volumes == {"/data": {}}


def test_unknown_keys_are_ignored_and_wanted_ones_kept():
    body = fold({"PortSpecs": ["80"], "x": 1}, ContainerCreateRequest, extra=("PortSpecs",))
    assert body == {"PortSpecs": ["80"]}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"Cmd": 5}, "cannot unmarshal number into Go struct field"),
        (
            {"Tty": "yes"},
            "unmarshal string into Go struct field ExecConfig.Tty of type bool",
        ),
        ({"Env": "A=1"}, "ExecConfig.Env of type []string"),
    ],
)
def test_wrong_types_are_refused_in_gos_words(body, text):
    with pytest.raises(InvalidParameter) as failure:
        convert(fold(body, ExecConfig), ExecConfig)
    assert text in failure.value.message


@pytest.mark.parametrize("content", [b"", b" \n", b"[]", b'"x"', b"5", b"{} {}", b"{", b"\xff"])
def test_what_is_no_object_is_refused(content):
    with pytest.raises(InvalidParameter, match="invalid JSON"):
        decode_object(content)


def test_deep_nesting_is_refused_or_ignored_and_never_a_crash():
    with pytest.raises(InvalidParameter):
        decode_object(b'{"a":' * 100_000)
    deep = decode_object(b'{"Labels":' + b"[" * 500 + b"]" * 500 + b"}")
    with pytest.raises(InvalidParameter):
        create(deep)


def test_bytes_that_are_no_utf_8_are_read_as_go_reads_them():
    assert decode_object(b'{"a\x88":"\xffb"}') == {"a\ufffd": "\ufffdb"}


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(), JSON, max_size=6))
def test_any_object_is_decoded_or_refused(body):
    decoded = decode_object(json.dumps(body).encode())
    try:
        request = create(decoded)
    except InvalidParameter:
        return
    assert isinstance(request, ContainerCreateRequest)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(content):
    try:
        assert isinstance(decode_object(content), dict)
    except InvalidParameter:
        return
