"""Hijacked connections, websockets, and answers that come piece by piece."""

import asyncio
import base64
import contextlib
import json
import os
import time

import pytest
from tests.support.api import CONTAINER, IMAGE, parse_reply

from pinnace.engine.containers.logs import LogStream
from pinnace.errors import InvalidParameter, NotSupported
from pinnace.model.image_import import ImportParams

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


async def converse(client, head: str, *parts: bytes) -> tuple[bytes, bytes]:
    """Send a request head and bytes, half-close; return answer head and the rest."""
    reader, writer = await client.open()
    writer.write(head.replace("\n", "\r\n").encode() + parts[0])
    got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    for part in parts[1:]:
        writer.write(part)
    writer.write_eof()
    rest = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return got, rest


async def test_c173_legacy_attach_answers_with_exactly_68_bytes(client):
    for version in ("1.0", "1.1", "1.2"):
        head = f"POST /v{version}/containers/web/attach?stream=1&stdout=1 HTTP/1.1\nHost:\n\n"
        got, rest = await converse(client, head, b"early ", b"late")
        assert got == f"HTTP/1.1 200 OK\r\nContent-Type: {RAW}\r\n\r\n".encode()
        assert rest == b"early late"


async def test_attach_with_upgrade_answers_101_and_is_framed(client, engine):
    head = (
        "POST /v1.50/containers/web/attach?stream=1&stdin=1&stdout=1&stderr=1&detachKeys=ctrl-a"
        " HTTP/1.1\nHost: docker\nConnection: Upgrade\nUpgrade: tcp\n\n"
    )
    got, rest = await converse(client, head, b"a", b"b")
    assert got.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    assert f"Content-Type: {MULTIPLEXED}".encode() in got
    assert rest == b"ab"
    ref, params = engine.last("attach.attach").args
    assert ref == "web"
    assert params.framed
    assert (params.stdin, params.stdout, params.stderr) == (True, True, True)
    assert (params.stream, params.logs, params.detach_keys) == (True, False, "ctrl-a")


@pytest.mark.parametrize(
    ("version", "framed", "kind"),
    [("1.5", False, RAW), ("1.6", True, RAW), ("1.41", True, RAW), ("1.42", True, MULTIPLEXED)],
)
async def test_framing_and_its_type_by_version(client, engine, version, framed, kind):
    head = f"POST /v{version}/containers/web/attach?stream=1 HTTP/1.1\nHost: x\n\n"
    got, _ = await converse(client, head, b"")
    assert f"Content-Type: {kind}\r\n".encode() in got
    assert engine.last("attach.attach").args[1].framed is framed


async def test_attach_to_an_unknown_container_is_an_ordinary_404(client):
    reply = await client.post("/v1.2/containers/nosuch/attach?stream=1&stdout=1")
    assert (reply.status, reply.body) == (404, b"No such container: nosuch\n")


@pytest.mark.parametrize("name", ["logs", "stream", "stdin", "stdout", "stderr"])
async def test_c45_a_bad_boolean_on_attach_is_400_before_the_lookup(client, name):
    reply = await client.post(f"/v1.2/containers/nosuch/attach?{name}=2")
    assert (reply.status, reply.body) == (400, b"Bad parameter\n")


async def test_exec_is_made_and_started_attached(client, engine):
    reply = await client.post("/containers/web/exec", {"Cmd": "true", "AttachStdout": True})
    assert reply.status == 201
    exec_id = reply.json()["Id"]
    assert engine.last("execs.create").args[1].cmd == ["true"]
    body = b'{"Detach":false,"Tty":true}'
    head = (
        f"POST /v1.50/exec/{exec_id}/start HTTP/1.1\nHost: x\nContent-Type: application/json\n"
        f"Connection: Upgrade\nUpgrade: tcp\nContent-Length: {len(body)}\n\n"
    )
    got, rest = await converse(client, head, body + b"in", b"put")
    assert got.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    assert f"Content-Type: {RAW}\r\n".encode() in got
    assert rest == b"input"


async def test_exec_started_detached_answers_200(client, engine):
    reply = await client.post("/exec/abc/start", {"Detach": True})
    assert (reply.status, reply.body) == (200, b"")
    assert engine.last("execs.start").args[1].detach


async def test_exec_start_needs_its_content_type_from_1_22_on(client):
    body = b'{"Detach":true}'
    assert (await client.ask("POST", "/v1.22/exec/abc/start", body)).status == 400
    assert (await client.ask("POST", "/v1.21/exec/abc/start", body)).status == 200


