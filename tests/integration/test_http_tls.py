"""TLS listeners: certificates, half-close, hijacks over encrypted connections."""

import asyncio
import socket
import ssl

import pytest
from tests.support.http_edge import (
    DEADLINE_S,
    RAW,
    connected,
    eventually,
    make_certificates,
    serving,
)
from tests.support.tls_client import TlsClient

from pinnace.api.http.limits import Limits
from pinnace.api.http.listeners import ListenSpec
from pinnace.api.http.tls import TlsSpec, common_name, server_context

REQUEST = b"GET /_ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
HIJACK = b"POST /hijack HTTP/1.1\r\nHost: localhost\r\n\r\n"
LEGACY = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("pnt-certificates"))


def spec_of(certificates, *, verify=True, limits=None):
    ca = certificates.ca if verify else None
    tls = TlsSpec(certificates.cert, certificates.key, ca, verify)
    return ListenSpec("tcp://127.0.0.1:0", tls=tls, limits=limits or Limits())


def context_of(certificates, version=None, *, authenticated=True):
    context = ssl.create_default_context(cafile=str(certificates.ca))
    if authenticated:
        context.load_cert_chain(certificates.client_cert, certificates.client_key)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


async def in_thread(listener, context, function):
    def run():
        with TlsClient(listener.addresses[0], context) as client:
            return function(client)

    async with asyncio.timeout(DEADLINE_S):
        return await asyncio.to_thread(run)


@VERSIONS
async def test_a_verified_client_is_served_and_known_by_its_common_name(certificates, version):
    def ping(client):
        client.send(REQUEST * 2)
        return client.read(132)

    async with serving(spec=spec_of(certificates)) as (app, listener):
        got = await in_thread(listener, context_of(certificates, version), ping)
        assert got.count(b"OK") == 4
        request = app.requests[0]
        assert request.peer.cert_cn == "test client"
        assert request.listener.tls
        assert request.peer.address == "127.0.0.1"


@VERSIONS
async def test_class_21_a_client_without_certificate_is_not_served(certificates, version):
    def ping(client):
        client.send(REQUEST)
        return client.until_end()

    async with serving(spec=spec_of(certificates)) as (app, listener):
        context = context_of(certificates, version, authenticated=False)
        with pytest.raises((ssl.SSLError, EOFError, ConnectionError)):
            await in_thread(listener, context, ping)
        assert app.requests == []
        await eventually(lambda: listener.connection_count == 0)


async def test_old_versions_of_tls_are_refused(certificates):
    context = server_context(spec_of(certificates).tls)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_mode == ssl.CERT_REQUIRED


async def test_without_verification_the_rules_of_plain_tcp_hold(certificates):
    def ping(client):
        client.send(REQUEST)
        return client.read(60)

    async with serving(spec=spec_of(certificates, verify=False)) as (app, listener):
        context = context_of(certificates, authenticated=False)
        assert (await in_thread(listener, context, ping)).startswith(b"HTTP/1.1 200 ")
        assert app.requests[0].peer.cert_cn is None
        assert app.requests[0].peer.uid == 0


@VERSIONS
async def test_output_arrives_after_the_clients_close_notify(certificates, version):
    def attach(client):
        client.send(HIJACK + b"early,")
        client.read(len(LEGACY))
        client.send(b"late")
        client.end()
        return client.until_end()

    async with serving(spec=spec_of(certificates)) as (_, listener):
        got = await in_thread(listener, context_of(certificates, version), attach)
        assert got == b"got:early,late"


