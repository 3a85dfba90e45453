"""Classes 20 and 21 over real sockets: users, namespaces and browsers on loopback TCP."""

import asyncio
import os
import socket
import struct
import subprocess
import sys

import pytest
from tests.support.http_edge import DEADLINE_S, connected, eventually, serving, talk

from pinnace.api.http.access import AccessPolicy
from pinnace.api.http.listeners import ListenSpec
from pinnace.api.http.peer import find_gid, find_socket_uid, groups_of

pytestmark = pytest.mark.root

NOBODY = 65534
# Connects as it is told, asks, and prints the first line of the answer.
CHILD = """
import os, socket, sys
family, host, port, uid = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
os.setgroups([])
os.setresuid(uid, uid, uid)
client = socket.socket(family)
client.settimeout(20)
client.connect((host, port))
client.sendall(b"GET /_ping HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
answer = b""
while data := client.recv(4096):
    answer += data
print(answer.decode())
"""


def spec_of(host="127.0.0.1", **policy):
    return ListenSpec(f"tcp://{host}:0", policy=AccessPolicy(**policy))


async def ask_as(uid, listener, *, family=socket.AF_INET, host="127.0.0.1"):
    arguments = [sys.executable, "-I", "-c", CHILD, str(int(family)), host]

    def run():
        done = subprocess.run(
            [*arguments, str(listener.addresses[0][1]), str(uid)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    async with asyncio.timeout(DEADLINE_S):
        return await asyncio.to_thread(run)


ROUTES = pytest.mark.parametrize(
    ("listening", "family", "host"),
    [
        ("127.0.0.1", socket.AF_INET, "127.0.0.1"),
        ("127.0.0.1", socket.AF_INET6, "::ffff:127.0.0.1"),
        ("[::1]", socket.AF_INET6, "::1"),
    ],
    ids=["IPv4", "mapped", "IPv6"],
)


@ROUTES
async def test_class_21_an_unprivileged_user_gets_403_on_loopback(listening, family, host):
    async with serving(spec=spec_of(listening)) as (app, listener):
        answer = await ask_as(NOBODY, listener, family=family, host=host)
        assert answer.startswith("HTTP/1.1 403 ")
        assert f"user {NOBODY} may not" in answer
        assert app.requests == []


@ROUTES
async def test_root_is_served_on_loopback(listening, family, host):
    async with serving(spec=spec_of(listening)) as (app, listener):
        answer = await ask_as(0, listener, family=family, host=host)
        assert answer.startswith("HTTP/1.1 200 ")
        assert app.requests[0].peer.uid == 0


async def test_a_member_of_the_group_is_served():
    gid = next(iter(groups_of(NOBODY)))
    async with serving(spec=spec_of(allowed_gid=gid, groups_of=groups_of)) as (app, listener):
        assert (await ask_as(NOBODY, listener)).startswith("HTTP/1.1 200 ")
        assert app.requests[0].peer.uid == NOBODY


async def test_class_21_a_member_of_another_group_is_refused():
    async with serving(spec=spec_of(allowed_gid=4711, groups_of=groups_of)) as (_, listener):
        assert (await ask_as(NOBODY, listener)).startswith("HTTP/1.1 403 ")


def test_a_user_unknown_to_the_database_has_no_groups():
    assert groups_of(3_999_999_999) == frozenset()


def test_groups_are_found_by_name_and_number():
    assert find_gid("root") == 0
    assert find_gid("4711") == 4711
    assert find_gid(12) == 12
    assert find_gid("pnt-nobody-knows") is None


def a_pair():
    """Return a server socket, a client connected to it, and the two addresses."""
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    return server, client, client.getsockname(), server.getsockname()


def test_class_21_a_client_that_closed_its_socket_is_not_taken_for_root():
    """What the kernel keeps of a closed socket carries user 0, whoever it was."""
    server, client, source, destination = a_pair()
    with server:
        assert find_socket_uid(source, destination) == 0
        client.close()
        # Now an orphan in FIN-WAIT; after our end closed too, a time-wait entry.
        assert find_socket_uid(source, destination) is None
        server.accept()[0].close()
        assert find_socket_uid(source, destination) is None


def test_class_21_a_client_that_ended_its_side_is_still_known():
    server, client, source, destination = a_pair()
    with server, client:
        client.shutdown(socket.SHUT_WR)
        assert find_socket_uid(source, destination) == 0


def test_class_21_a_listening_socket_is_not_taken_for_the_client():
    server, client, _, destination = a_pair()
    with server, client:
        # Nobody is connected from the listening port itself.
        assert find_socket_uid(destination, ("127.0.0.1", 1)) is None
        assert find_socket_uid(destination, destination) is None


def test_class_21_the_wrong_end_or_port_is_not_found():
    server, client, source, destination = a_pair()
    with server, client:
        assert find_socket_uid((source[0], source[1] ^ 1), destination) is None
        assert find_socket_uid(source, ("127.0.0.2", destination[1])) is None
        assert find_socket_uid(source, ("::1", destination[1])) is None


OTHER_NAMESPACE = """
import ctypes, fcntl, socket, struct, sys
assert ctypes.CDLL(None).unshare(0x40000000) == 0
probe = socket.socket()
fcntl.ioctl(probe, 0x8914, struct.pack("16sH14x", b"lo", 1))
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
print(client.getsockname()[1], server.getsockname()[1], flush=True)
sys.stdin.read()
"""


def test_class_21_a_client_in_another_network_namespace_has_no_user():
    child = subprocess.Popen(
        [sys.executable, "-c", OTHER_NAMESPACE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        source, destination = map(int, child.stdout.readline().split())
        assert find_socket_uid(("127.0.0.1", source), ("127.0.0.1", destination)) is None
    finally:
        child.communicate(timeout=DEADLINE_S)


async def test_class_21_a_client_that_leaves_at_once_is_never_served():
    async with serving(spec=spec_of()) as (app, listener):

        def hit_and_run():
            for _ in range(50):
                client = socket.create_connection(listener.addresses[0])
                client.sendall(b"GET /_ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()

        await asyncio.to_thread(hit_and_run)
        await eventually(lambda: listener.connection_count == 0)
        assert all(request.peer.uid == os.getuid() for request in app.requests)


BROWSER = (
    b"POST /containers/create HTTP/1.1\r\nHost: %b\r\nUser-Agent: Mozilla/5.0\r\n"
    b"Accept: */*\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n%b\r\n{}"
)


@pytest.mark.parametrize(
    ("host", "fields"),
    [
        (b"localhost:2375", b"Origin: https://evil.test\r\nSec-Fetch-Site: cross-site\r\n"),
        (b"localhost:2375", b"Origin: null\r\n"),
        (b"localhost:2375", b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n"),
        (b"localhost:2375", b"Sec-Fetch-Site: same-site\r\n"),
        (b"rebound.evil.test:2375", b""),
        (b"rebound.evil.test:2375", b"Sec-Fetch-Site: same-origin\r\n"),
    ],
)
async def test_class_20_requests_of_web_pages_are_refused(host, fields):
    async with serving(spec=spec_of()) as (app, listener):
        got = await talk(listener, BROWSER % (host, fields), end=False)
        assert got.startswith(b"HTTP/1.1 403 ")
        assert got.count(b"HTTP/1.1") == 1
        assert app.requests == []


async def test_class_20_a_websocket_of_a_web_page_is_refused():
    request = (
        b"GET /containers/x/attach/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nOrigin: https://evil.test\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with serving(spec=spec_of()) as (app, listener):
        assert (await talk(listener, request, end=False)).startswith(b"HTTP/1.1 403 ")
        assert app.requests == []


async def test_class_20_an_absolute_target_names_the_host():
    request = b"GET http://evil.test/_ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with serving(spec=spec_of()) as (_, listener):
        assert (await talk(listener, request, end=False)).startswith(b"HTTP/1.1 403 ")


async def test_an_allowed_origin_is_served():
    request = b"GET /_ping HTTP/1.1\r\nHost: localhost\r\nOrigin: https://ui.test\r\n\r\n"
    async with serving(spec=spec_of(origins=("https://ui.test",))) as (_, listener):
        async with connected(listener) as client:
            await client.send(request)
            assert (await client.answer())[0] == 200