async def test_exec_inspect_and_resize(client, engine):
    assert (await client.get("/exec/abc/json")).json()["ExitCode"] == 0
    assert (await client.post("/exec/abc/resize?h=24&w=80")).status == 200
    assert engine.last("execs.resize").args == ("abc", 24, 80)


async def test_logs_are_framed_unless_there_is_a_terminal(client, engine):
    reply = await client.get("/containers/web/logs?stdout=1&stderr=1")
    assert reply.headers["content-type"] == MULTIPLEXED
    assert reply.body == b"\1\0\0\0\0\0\0\4out\n\2\0\0\0\0\0\0\4err\n"

    async def chunks():
        yield 1, b"tty\r\n"

    engine.answers["logs.open"] = LogStream(True, chunks())
    reply = await client.get("/containers/web/logs?stdout=1")
    assert (reply.headers["content-type"], reply.body) == (RAW, b"tty\r\n")


async def test_log_parameters_reach_the_engine(client, engine):
    await client.get("/containers/web/logs?stdout=1&since=5.25&until=7&tail=10&timestamps=1")
    _, params = engine.last("logs.open").args
    assert (params.since_ns, params.until_ns) == (5_250_000_000, 7_000_000_000)
    assert (params.tail, params.timestamps, params.follow) == (10, True, False)
    await client.get("/v1.34/containers/web/logs?stdout=1&until=7&tail=all")
    _, params = engine.last("logs.open").args
    assert (params.until_ns, params.tail) == (None, None)


