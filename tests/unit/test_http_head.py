"""Request heads as records; the refusals are in tests/security."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.api.http.failures import HeadError
from pinnace.api.http.head import (
    _REPEATED,
    Headers,
    ListenerInfo,
    Peer,
    early_error,
    parse_head,
)
from pinnace.api.http.limits import Limits

UNIX = ListenerInfo("unix", False, "unix:///s")
TCP = ListenerInfo("tcp", False, "tcp://127.0.0.1:1")
PEER = Peer(0, None)
LIMITS = Limits()


def parsed(text, listener=UNIX):
    return parse_head(text.replace("\n", "\r\n").encode(), LIMITS, listener, PEER)


def refused(text, listener=UNIX):
    with pytest.raises(HeadError) as caught:
        parsed(text, listener)
    return caught.value.status


def test_a_request_line_is_taken_apart_and_not_decoded():
    request, framing = parsed("POST /v1.41/x%2Fy/../z?a=%20b&c HTTP/1.1\nHost: docker\n")
    assert (request.method, request.path) == ("POST", "/v1.41/x%2Fy/../z")
    assert request.query == "a=%20b&c"
    assert not request.http10
    assert (request.listener, request.peer) == (UNIX, PEER)
    assert (framing.length, framing.keep_alive, framing.expects_continue) == (0, True, False)


def test_values_lose_the_blanks_around_them_only():
    request, _ = parsed("GET / HTTP/1.1\nX-A: \t b  c \t \nX-B:\nX-C:d\n")
    assert list(request.headers) == [("x-a", "b  c"), ("x-b", ""), ("x-c", "d")]


def test_fields_are_found_in_any_case_and_repeated_ones_keep_their_order():
    headers = Headers([("X-A", "1"), ("x-a", "2"), ("Y", "3, ,4,")])
    assert headers.get("X-a") == "1"
    assert headers.get_all("x-A") == ["1", "2"]
    assert headers.get("Z") is None
    assert "y" in headers
    assert "z" not in headers
    assert headers.tokens("Y") == ["3", "4"]
    assert headers.tokens("z") == []
    assert len(headers) == 3


def test_values_do_not_show_in_logs():
    assert "secret" not in repr(Headers([("X-Registry-Auth", "secret")]))


def test_an_absolute_target_gives_path_and_authority():
    request, _ = parsed("GET HTTP://Example.org:80/a?b HTTP/1.1\nHost: x\n")
    assert (request.authority, request.path, request.query) == ("Example.org:80", "/a", "b")
    request, _ = parsed("GET http://localhost?b HTTP/1.1\nHost: x\n")
    assert (request.path, request.query) == ("/", "b")


def test_the_asterisk_is_for_options():
    assert parsed("OPTIONS * HTTP/1.1\nHost: x\n")[0].path == "*"


def test_a_missing_host_is_tolerated_on_unix_sockets_and_from_http_1_0():
    assert parsed("GET / HTTP/1.1\n")[0].headers.get("host") is None
    assert parsed("GET / HTTP/1.0\n", TCP)[0].http10
    assert refused("GET / HTTP/1.1\n", TCP) == 400
    assert parsed("GET / HTTP/1.1\nHost:\n", TCP)[0].headers.get("host") == ""


def test_the_socket_path_old_clients_send_as_host_is_tolerated():
    assert parsed("GET / HTTP/1.1\nHost: /var/run/docker.sock\n")
    assert parsed("GET / HTTP/1.1\nHost: %2Fvar%2Frun%2Fdocker.sock\n")


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        ("1.1", "", True),
        ("1.1", "keep-alive", True),
        ("1.1", "Close", False),
        ("1.1", "Upgrade, close", False),
        ("1.0", "", False),
        ("1.0", "Keep-Alive", True),
        ("1.0", "keep-alive, close", False),
    ],
)
def test_the_client_decides_whether_the_connection_is_kept(version, connection, kept):
    _, framing = parsed(f"GET / HTTP/{version}\nConnection: {connection}\n")
    assert framing.keep_alive is kept


def test_framing_is_read_from_the_fields():
    assert parsed("POST / HTTP/1.1\nContent-Length: 0042\n")[1].length == 42
    assert parsed("POST / HTTP/1.1\nTransfer-Encoding: CHUNKED\n")[1].length is None
    assert parsed("POST / HTTP/1.1\nExpect: 100-Continue\n")[1].expects_continue
    assert not parsed("POST / HTTP/1.0\nExpect: 100-continue\n")[1].expects_continue


def test_a_hundred_fields_are_served_and_one_more_is_not():
    assert parsed("GET / HTTP/1.1\n" + "A: b\n" * 100)
    assert refused("GET / HTTP/1.1\n" + "A: b\n" * 101) == 431


def test_the_request_line_has_a_limit_of_its_own():
    fits = 16 * 1024 - len("GET / HTTP/1.1")
    assert parsed(f"GET /{'a' * fits} HTTP/1.1\n")
    assert refused(f"GET /{'a' * (fits + 1)} HTTP/1.1\n") == 414


def test_a_part_of_a_head_is_refused_as_soon_as_it_cannot_become_one():
    def status(data, scanned=0):
        error = early_error(bytearray(data), scanned, LIMITS)
        return None if error is None else error.status

    assert status(b"GET / HTTP/1.1\r\nA: b") is None
    assert status(b"GET") is None
    assert status(b"\x16\x03\x01") == 400
    assert status(b"GET /\n") == 400
    assert status(b"GET / HTTP/1.1\r\nA: b\nC", 20) == 400
    assert status(b"PRI * HTTP/2.0\r\n") == 505
    assert status(b"G" * 16385) == 414
    assert status(b"GET / HTTP/1.1\r\n" + b"a" * 65536) == 431


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data):
    try:
        request, _ = parse_head(data, LIMITS, UNIX, PEER)
    except HeadError as error:
        status = error.status
    else:
        status = 200 if request.path else 0
    assert status in (200, 400, 414, 417, 431, 501, 505)


@given(
    st.lists(
        st.tuples(
            st.text("abcXYZ019!#$-_", min_size=1, max_size=10).map(lambda name: "X" + name),
            st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
        ),
        max_size=20,
    )
)
def test_correct_fields_come_out_as_they_went_in(fields):
    head = "GET / HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields)
    request, _ = parse_head(head.encode(), LIMITS, UNIX, PEER)
    assert list(request.headers) == [(name.lower(), value.strip()) for name, value in fields]


def test_the_same_bytes_again_are_judged_by_where_they_come_in_and_who_sends_them():
    head = b"GET /_ping HTTP/1.1\r\nAccept: */*\r\n"
    peers = Peer(uid=0, cert_cn=None), Peer(uid=7, cert_cn=None)
    for peer in (*peers, *peers):
        request, framing = parse_head(head, Limits(), UNIX, peer)
        assert (request.path, request.peer, framing.length) == ("/_ping", peer, 0)
        with pytest.raises(HeadError, match="missing Host"):
            parse_head(head, Limits(), TCP, peer)
    with pytest.raises(HeadError, match="too long"):
        parse_head(head, Limits(request_line_bytes=10), UNIX, peers[0])


@pytest.mark.parametrize("name", ["Authorization", "cookie", "X-Registry-Auth"])
def test_heads_with_secrets_are_not_kept(name):
    kept = dict(_REPEATED)
    parse_head(f"GET / HTTP/1.1\r\n{name}: secret\r\n".encode(), Limits(), UNIX, PEER)
    assert kept == _REPEATED


def test_heads_do_not_pile_up():
    for number in range(1000):
        parse_head(f"GET /{number} HTTP/1.1\r\n".encode(), Limits(), UNIX, PEER)
    assert len(_REPEATED) <= 128
    parse_head(f"GET /{'x' * 600} HTTP/1.1\r\n".encode(), Limits(), UNIX, PEER)
    assert not any("x" * 600 in str(key) for key in _REPEATED)
