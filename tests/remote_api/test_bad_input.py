"""Requests of 2013 that cannot be meant: the documented answer, nothing changed, nothing left."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path

import pytest
from tests.support.archives import file, symlink, tar_of
from tests.support.remote import parse, until

pytestmark = pytest.mark.root
TEN_MEGABYTES = 10 << 20
UNKNOWN = "0123456789ab"


@pytest.fixture(scope="module")
def kept(shared):
    """A container that has to be there, unchanged, after everything."""
    return shared.sleeper()


def look(newest, kept):
    """What must not change: objects, the state of a container, the daemon's open files."""
    state = newest.get(f"/containers/{kept}/json").json()["State"]
    return {
        "containers": sorted(
            (one["Id"], one["State"], one["Names"][0])
            for one in newest.get("/containers/json", query={"all": 1}).json()
        ),
        "images": sorted(
            (one["Id"], *one["RepoTags"]) for one in newest.get("/images/json?all=1").json()
        ),
        "volumes": sorted(one["Name"] for one in newest.get("/volumes").json()["Volumes"] or []),
        "run": (state["Pid"], state["StartedAt"], state["Running"]),
    }


@pytest.fixture(autouse=True)
def _nothing_changes(newest, kept):
    before = look(newest, kept)
    yield
    assert look(newest, kept) == before


CONTAINER_CALLS = (
    ("GET", "json"), ("GET", "changes"), ("GET", "export"), ("POST", "start"), ("POST", "stop"),
    ("POST", "restart"), ("POST", "kill"), ("POST", "wait"), ("POST", "attach"),
    ("POST", "resize?h=1&w=1"), ("DELETE", ""),
)  # fmt: skip
# Not a path: control characters and half an escape, a directory, a name that is nobody's.
STRANGE_NAMES = (
    UNKNOWN,
    "nosuch",
    "..%2f..%2fetc",
    "%00",
    "%ff%fe",
    "a%0d%0aX-Y:%20z",
    "A" * 4000,
)


@pytest.mark.parametrize(("method", "call"), CONTAINER_CALLS)
def test_unknown_containers_are_404_whatever_they_are_called(api, method, call):
    for name in STRANGE_NAMES:
        reply = api.call(method, f"/containers/{name}/{call}".rstrip("/"))
        # A name that is a way upwards is cleaned like any path of the time (C15).
        assert reply.status in ((404, 301) if ".." in name else (404,)), (name, reply.sent)
        assert b"\r\nX-Y" not in reply.head
        if reply.status == 404:
            assert reply.text.startswith("No such container: ")
            assert reply.type == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("GET", "/images/{}/json", (404,)),
        ("GET", "/images/{}/history", (404,)),
        ("POST", "/images/{}/tag?repo=r", (404,)),
        ("POST", "/images/{}/insert?url=http://127.0.0.1:1/x&path=/x", (404,)),
        ("DELETE", "/images/{}", (404,)),
        ("POST", "/containers/create", (404,)),
        ("POST", "/commit?container={}", (404,)),
    ],
)
def test_unknown_images_are_404(api, method, path, statuses):
    for name in (UNKNOWN, "nosuch", "no/such:tag", "UPPER"):
        body = {"Image": name, "Cmd": ["true"]} if path == "/containers/create" else None
        reply = api.call(method, path.format(name), body)
        assert reply.status in statuses, (name, reply.sent)
        assert reply.text.endswith("\n")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/containers/json?all={}"),
        ("GET", "/containers/ps?all={}"),
        ("GET", "/images/json?all={}"),
        ("POST", "/images/busybox/tag?repo=r&force={}"),
        ("DELETE", "/containers/KEPT?v={}"),
        ("POST", "/containers/KEPT/attach?logs={}"),
        ("POST", "/containers/KEPT/attach?stdin={}"),
    ],
)
def test_bad_booleans_are_400(api, kept, method, path):
    for word in ("2", "yes", "tru", "-1", "0x1", "1%00", "%ff", "1.0"):
        reply = api.call(method, path.replace("KEPT", kept).format(word))
        assert (reply.status, reply.text) == (400, "Bad parameter\n"), (word, reply.sent)


BROKEN_JSON = (
    b"{", b"}", b'{"Image"', b'{"Image":"busybox","Cmd":["true"', b"\xff\xfe\x00", b"[1,2]",
    b'"x"', b"{'Image':1}", b"[" * 100_000, b'{"a":' * 100_000, b'{"Image":NaN}',
)  # fmt: skip


@pytest.mark.parametrize("path", ["/containers/create", "/auth", "/images/getCache"])
def test_broken_json_is_500(api, path):
    for body in BROKEN_JSON:
        reply = api.post(path, body)
        assert reply.status == 500, (body[:40], reply.sent)
        assert reply.text.count("\n") == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Image", 5), ("Cmd", "true"), ("Cmd", [1]), ("Env", {"A": "1"}), ("Memory", "64m"),
        ("Memory", 1.5), ("Tty", "yes"), ("PortSpecs", 80), ("Volumes", ["/data"]),
        ("Dns", [None, 1]), ("VolumesFrom", []), ("Hostname", {}), ("CpuShares", []),
    ],
)  # fmt: skip
def test_fields_of_the_wrong_type_are_500(api, field, value):
    body = {"Image": "busybox", "Cmd": ["true"], field: value}
    reply = api.post("/containers/create", body)
    assert reply.status == 500, reply.sent
    assert reply.text.startswith("json: cannot unmarshal")


