"""Contract of 2013, section "Routing and transport": C1 to C34."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.support import images
from tests.support.engine import end_processes_below, remove_root, unmount_below
from tests.support.remote import RAW_STREAM_HEAD, Remote, parse, read_until, until

pytestmark = pytest.mark.root
PAGE_404 = (404, "404 page not found\n", "text/plain; charset=utf-8")
PINNACE = [sys.executable, "-m", "pinnace.cli.main", "daemon"]


def page(reply):
    return reply.status, reply.text, reply.type


@pytest.fixture(scope="module")
def sleeper(shared):
    return shared.sleeper()


@pytest.fixture(scope="module")
def named(engine, newest):
    """An image called acme/web:latest."""
    engine.load(images.tiny_image("acme/web:latest", config={"Labels": {"made": "for routing"}}))
    yield "acme/web"
    newest.delete("/images/acme/web:latest", query={"force": 1})


def test_c1_version_answers_behind_every_prefix_and_bare(api):
    assert api.get("/version").status == 200


@pytest.mark.versions("1.2")
def test_c2_a_bare_path_on_tcp_follows_the_rules_of_1_2(api, tcp):
    bare, numbered = tcp.get("/images/json"), tcp.at("1.2").get("/images/json")
    assert (bare.status, bare.type, bare.body) == (200, numbered.type, numbered.body)
    assert "Repository" in bare.json()[0]
    assert api.get("/images/json").body == bare.body


@pytest.mark.versions("any")
def test_c3_version_1_3_is_served_as_1_3(tcp, sleeper):
    assert tcp.at("1.3").get("/version").status == 200
    assert tcp.at("1.3").get(f"/containers/{sleeper}/top").status == 200
    assert tcp.at("1.2").get(f"/containers/{sleeper}/top").status == 404


@pytest.mark.versions("any")
@pytest.mark.parametrize("path", ["/v2/version", "/v0/version"])
def test_c4_a_lone_number_is_no_version_prefix(tcp, path):
    assert page(tcp.get(path)) == PAGE_404


@pytest.mark.versions("any")
@pytest.mark.parametrize("listener", ["tcp", "unix"])
def test_c5_a_bare_path_that_1_2_lacks_is_served_as_the_newest(tcp, newest, listener):
    remote = tcp if listener == "tcp" else newest
    pinged = remote.get("/_ping")
    assert (pinged.status, pinged.body) == (200, b"OK")
    assert pinged.headers["api-version"] == "1.56"
    assert {one["Name"] for one in remote.get("/networks").json()} >= {"bridge", "host", "none"}
    events = remote.get("/events", query={"since": 1, "until": 2})
    assert (events.status, events.type) == (200, "application/jsonl")


@pytest.mark.versions("any")
def test_c6_a_word_is_no_version_prefix(tcp):
    assert page(tcp.get("/vlatest/version")) == PAGE_404


@pytest.mark.versions("any")
def test_c7_v1_is_no_version_prefix(tcp):
    assert page(tcp.get("/v1/version")) == PAGE_404


@pytest.mark.versions("any")
def test_c8_version_1_20_is_not_1_2(tcp, sleeper):
    assert tcp.at("1.20").get("/version").json()["ApiVersion"] == "1.56"
    assert "ApiVersion" not in tcp.at("1.2").get("/version").json()
    assert tcp.at("1.20").get(f"/containers/{sleeper}/logs", query={"stdout": 1}).status == 200


@pytest.mark.versions("any")
def test_c9_a_version_too_old_or_too_new_is_400_and_three_numbers_404(tcp):
    too_old, too_new = tcp.get("/v0.9/version"), tcp.get("/v1.999/version")
    assert too_old.status == 400
    assert "client version 0.9 is too old. Minimum supported API version is 1.0" in too_old.text
    assert too_new.status == 400
    assert "client version 1.999 is too new. Maximum supported API version is" in too_new.text
    assert page(tcp.get("/v1.2.3/version")) == PAGE_404


def test_c10_an_unknown_path_is_404_in_plain_text(api):
    assert page(api.get("/nope")) == PAGE_404


@pytest.mark.versions("any")
def test_c11_an_unknown_path_of_1_3_is_404_in_plain_text(tcp):
    assert page(tcp.at("1.3").get("/nope")) == PAGE_404


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/containers/json"), ("GET", "/containers/create")]
)
def test_c12_a_wrong_method_is_404_not_405(api, method, path):
    assert page(api.call(method, path)) == PAGE_404


def test_c13_put_is_404(api):
    assert page(api.call("PUT", "/images/json")) == PAGE_404


def test_c14_a_trailing_slash_is_404(api):
    assert page(api.get("/containers/json/")) == PAGE_404


def test_c15_an_empty_segment_is_cleaned_by_301(api):
    prefix = api.target("")
    for asked, cleaned in (
        (f"/{prefix}/version", f"{prefix}/version"),
        (f"{prefix}//version", f"{prefix}/version"),
        (f"{prefix}/containers/../version", f"{prefix}/version"),
        (f"{prefix}/./version", f"{prefix}/version"),
    ):
        reply = parse(api.raw(f"GET {asked} HTTP/1.0\r\n\r\n".encode()))
        assert (reply.status, reply.headers["location"]) == (301, cleaned)


@pytest.fixture(scope="module")
def by_default():
    """A daemon that was not told where to listen, alone in a network with one more address."""
    root = Path(tempfile.mkdtemp(prefix="pnt-def-", dir="/var/tmp"))
    (root / "daemon.json").write_text("{}\n")
    script = (
        "ip link set lo up && ip addr add 10.228.9.9/32 dev lo && mount -t tmpfs none /run"
        f" && exec {' '.join(PINNACE)} --bridge=none --data-root={root}/data"
        f" --exec-root={root}/exec --pidfile={root}/pid --config-file={root}/daemon.json"
    )
    with (root / "log").open("wb") as log:
        daemon = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation=private", "sh", "-c", script],
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: daemon.poll() is not None or settled(daemon.pid), "the daemon's listening")
        assert daemon.poll() is None, (root / "log").read_text()
        yield daemon.pid
    finally:
        daemon.terminate()
        daemon.wait(30)
        end_processes_below(root)
        unmount_below(root)
        remove_root(root)


def settled(pid):
    own, other = (os.readlink(f"/proc/{one}/ns/net") for one in ("self", pid))
    return own != other and listening(pid)


def listening(pid):
    """Return the addresses and ports of TCP listeners in a process's network, as hexadecimals."""
    found = []
    with network_of(pid):
        for name in ("tcp", "tcp6"):
            lines = Path(f"/proc/thread-self/net/{name}").read_text().splitlines()
            rows = [line.split() for line in lines[1:]]
            found += [row[1] for row in rows if row[3] == "0A"]
    return found