async def test_following_logs_end_when_the_client_leaves(client, engine):
    ended = asyncio.Event()

    async def chunks():
        try:
            yield 1, b"first"
            await asyncio.Event().wait()
        finally:
            ended.set()

    engine.answers["logs.open"] = LogStream(False, chunks())
    reader, writer = await client.open()
    writer.write(b"GET /containers/web/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"first")
    writer.close()
    await asyncio.wait_for(ended.wait(), 10)


async def test_events_are_lines_sent_at_once(client, engine):
    reader, writer = await client.open()
    writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert b"Content-Type: application/jsonl\r\n" in head
    engine.events.publish("container", "start", CONTAINER, {"image": "busybox"})
    await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
    event = json.loads(await asyncio.wait_for(reader.readuntil(b"\n"), 10))
    writer.close()
    assert event["Action"] == "start"
    assert "status" not in event


@pytest.mark.parametrize(
    ("accept", "kind", "start"),
    [
        ("application/json-seq", "application/json-seq", b"\x1e{"),
        ("application/x-ndjson;q=1", "application/x-ndjson", b"{"),
        ("application/json", "application/jsonl", b"{"),
        ("*/*", "application/jsonl", b"{"),
    ],
)
async def test_the_form_of_events_is_negotiated(client, engine, accept, kind, start):
    engine.events.publish("container", "start", CONTAINER)
    reply = await client.get("/events?since=1&until=2", headers={"Accept": accept})
    assert reply.headers["content-type"] == kind
    reply = await client.get(f"/events?since=1&until={now()}", headers={"Accept": accept})
    assert reply.body.startswith(start)


def now() -> str:
    return f"{time.time():.6f}"


async def test_events_since_0_are_all_there_are(client, engine):
    engine.events.publish("container", "start", CONTAINER)
    reply = await client.get(f"/events?since=0&until={now()}")
    assert CONTAINER.encode() in reply.body


async def test_events_of_older_clients(client, engine):
    engine.events.publish("container", "start", CONTAINER, {"image": "busybox"})
    engine.events.publish("image", "create", IMAGE)
    engine.events.publish("volume", "create", "data")
    target = f"events?since=1&until={now()}"

    async def seen(version: str) -> list[dict]:
        reply = await client.get(f"/v{version}/{target}")
        assert reply.headers["content-type"] == "application/json"
        return [json.loads(line) for line in reply.body.splitlines()]

    newer = await seen("1.51")
    assert [event["Action"] for event in newer] == ["start", "create", "create"]
    assert (newer[0]["status"], newer[0]["id"], newer[0]["from"]) == (
        "start",
        CONTAINER,
        "busybox",
    )
    assert [event["Type"] for event in await seen("1.45")] == ["container", "volume"]
    (oldest,) = await seen("1.21")
    assert set(oldest) == {"status", "id", "from", "time", "timeNano"}
    (oldest,) = await seen("1.20")
    assert set(oldest) == {"status", "id", "from", "time"}


async def test_load_streams_its_progress(client, engine):
    reply = await client.ask("POST", "/images/load?quiet=1", b"tar")
    assert reply.headers["content-type"] == "application/json"
    assert reply.body == b'{"stream":"Loaded image: acme/web:latest\\n"}\r\n'
    assert engine.last("images.load").args == (b"tar",)


async def test_a_failure_before_the_first_progress_is_a_status(client, engine):
    engine.answers["images.load"] = [InvalidParameter("no tar")]
    reply = await client.ask("POST", "/images/load", b"x")
    assert (reply.status, reply.message) == (400, "no tar")


async def test_a_failure_after_the_first_progress_is_told_in_the_stream(client, engine):
    engine.answers["images.load"] = [{"status": "reading"}, InvalidParameter("broken tar")]
    reply = await client.ask("POST", "/images/load", b"x")
    assert reply.status == 200
    last = json.loads(reply.body.splitlines()[-1])
    assert last == {"errorDetail": {"message": "broken tar"}, "error": "broken tar"}


async def test_import_streams_the_id_and_1_0_reads_text(client, engine):
    target = "images/create?fromSrc=-&repo=acme/web&tag=1&changes=CMD+env&message=m"
    reply = await client.ask("POST", f"/v1.45/{target}", b"tar")
    assert json.loads(reply.body) == {"status": IMAGE}
    assert engine.last("images.import_tar").args[1] == ImportParams(
        repo="acme/web", tag="1", changes=["CMD env"], message="m"
    )
    reply = await client.ask("POST", f"/v1.0/{target}", b"tar")
    assert reply.headers["content-type"] == RAW
    assert reply.body == f"{IMAGE[7:19]}\r\n".encode()


async def test_images_are_saved_by_one_name_or_several(client, engine):
    assert (await client.get("/images/acme/web/get")).body == b"tarbytes"
    reply = await client.get("/images/get?names=a&names=b/c")
    assert reply.headers["content-type"] == "application/x-tar"
    assert engine.last("images.save").args == (["a", "b/c"],)


async def test_archive_calls_carry_the_stat(client, engine):
    head = await client.ask("HEAD", "/containers/web/archive?path=/etc/motd")
    got = await client.get("/containers/web/archive?path=/etc/motd")
    assert got.body == b"tarbytes"
    for reply in (head, got):
        stat = json.loads(base64.b64decode(reply.headers["x-docker-container-path-stat"]))
        assert stat == {
            "name": "motd",
            "size": 3,
            "mode": 420,
            "mtime": "2013-06-14T09:12:44Z",
            "linkTarget": "",
        }
    put = await client.ask(
        "PUT", "/containers/web/archive?path=/etc&noOverwriteDirNonDir=1", b"tar"
    )
    assert put.status == 200
    assert engine.last("archive.put").kwargs == {
        "no_overwrite_dir_non_dir": True,
        "copy_uidgid": False,
    }
    assert (await client.get("/containers/web/archive")).status == 400


async def test_export_is_a_stream(client, engine):
    reply = await client.get("/v1.2/containers/web/export")
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.body == b"tarbytes"
    engine.answers["archive.export"] = NotSupported("no")
    assert (await client.get("/containers/web/export")).status == 501


async def test_a_stream_that_fails_midway_breaks_the_connection(client, engine):

    async def chunks():
        yield b"tar"
        raise InvalidParameter("lost")

    engine.answers["archive.export"] = lambda _ref: chunks()
    reader, writer = await client.open()
    writer.write(b"GET /containers/web/export HTTP/1.1\r\nHost: x\r\n\r\n")
    raw = b""
    with contextlib.suppress(ConnectionError):
        raw = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert not raw.endswith(b"0\r\n\r\n")


async def test_a_mutation_goes_on_when_its_client_leaves(client, engine):
    started, release, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slowly(_ref, **_options):
        started.set()
        await release.wait()
        finished.set()

    engine.answers["containers.start"] = slowly
    _, writer = await client.open()
    writer.write(b"POST /containers/web/start HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(started.wait(), 10)
    writer.transport.abort()
    release.set()
    await asyncio.wait_for(finished.wait(), 10)


def masked(opcode: int, payload: bytes) -> bytes:
    key = os.urandom(4)
    body = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + key + body


@pytest.mark.parametrize(("version", "opcode"), [("1.50", 2), ("1.27", 1)])
async def test_websocket_attach_echoes(client, engine, version, opcode):
    reader, writer = await client.open()
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /v{version}/containers/web/attach/ws?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\n"
        f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert parse_reply(head).status == 101
    writer.write(masked(1, b"hello"))
    frame = await asyncio.wait_for(reader.readexactly(7), 10)
    assert frame == bytes([0x80 | opcode, 5]) + b"hello"
    writer.write(masked(8, b"\x03\xe8"))
    await asyncio.wait_for(reader.read(), 10)
    writer.close()
    _, params = engine.last("attach.attach").args
    assert not params.framed
    assert params.stdin is (version == "1.27")