@pytest.mark.parametrize(
    "settings",
    [
        {"Memory": 1}, {"Memory": -5}, {"Dns": ["not an address"]},
        {"VolumesFrom": "nosuch"}, {"Env": ["=x"]},
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused(api, settings):
    reply = api.post("/containers/create", {"Image": "busybox", "Cmd": ["true"], **settings})
    assert reply.status in (404, 500), reply.sent
    assert reply.text.count("\n") == 1


def multipart(*parts, end=True):
    """A form with files; without its end when cut off."""
    lines = b"".join(
        b'--edge\r\nContent-Disposition: form-data; name="%s"; filename="x"\r\n\r\n%s\r\n' % part
        for part in parts
    )
    return lines + (b"--edge--\r\n" if end else b"")


FORM = {"Content-Type": "multipart/form-data; boundary=edge"}
DOCKERFILE = b"FROM busybox\nADD evil /evil\n"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--edge",
        b"--edge--\r\n",
        b"no boundary at all",
        multipart((b"Context", tar_of(file("evil")))),
        multipart((b"Dockerfile", DOCKERFILE), end=False)[:-20],
        multipart((b"Context", tar_of(file("evil"))), (b"Dockerfile", DOCKERFILE), end=False)[
            :-40
        ],
        multipart((b"Context", b"not a tar" * 100), (b"Dockerfile", DOCKERFILE)),
        b"--edge\r\n" + b"X-Header: y\r\n" * 100_000,
    ],
)
def test_forms_that_are_cut_off_build_nothing(api, body):
    reply = api.post("/build?t=never", body, headers=FORM)
    failed = reply.status in (400, 500) or "Error build: " in reply.text
    assert failed, reply.sent[-300:]
    assert api.get("/images/never/json").status == 404


@pytest.mark.parametrize(
    "members",
    [
        [file("../evil", b"x")],
        [file("/etc/evil-of-2013", b"x")],
        [symlink("evil", "/etc/passwd")],
        [symlink("evil", "../../../../../../etc/passwd")],
        [symlink("dir", "/etc"), file("dir/evil-of-2013", b"x")],
    ],
)
def test_a_context_reaches_nothing_outside_itself(api, newest, members):
    body = multipart((b"Context", tar_of(*members)), (b"Dockerfile", DOCKERFILE))
    reply = api.post("/build?t=traversal", body, headers=FORM)
    assert reply.status in (200, 400, 500)
    assert not Path("/etc/evil-of-2013").exists()
    if api.get("/images/traversal/json").status == 200:  # the link went in as a link
        created = api.post("/containers/create", {"Image": "traversal", "Cmd": ["true"]}).json()
        try:
            query = {"path": "/evil"}
            tar = newest.get(f"/containers/{created['Id']}/archive", query=query).body
            assert b"root:x:0:0" not in tar
        finally:
            newest.delete(f"/containers/{created['Id']}", query={"force": 1})
            newest.delete("/images/traversal", query={"force": 1})


def test_ten_megabytes_of_headers_are_refused_early(api, engine):
    head = f"GET {api.target('/version')} HTTP/1.1\r\nHost: localhost\r\n".encode()
    for filler in (b"X: " + b"a" * TEN_MEGABYTES, b"X: y\r\n" * (TEN_MEGABYTES // 6)):
        with api.connect() as connection:
            answer = b""
            # The server may answer and close before everything is sent.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(head + filler + b"\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(1 << 16):
                    answer += piece
        assert not answer or parse(answer).status in (400, 431)
    assert api.get("/version").status == 200


def test_a_body_that_never_ends_is_cut_off(api):
    head = (
        f"POST {api.target('/containers/create')} HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Length: 100000000000\r\n\r\n"
    )
    with api.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(head.encode())
            for _ in range(64):
                connection.sendall(b" " * (1 << 18))
        with contextlib.suppress(ConnectionResetError):
            answer = connection.recv(1 << 16)
            assert not answer or parse(answer).status in (400, 413, 500)


def test_clients_that_leave_in_the_middle_leak_nothing(api, engine):
    def descriptors():
        return len(list(Path(f"/proc/{engine.pid}/fd").iterdir()))

    before = descriptors()
    body = json.dumps({"Image": "busybox", "Cmd": ["true"]}).encode()
    head = (
        f"POST {api.target('/containers/create')} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Length: {len(body) + 1}\r\n\r\n"
    ).encode()
    for cut in range(1, len(head + body), 23):
        with api.connect() as connection:
            connection.sendall((head + body)[:cut])
            connection.shutdown(socket.SHUT_RDWR)
    until(lambda: descriptors() <= before + 2, "the descriptors' closing")
