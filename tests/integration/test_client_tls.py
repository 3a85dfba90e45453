"""The client over mutual TLS against OpenSSL's own behaviour: half-close and who is trusted."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from dataclasses import replace

import pytest

from pinnace.client.address import parse_address, tls_from_directory
from pinnace.client.connection import connect
from pinnace.client.errors import Unreachable

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A directory with ca.pem, cert.pem and key.pem, good for localhost and as a client."""
    directory = tmp_path_factory.mktemp("tls")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    new = ["openssl", "req", *curve, "-days", "2"]

    def openssl(*arguments):
        subprocess.run(arguments, cwd=directory, check=True, capture_output=True)

    openssl(*new, "-x509", "-subj", "/CN=test ca", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(*new, "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.csr")
    (directory / "extensions").write_text("subjectAltName=DNS:localhost")
    openssl(
        *("openssl", "x509", "-req", "-in", "cert.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
        *("-CAcreateserial", "-days", "2", "-out", "cert.pem", "-extfile", "extensions"),
    )
    return directory


@pytest.fixture
def echo_after_eof(certificates):
    """A server which reads to the client's close_notify, and only then sends it all back."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "ca.pem")
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        raw, _ = listener.accept()
        raw.settimeout(20)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        data, shaken = b"", False
        with raw:
            while True:
                try:
                    if not shaken:
                        tls.do_handshake()
                        shaken = True
                    part = tls.read(65536)
                    if not part:
                        break
                    data += part
                except ssl.SSLWantReadError:
                    raw.sendall(outgoing.read())
                    received = raw.recv(65536)
                    if not received:
                        return
                    incoming.write(received)
                except (ssl.SSLError, OSError):
                    return
            tls.write(b"all: " + data)
            raw.sendall(outgoing.read())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.close()
    thread.join(20)


async def test_half_close_under_tls_still_receives(certificates, echo_after_eof):
    address = parse_address(f"tcp://localhost:{echo_after_eof}", tls_from_directory(certificates))
    stream = await connect(replace(address, host="localhost"))
    await stream.write(b"x" * 100_000)
    await stream.write_eof()
    received = b""
    async with asyncio.timeout(20):
        while data := await stream.read():
            received += data
    await stream.close()
    assert received == b"all: " + b"x" * 100_000


async def test_a_server_of_another_name_is_refused(certificates, echo_after_eof):
    address = parse_address(f"tcp://127.0.0.1:{echo_after_eof}", tls_from_directory(certificates))
    with pytest.raises(Unreachable, match="certificate"):
        await connect(address)