@contextlib.contextmanager
def network_of(pid):
    """Open sockets in another process's network; only this thread, and only here."""
    with (
        Path("/proc/thread-self/ns/net").open() as own,
        Path(f"/proc/{pid}/ns/net").open() as other,
    ):
        setns(other.fileno())
        try:
            yield
        finally:
            setns(own.fileno())


def setns(fd):
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.mark.versions("1.0", "1.1", "1.2")
def test_c16_the_default_listener_is_port_4243_of_127_0_0_1(by_default, api):
    assert listening(by_default) == ["0100007F:1093"]
    with network_of(by_default):
        assert Remote(api.version, 4243).get("/version").status == 200


@pytest.mark.versions("1.0", "1.1", "1.2")
def test_c17_nothing_listens_on_other_addresses_by_default(by_default, api):
    with network_of(by_default):
        assert Remote(api.version, 4243).get("/version").status == 200
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("10.228.9.9", 4243), timeout=5)


@pytest.fixture
def prefixed(api):
    """The API behind a prefix; bare paths of operations that 1.2 lacks are the newest's (C5)."""
    return api.at("1.2") if api.version == "bare" else api


def test_c18_top_is_unknown(prefixed, sleeper):
    assert page(prefixed.get(f"/containers/{sleeper}/top")) == PAGE_404