@VERSIONS
async def test_a_request_is_answered_after_the_clients_close_notify(certificates, version):
    async def wait(exchange):
        await exchange.disconnected()
        await exchange.respond(200, b"late")

    def half(client):
        client.send(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.end()
        return client.until_end()

    async with serving(spec=spec_of(certificates)) as (app, listener):
        app.routes["/wait"] = wait
        got = await in_thread(listener, context_of(certificates, version), half)
        assert got.endswith(b"late")


async def test_input_cut_off_without_close_notify_is_not_taken_for_its_end(certificates):
    async def attach(exchange):
        stream = exchange.hijack(RAW)
        try:
            async for _ in stream.reader:
                pass
            app.outcome = "end"
        except ConnectionError:
            app.outcome = "lost"
        app.event("over").set()

    def cut(client):
        client.send(b"POST /attach HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.read(len(LEGACY))
        client.send(b"some")
        client.socket.shutdown(socket.SHUT_WR)

    async with serving(spec=spec_of(certificates)) as (app, listener):
        app.routes["/attach"] = attach
        await in_thread(listener, context_of(certificates), cut)
        async with asyncio.timeout(DEADLINE_S):
            await app.event("over").wait()
        assert app.outcome == "lost"


@VERSIONS
async def test_a_relay_gives_a_descriptor_of_an_encrypted_stream(certificates, version):
    """The same megabytes go both ways at once; each side ends on its own."""

    async def attach(exchange):
        stream = exchange.hijack(RAW)
        assert stream.socket_fd() is None
        app.early = stream.early
        app.descriptor = await stream.detach_fd()
        await stream.finish()
        app.event("finished").set()

    size = 2_000_000

    def talk(client):
        client.send(b"POST /attach HTTP/1.1\r\nHost: localhost\r\n\r\nearly")
        client.read(len(LEGACY))
        client.send(b"i" * size)
        client.end()
        return client.until_end()

    def process(taken):
        taken.settimeout(DEADLINE_S)
        received = 0
        while data := taken.recv(65536):
            received += len(data)
        taken.sendall(b"o" * size)
        return received

    async with serving(spec=spec_of(certificates)) as (app, listener):
        app.routes["/attach"] = attach
        talking = asyncio.create_task(in_thread(listener, context_of(certificates, version), talk))
        await eventually(lambda: hasattr(app, "descriptor"))
        with socket.socket(fileno=app.descriptor) as taken:
            assert app.early + b"i" * await asyncio.to_thread(process, taken) == (
                b"early" + b"i" * size
            )
        assert await talking == b"o" * size
        async with asyncio.timeout(DEADLINE_S):
            await app.event("finished").wait()
        await eventually(lambda: listener.connection_count == 0)


async def test_class_22_a_handshake_that_takes_too_long_is_cut_off(certificates):
    limits = Limits(handshake_deadline_s=0.2)
    async with serving(spec=spec_of(certificates, limits=limits)) as (_, listener):
        async with connected(listener) as client:
            await client.send(b"\x16\x03\x01")
            assert await client.rest() == b""


async def test_class_22_plain_http_on_a_tls_listener_is_cut_off(certificates):
    async with serving(spec=spec_of(certificates)) as (app, listener):
        async with connected(listener) as client:
            await client.send(REQUEST)
            assert not (await client.rest()).startswith(b"HTTP")
        assert app.requests == []


async def test_class_20_browser_requests_are_refused_under_tls_too(certificates):
    def browse(client):
        client.send(b"POST /x HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.test\r\n\r\n")
        return client.until_end()

    async with serving(spec=spec_of(certificates)) as (app, listener):
        got = await in_thread(listener, context_of(certificates), browse)
        assert got.startswith(b"HTTP/1.1 403 ")
        assert app.requests == []


async def test_a_body_larger_than_the_queue_passes_through_paused_reading(certificates):
    async def slow(exchange):
        total = 0
        async for chunk in exchange.body:
            await asyncio.sleep(0)
            total += len(chunk)
        await exchange.respond(200, str(total).encode())

    def upload(client):
        client.send(b"POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n")
        client.send(b"x" * 8_000_000)
        client.end()
        return client.until_end()

    async with serving(spec=spec_of(certificates)) as (app, listener):
        app.routes["/slow"] = slow
        got = await in_thread(listener, context_of(certificates), upload)
        assert got.endswith(b"8000000")


def test_the_common_name_of_no_certificate_is_none():
    assert common_name(None) is None
    assert common_name({}) is None
    assert common_name({"subject": ((("organizationName", "x"),),)}) == ""
    assert common_name({"subject": ((("commonName", "x"),),)}) == "x"


def test_verifying_without_an_authority_is_a_mistake(certificates):
    with pytest.raises(ValueError, match="ca"):
        server_context(TlsSpec(certificates.cert, certificates.key))
