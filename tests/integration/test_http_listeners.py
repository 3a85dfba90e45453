"""Listeners: unix sockets, loopback TCP, sockets passed by systemd."""

import grp
import os
import socket
import stat
import subprocess
import sys

import pytest
from tests.support.http_edge import Recorder, serving, talk

from pinnace.api.http.listeners import ListenSpec, listen
from pinnace.api.http.tls import TlsSpec
from pinnace.errors import Conflict, InvalidParameter, Unavailable

pytestmark = pytest.mark.root
PING = b"GET /_ping HTTP/1.1\r\nHost: localhost:1\r\n\r\n"


async def opened(address, **options):
    return await listen(ListenSpec(address, **options), Recorder())


async def test_a_unix_socket_belongs_to_its_group_and_to_nobody_else(tmp_path):
    path = tmp_path / "s"
    group = grp.getgrgid(1).gr_name
    listener = await opened(f"unix://{path}", group=group)
    status = path.stat()
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o660
    assert (status.st_uid, status.st_gid) == (0, 1)
    await listener.close(grace_s=0)
    assert not path.exists()


async def test_the_group_may_be_a_number(tmp_path):
    listener = await opened(f"unix://{tmp_path}/s", group="4711", mode=0o600)
    status = (tmp_path / "s").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o600, 4711)
    await listener.close(grace_s=0)


async def test_an_unknown_group_is_named(tmp_path):
    with pytest.raises(Unavailable, match="no group pnt-nobody-knows"):
        await opened(f"unix://{tmp_path}/s", group="pnt-nobody-knows")
    assert not (tmp_path / "s").exists()


async def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    listener = await opened(f"unix://{tmp_path}/s")
    assert (await talk(listener, PING)).endswith(b"OK")
    await listener.close(grace_s=0)


async def test_the_socket_of_a_living_daemon_is_left_alone(tmp_path):
    first = await opened(f"unix://{tmp_path}/s")
    with pytest.raises(Conflict, match="another daemon"):
        await opened(f"unix://{tmp_path}/s")
    assert (await talk(first, PING)).endswith(b"OK")
    await first.close(grace_s=0)


async def test_a_daemon_with_a_full_backlog_is_alive(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(path)
        busy.listen(0)
        waiting.connect(path)
        with pytest.raises(Conflict):
            await opened(f"unix://{path}")


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    (tmp_path / "s").write_text("precious")
    with pytest.raises(Conflict, match="not a socket"):
        await opened(f"unix://{tmp_path}/s")
    assert (tmp_path / "s").read_text() == "precious"


async def test_a_socket_put_in_our_place_is_not_removed_at_the_end(tmp_path):
    path = tmp_path / "s"
    first = await opened(f"unix://{path}")
    path.rename(tmp_path / "old")
    second = await opened(f"unix://{path}")
    await first.close(grace_s=0)
    assert path.exists()
    await second.close(grace_s=0)


MALFORMED = ["/run/s", "unix://s", "unix://", "unix:///" + "x" * 200, "http://x"]
MALFORMED += ["tcp://127.0.0.1:x", "tcp://:70000"]


@pytest.mark.parametrize("address", MALFORMED)
async def test_a_malformed_address_is_refused(address):
    with pytest.raises(InvalidParameter):
        await opened(address)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1"])
async def test_class_21_plain_tcp_beyond_loopback_is_refused(host):
    with pytest.raises(InvalidParameter, match="TLS with verified clients"):
        await opened(f"tcp://{host}:0")


async def test_class_21_tls_without_verification_is_refused_beyond_loopback(tmp_path):
    tls = TlsSpec(tmp_path / "c", tmp_path / "k", verify=False)
    with pytest.raises(InvalidParameter, match="TLS with verified clients"):
        await opened("tcp://0.0.0.0:0", tls=tls)


async def test_missing_certificates_are_reported(tmp_path):
    tls = TlsSpec(tmp_path / "c", tmp_path / "k", tmp_path / "ca")
    with pytest.raises(Unavailable):
        await opened("tcp://127.0.0.1:0", tls=tls)


async def test_a_taken_port_is_a_conflict():
    async with serving(spec=ListenSpec("tcp://127.0.0.1:0")) as (_, listener):
        with pytest.raises(Conflict):
            await opened(f"tcp://127.0.0.1:{listener.addresses[0][1]}")


async def test_a_unix_path_that_does_not_exist_is_reported(tmp_path):
    with pytest.raises(Unavailable, match="No such file"):
        await opened(f"unix://{tmp_path}/missing/s")


async def test_sockets_are_taken_only_from_our_own_environment():
    for environment in ({}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_FDS": "x"}):
        with pytest.raises(Unavailable, match="no sockets were passed"):
            await opened("fd://", environment=environment)


PASSED = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[1])
from pinnace.api.http.listeners import ListenSpec, listen
from tests.support.http_edge import Recorder, talk

async def main():
    environment = {**os.environ, "LISTEN_PID": str(os.getpid())}
    listener = await listen(ListenSpec(sys.argv[2], environment=environment), Recorder())
    print(len(listener.addresses), os.get_inheritable(3))
    print((await talk(listener, b"GET /_ping HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n"))[-2:])
    await listener.close(grace_s=0)

asyncio.run(main())
"""


@pytest.mark.parametrize("address", ["fd://", "fd://3", "fd://api"])
def test_a_socket_passed_by_systemd_is_served_and_left_in_place(tmp_path, address):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(path)
        passed.listen()
        program = [sys.executable, "-c", PASSED, os.getcwd(), address]
        shell = ["/bin/sh", "-c", 'exec "$@" 3<&0 </dev/null', "sh", *program]
        environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "api"}
        done = subprocess.run(shell, stdin=passed, env=environment, capture_output=True, text=True)
        assert done.stdout.split("\n")[:2] == ["1 False", "b'OK'"], done.stderr
    assert os.path.exists(path)