def test_c19_events_are_unknown(prefixed):
    assert page(prefixed.get("/events")) == PAGE_404


def test_c20_ping_is_unknown(prefixed):
    assert page(prefixed.get("/_ping")) == PAGE_404


def test_c21_logs_are_unknown(prefixed, sleeper):
    assert page(prefixed.get(f"/containers/{sleeper}/logs")) == PAGE_404


def test_c22_post_delete_of_an_image_exists_in_1_2_only(api, engine, newest):
    def another(tag):
        engine.load(images.tiny_image(tag, config={"Labels": {"made": tag}}))
        return tag.partition(":")[0]

    try:
        name = another("c22a:latest")
        reply = api.post(f"/images/{name}/delete")
        if not api.is_1_2:
            assert page(reply) == PAGE_404
            return
        other = api.delete(f"/images/{another('c22b:latest')}")
        assert (
            (reply.status, reply.type) == (other.status, other.type) == (200, "application/json")
        )
        keys = [list(one) for one in reply.json()]
        assert keys == [list(one) for one in other.json()]
        assert keys[0] == ["Untagged"]
        assert ["Deleted"] in keys
        assert api.get(f"/images/{name}/json").status == 404
    finally:
        for name in ("c22a", "c22b"):
            newest.delete(f"/images/{name}", query={"force": 1})


def test_c23_no_answer_has_a_server_field(api, containers):
    container = containers.create("true")
    replies = [
        api.get("/version"),
        api.get("/nope"),
        api.get("/containers/nosuch/json"),
        api.get("/containers/json", query={"all": "maybe"}),
        api.get("//version"),
        api.call("OPTIONS", "/version"),
        api.post(f"/containers/{container}/start"),
        api.get(f"/containers/{container}/export"),
        api.post(f"/containers/{container}/attach"),
        api.delete(f"/containers/{container}"),
    ]
    assert {reply.status for reply in replies} == {200, 204, 301, 400, 404}
    assert [reply.head for reply in replies if "server" in reply.headers] == []


def test_c24_the_client_s_version_does_not_matter(api, containers):
    old = {"User-Agent": "Docker-Client/0.0.1"}
    assert api.get("/version", headers=old).json() == api.get("/version").json()
    body = {"Image": "busybox", "Cmd": ["true"]}
    reply = api.post("/containers/create", body, headers=old)
    assert reply.status == 201
    containers.adopt(reply.json()["Id"])


@pytest.mark.parametrize("form", ["Host:", "Host: "])
def test_c25_an_empty_host_is_served(api, sleeper, form):
    for method, path in (("GET", "/version"), ("POST", f"/containers/{sleeper}/attach")):
        head = f"{method} {api.target(path)} HTTP/1.1\r\n{form}\r\nConnection: close\r\n\r\n"
        assert parse(api.raw(head.encode())).status == 200


def test_c26_http_1_0_without_host_is_served(api):
    raw = api.raw(f"GET {api.target('/version')} HTTP/1.0\r\n\r\n".encode())
    reply = parse(raw)
    assert reply.status == 200
    assert "transfer-encoding" not in reply.headers
    assert "Version" in reply.json()


def test_c27_create_takes_a_chunked_body(api, containers):
    body = json.dumps({"Image": "busybox", "Cmd": ["echo", "chunked"]}).encode()
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:1], body[1:9], body[9:])
    )
    reply = api.post(
        "/containers/create", chunks + b"0\r\n\r\n", headers={"Transfer-Encoding": "chunked"}
    )
    assert reply.status == 201, reply.sent
    container = containers.adopt(reply.json()["Id"])
    assert containers.inspect(container)["Args"] == ["chunked"]


def test_c28_expect_gets_100_before_the_body_is_sent(api, containers):
    body = json.dumps({"Image": "busybox", "Cmd": ["true"]}).encode()
    head = (
        f"POST {api.target('/containers/create')} HTTP/1.1\r\nHost: localhost\r\n"
        f"Connection: close\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with api.connect() as connection:
        connection.sendall(head.encode())
        assert read_until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        reply = parse(read_until(connection, b"}"))
    assert reply.status == 201
    containers.adopt(reply.json()["Id"])


@pytest.mark.parametrize("spelled", ["acme/web", "acme%2Fweb"])
def test_c29_a_name_may_hold_slashes_plain_or_escaped(api, named, spelled):
    reply = api.get(f"/images/{spelled}/json")
    assert reply.status == 200
    assert re.fullmatch("[0-9a-f]{64}", reply.json()["id"])


def test_c30_errors_are_one_line_of_text(api, sleeper):
    replies = [
        api.get("/nope"),
        api.get("/containers/nosuch/json"),
        api.get("/images/nosuch/json"),
        api.get("/containers/json", query={"all": "maybe"}),
        api.post("/containers/create"),
        api.post("/containers/create", b"{"),
        api.post(f"/containers/{sleeper}/start"),
        api.post(f"/containers/{sleeper}/resize"),
        api.post("/containers/nosuch/attach"),
        api.delete("/containers/nosuch"),
        api.post("/commit", query={"container": "nosuch"}),
        api.at("0.9").get("/version"),
    ]
    assert {reply.status for reply in replies} == {400, 404, 500}
    for reply in replies:
        assert reply.type == "text/plain; charset=utf-8", reply.sent
        assert reply.text.count("\n") == 1, reply.sent
        assert reply.text.endswith("\n"), reply.sent
        assert not reply.text.startswith(("{", "[", '"')), reply.sent


def test_c31_unknown_parameters_are_ignored(api):
    assert api.get("/containers/ps", query={"only_ids": 1, "trunc_cmd": 1}).status == 200


def test_c32_of_a_repeated_parameter_the_first_counts(api, containers):
    created = containers.create("true")
    for query, listed in (("all=0&all=1", False), ("all=1&all=0", True)):
        entries = api.get(f"/containers/json?{query}").json()
        assert any(one["Id"].startswith(created) for one in entries) == listed


def test_c33_204_has_neither_body_nor_framing(api, containers):
    container = containers.create("true")
    replies = [
        api.post(f"/containers/{container}/start"),
        api.post(f"/containers/{container}/stop"),
        api.post(f"/containers/{container}/restart"),
        api.post(f"/containers/{container}/kill"),
        api.delete(f"/containers/{container}"),
    ]
    for reply in replies:
        assert (reply.status, reply.body) == (204, b""), reply.sent
        assert not {"transfer-encoding", "content-length", "content-type"} & set(reply.headers)


def test_c34_posts_need_neither_body_nor_content_type(api, containers, newest):
    container = containers.create("sleep", "600", Tty=True)

    def post(path):
        head = f"POST {api.target(path)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        return parse(api.raw(head.encode()))

    assert post(f"/containers/{container}/start").status == 204
    assert post(f"/containers/{container}/resize?h=24&w=80").status == 200
    assert post(f"/containers/{container}/attach").sent == RAW_STREAM_HEAD
    assert post(f"/containers/{container}/restart?t=0").status == 204
    assert post(f"/containers/{container}/stop?t=0").status == 204
    assert post(f"/containers/{container}/kill").status == 204
    assert post(f"/containers/{container}/wait").status == 200
    try:
        assert post("/images/busybox/tag?repo=c34").status == 201
    finally:
        newest.delete("/images/c34")
