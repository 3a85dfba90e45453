"""Class 22: request smuggling, slow clients, header floods; the parser under fuzzing."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.http_edge import connected, serving, talk

from pinnace.api.http.limits import Limits

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def post(fields: bytes, body: bytes = b"") -> bytes:
    return b"POST /echo HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n" + body


def get(fields: bytes) -> bytes:
    return b"GET /_ping HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n"


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", body)


# Each is refused with the status named and closed; nothing behind it is looked at.
HEADS: dict[str, tuple[bytes, int]] = {
    # --- two lengths
    "length and chunked": (post(b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"), 400),
    "chunked and length": (post(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"), 400),
    "chunked and length zero": (post(b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"), 400),
    "two differing lengths": (post(b"Content-Length: 4\r\nContent-Length: 5\r\n"), 400),
    "two equal lengths": (post(b"Content-Length: 4\r\nContent-Length: 4\r\n"), 400),
    "two lengths in other case": (post(b"Content-Length: 4\r\ncontent-length: 4\r\n"), 400),
    "list of equal lengths": (post(b"Content-Length: 4, 4\r\n"), 400),
    "list of differing lengths": (post(b"Content-Length: 4, 5\r\n"), 400),
    # --- malformed lengths
    "empty length": (post(b"Content-Length: \r\n"), 400),
    "length without value": (post(b"Content-Length:\r\n"), 400),
    "negative length": (post(b"Content-Length: -1\r\n"), 400),
    "signed length": (post(b"Content-Length: +4\r\n"), 400),
    "hexadecimal length": (post(b"Content-Length: 0x4\r\n"), 400),
    "length with underscore": (post(b"Content-Length: 1_0\r\n"), 400),
    "fractional length": (post(b"Content-Length: 4.0\r\n"), 400),
    "exponential length": (post(b"Content-Length: 1e1\r\n"), 400),
    "length with inner space": (post(b"Content-Length: 1 0\r\n"), 400),
    "length with comma": (post(b"Content-Length: 4,\r\n"), 400),
    "quoted length": (post(b'Content-Length: "4"\r\n'), 400),
    "length of letters": (post(b"Content-Length: four\r\n"), 400),
    "length beyond 64 bits": (post(b"Content-Length: 18446744073709551617\r\n"), 400),
    "endless length": (post(b"Content-Length: " + b"9" * 400 + b"\r\n"), 400),
    "superscript length": (post(b"Content-Length: \xb2\r\n"), 400),
    "length with form feed": (post(b"Content-Length: 4\x0c\r\n"), 400),
    "length with vertical tab": (post(b"Content-Length:\x0b4\r\n"), 400),
    # --- transfer codings
    "unknown coding": (post(b"Transfer-Encoding: gzip\r\n"), 501),
    "identity coding": (post(b"Transfer-Encoding: identity\r\n"), 501),
    "gzip then chunked": (post(b"Transfer-Encoding: gzip, chunked\r\n"), 501),
    "chunked then gzip": (post(b"Transfer-Encoding: chunked, gzip\r\n"), 501),
    "chunked then identity": (post(b"Transfer-Encoding: chunked, identity\r\n"), 501),
    "chunked twice": (post(b"Transfer-Encoding: chunked, chunked\r\n"), 400),
    "two coding fields": (
        post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        400,
    ),
    "coding and identity fields": (
        post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
        400,
    ),
    "empty coding": (post(b"Transfer-Encoding:\r\n"), 400),
    "chunked with parameter": (post(b"Transfer-Encoding: chunked;q=1\r\n"), 501),
    "chunked with comma": (post(b"Transfer-Encoding: chunked,\r\n"), 501),
    "chunked with leading comma": (post(b"Transfer-Encoding: ,chunked\r\n"), 501),
    "xchunked": (post(b"Transfer-Encoding: xchunked\r\n"), 501),
    "quoted chunked": (post(b'Transfer-Encoding: "chunked"\r\n'), 501),
    "chunked with vertical tab": (post(b"Transfer-Encoding: \x0bchunked\r\n"), 400),
    "chunked with NUL": (post(b"Transfer-Encoding: chunked\0\r\n"), 400),
    "chunked with high byte": (post(b"Transfer-Encoding: chunked\xa0\r\n"), 501),
    "chunked in HTTP/1.0": (b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    # --- white space and line ends around fields
    "space before colon": (post(b"Content-Length : 4\r\n"), 400),
    "tab before colon": (post(b"Content-Length\t: 4\r\n"), 400),
    "coding with space before colon": (post(b"Transfer-Encoding : chunked\r\n"), 400),
    "folded field": (get(b"X-A: one\r\n two\r\n"), 400),
    "field folded with tab": (get(b"X-A: one\r\n\ttwo\r\n"), 400),
    "folded coding": (post(b"Transfer-Encoding:\r\n chunked\r\n"), 400),
    "first field indented": (b"GET /_ping HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "bare LF behind field": (get(b"X-A: b\nX-C: d\r\n"), 400),
    "bare LF hides coding": (get(b"X-A: b\nTransfer-Encoding: chunked\r\n"), 400),
    "bare LF line ends": (b"GET /_ping HTTP/1.1\nHost: x\n\n", 400),
    "bare LF behind request line": (b"GET /_ping HTTP/1.1\nHost: x\r\n\r\n", 400),
    "bare CR in value": (get(b"X-A: b\rX-C: d\r\n"), 400),
    "bare CR behind value": (get(b"X-A: b\r\r\n"), 400),
    "CR CR LF behind request line": (b"GET /_ping HTTP/1.1\r\r\nHost: x\r\n\r\n", 400),
    "LF CR behind field": (get(b"X-A: b\n\rX-C: d\r\n"), 400),
    "empty line of bare LF": (b"GET /_ping HTTP/1.1\r\nHost: x\r\n\n", 400),
    # --- field names and values
    "field without colon": (get(b"Nonsense\r\n"), 400),
    "field without name": (get(b": value\r\n"), 400),
    "name with space": (get(b"X A: b\r\n"), 400),
    "name with NUL": (get(b"X\0A: b\r\n"), 400),
    "name with high byte": (get(b"X\xc3\xa4: b\r\n"), 400),
    "name with parenthesis": (get(b"X(A): b\r\n"), 400),
    "name with slash": (get(b"X/A: b\r\n"), 400),
    "name with quote": (get(b'"X": b\r\n'), 400),
    "name with braces": (get(b"X{}: b\r\n"), 400),
    "value with NUL": (get(b"X-A: b\0c\r\n"), 400),
    "value with escape": (get(b"X-A: \x1b[31m\r\n"), 400),
    "value with backspace": (get(b"X-A: b\x08\r\n"), 400),
    "value with delete": (get(b"X-A: b\x7f\r\n"), 400),
    # --- request lines
    "no version": (b"GET /_ping\r\nHost: x\r\n\r\n", 400),
    "no target": (b"GET  HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no method": (b" /_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "two spaces behind method": (b"GET  /_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "two spaces behind target": (b"GET /_ping  HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "tab behind method": (b"GET\t/_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "space behind version": (b"GET /_ping HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
    "space in target": (b"GET /_p ing HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "two targets": (b"GET /_ping /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "NUL in target": (b"GET /_ping\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "control in target": (b"GET /_ping\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "fragment in target": (b"GET /_ping#a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "broken UTF-8 in target": (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "relative target": (b"GET _ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "asterisk for GET": (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "authority form": (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "target of another scheme": (b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "absolute target without host": (b"GET http:///_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "absolute target with user": (b"GET http://a@x/_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "method with colon": (b"GE:T /_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "method with brackets": (b"GET[] /_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "method with high byte": (b"G\xcbT /_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "endless method": (b"G" * 100 + b" /_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "lower case version": (b"GET /_ping http/1.1\r\nHost: x\r\n\r\n", 400),
    "another protocol": (b"GET /_ping ICAP/1.0\r\nHost: x\r\n\r\n", 400),
    "version without minor": (b"GET /_ping HTTP/1\r\nHost: x\r\n\r\n", 400),
    "version with two digits": (b"GET /_ping HTTP/1.10\r\nHost: x\r\n\r\n", 400),
    "version 0.9": (b"GET /_ping HTTP/0.9\r\nHost: x\r\n\r\n", 505),
    "version 1.2": (b"GET /_ping HTTP/1.2\r\nHost: x\r\n\r\n", 505),
    "version 2.0": (b"GET /_ping HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "version 3.0": (b"GET /_ping HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    "hello of TLS": (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", 400),
    "leading space": (b" GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "leading NUL": (b"\0GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "leading byte order mark": (b"\xef\xbb\xbfGET /_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "leading bare LF": (b"\nGET /_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "three leading empty lines": (b"\r\n\r\n\r\nGET /_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    # --- hosts
    "two hosts": (b"GET /_ping HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "two equal hosts": (b"GET /_ping HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n", 400),
    "list of hosts": (b"GET /_ping HTTP/1.1\r\nHost: x, y\r\n\r\n", 400),
    "host with space": (b"GET /_ping HTTP/1.1\r\nHost: x y\r\n\r\n", 400),
    "host with user": (b"GET /_ping HTTP/1.1\r\nHost: a@x\r\n\r\n", 400),
    # --- expectations
    "unknown expectation": (post(b"Expect: 200-ok\r\nContent-Length: 1\r\n"), 417),
    # --- floods
    "too many fields": (get(b"X-A: b\r\n" * 101), 431),
    "field of 64 KiB": (get(b"X-A: " + b"b" * 65536 + b"\r\n"), 431),
    "name of 64 KiB": (get(b"X" * 65536 + b": b\r\n"), 431),
    "target of 16 KiB": (b"GET /" + b"a" * 16384 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "request line without end": (b"G" * 20000, 414),
}

# Each reaches the application, whose reader fails: 400, or a closed connection without an answer.
BODIES: dict[str, bytes] = {
    "size of letters": chunked(b"xyz\r\nabc\r\n0\r\n\r\n"),
    "empty size": chunked(b"\r\nabc\r\n0\r\n\r\n"),
    "negative size": chunked(b"-3\r\nabc\r\n0\r\n\r\n"),
    "signed size": chunked(b"+3\r\nabc\r\n0\r\n\r\n"),
    "size with prefix": chunked(b"0x3\r\nabc\r\n0\r\n\r\n"),
    "size with underscore": chunked(b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    "size with leading space": chunked(b" 3\r\nabc\r\n0\r\n\r\n"),
    "size with trailing space": chunked(b"3 \r\nabc\r\n0\r\n\r\n"),
    "size with tab": chunked(b"3\t\r\nabc\r\n0\r\n\r\n"),
    "size beyond 64 bits": chunked(b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    "endless size": chunked(b"0" * 2000 + b"3\r\nabc\r\n0\r\n\r\n"),
    "size behind bare LF": chunked(b"3\nabc\r\n0\r\n\r\n"),
    "size behind bare CR": chunked(b"3\rabc\r\n0\r\n\r\n"),
    "chunk longer than its size": chunked(b"3\r\nabcd\r\n0\r\n\r\n"),
    "chunk shorter than its size": chunked(b"5\r\nabc\r\n0\r\n\r\n"),
    "chunk ended by bare LF": chunked(b"3\r\nabc\n0\r\n\r\n"),
    "chunk ended by bare CR": chunked(b"3\r\nabc\r0\r\n\r\n"),
    "chunk without end": chunked(b"3\r\nabc0\r\n\r\n"),
    "extension with NUL": chunked(b"3;a\0b\r\nabc\r\n0\r\n\r\n"),
    "extension with bare LF": chunked(b"3;a\nabc\r\n0\r\n\r\n"),
    "extension of 2 KiB": chunked(b"3;" + b"a" * 2048 + b"\r\nabc\r\n0\r\n\r\n"),
    "flood of extensions": chunked((b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 20 + b"0\r\n\r\n"),
    "trailer without colon": chunked(b"0\r\nnonsense\r\n\r\n"),
    "folded trailer": chunked(b"0\r\nX: a\r\n b\r\n\r\n"),
    "trailer with bare LF": chunked(b"0\r\nX: a\n\r\n"),
    "flood of trailers": chunked(b"0\r\n" + b"X: aaaaaaaa\r\n" * 1000 + b"\r\n"),
    "last chunk ended by bare LF": chunked(b"0\n\n"),
    "body shorter than announced": post(b"Content-Length: 10\r\n", b"abc"),
    "chunked body without last chunk": chunked(b"3\r\nabc\r\n"),
}


def test_class_22_the_tables_hold_more_than_a_hundred_attacks():
    assert len(HEADS) + len(BODIES) > 130


@pytest.mark.parametrize("name", HEADS)
async def test_class_22_a_malformed_head_is_refused_and_nothing_behind_it_is_served(name):
    data, status = HEADS[name]
    async with serving() as (app, listener):
        got = await talk(listener, data + SMUGGLED, end=False)
        assert got.startswith(b"HTTP/1.1 %d " % status)
        assert got.count(b"HTTP/1.1 ") == 1
        assert b"\r\nConnection: close\r\n" in got
        assert app.requests == []


@pytest.mark.parametrize("name", BODIES)
async def test_class_22_a_malformed_body_ends_the_connection(name):
    async def echo(exchange):
        try:
            body = await exchange.body.read(1 << 20)
        except Exception as exc:
            await exchange.respond(400, str(exc).encode())
        else:
            await exchange.respond(200, body)

    async with serving() as (app, listener):
        app.routes["/echo"] = echo
        ends_early = name in ("body shorter than announced", "chunked body without last chunk")
        data = BODIES[name] if ends_early else BODIES[name] + SMUGGLED
        got = await talk(listener, data, end=ends_early)
        assert got.startswith(b"HTTP/1.1 400 ")
        assert got.count(b"HTTP/1.1 ") == 1
        assert app.paths == ["/echo"]


async def test_class_22_bytes_behind_a_body_of_known_length_are_the_next_request():
    async with serving() as (app, listener):
        await talk(listener, post(b"Content-Length: 3\r\n", b"abc") + SMUGGLED)
        assert app.paths == ["/echo", "/smuggled"]


async def test_class_22_a_body_announced_with_get_is_not_taken_for_a_request():
    inner = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    request = get(b"Content-Length: %d\r\n" % len(inner)) + inner
    async with serving() as (app, listener):
        await talk(listener, request)
        assert app.paths == ["/_ping"]


async def test_class_22_ten_megabytes_of_fields_are_refused_early():
    async with serving() as (app, listener):
        flood = b"GET /_ping HTTP/1.1\r\n" + b"X-Flood: " + b"a" * (10 << 20) + b"\r\n\r\n"
        got = await talk(listener, flood, end=False)
        assert got.startswith(b"HTTP/1.1 431 ")
        assert app.requests == []


async def test_class_22_a_client_that_dawdles_over_its_head_is_cut_off():
    async with serving(limits=Limits(header_deadline_s=0.2)) as (app, listener):
        async with connected(listener) as client:
            await client.send(b"GET /_ping HT")
            got = await client.rest()
        assert got.startswith(b"HTTP/1.1 408 ")
        assert app.requests == []


async def test_class_22_dripping_bytes_does_not_move_the_deadline_of_a_head():
    async with serving(limits=Limits(header_deadline_s=0.3)) as (_app, listener):
        async with connected(listener) as client:

            async def drip():
                await client.send(b"GET /_ping HTTP/1.1\r\n")
                while True:
                    await client.send(b"X: y\r\n")
                    await asyncio.sleep(0.02)

            dripping = asyncio.create_task(drip())
            got = await client.rest()
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)
        assert got.startswith(b"HTTP/1.1 408 ")


async def test_class_22_a_connection_that_never_speaks_is_closed():
    async with serving(limits=Limits(header_deadline_s=0.2)) as (_, listener):
        async with connected(listener) as client:
            assert await client.rest() == b""


async def test_class_22_an_idle_connection_is_closed():
    async with serving(limits=Limits(idle_deadline_s=0.2)) as (_, listener):
        async with connected(listener) as client:
            await client.send(get(b""))
            status, _, _ = await client.answer()
            assert status == 200
            assert await client.rest() == b""


async def test_class_22_a_body_that_stops_arriving_fails_in_the_reader():
    async with serving(limits=Limits(body_idle_s=0.2)) as (_, listener):
        async with connected(listener) as client:
            await client.send(post(b"Content-Length: 10\r\n", b"abc"))
            got = await client.rest()
        assert got.startswith(b"HTTP/1.1 500 ")


async def test_class_22_a_client_that_never_reads_its_answer_is_cut_off():
    async def huge(exchange):
        await exchange.respond(200, b"x" * (64 << 20))

    async with serving(limits=Limits(idle_deadline_s=0.3)) as (app, listener):
        app.routes["/huge"] = huge
        async with connected(listener) as client:
            client.writer.transport.pause_reading()
            await client.send(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(20):
                while not app.requests or listener.connection_count:
                    await asyncio.sleep(0.01)


async def test_class_22_connections_beyond_the_limit_are_refused():
    async with serving(limits=Limits(connections=1)) as (_, listener):
        async with connected(listener) as first:
            await first.send(get(b""))
            assert (await first.answer())[0] == 200
            assert (await talk(listener, get(b""), end=False)).startswith(b"HTTP/1.1 503 ")
            await first.send(get(b""))
            assert (await first.answer())[0] == 200


@pytest.mark.parametrize("cut", range(1, 60, 4))
async def test_class_22_a_head_may_arrive_in_any_pieces(cut):
    data = b"GET /_ping HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\nConnection: close\r\n\r\n"
    async with serving() as (_, listener):
        async with connected(listener) as client:
            for start in range(0, len(data), cut):
                await client.send(data[start : start + cut])
                await asyncio.sleep(0)
            assert (await client.rest()).endswith(b"\r\n\r\nOK")


_PIECES = st.sampled_from(
    b"GET |POST |/_ping|/echo|/hijack| HTTP/1.1| HTTP/1.0|\r\n|\r\n\r\n|\n|\r|Host: x|: |\0| |"
    b"\xff|Content-Length: |3|abc|0|;|Transfer-Encoding: chunked|3\r\nabc\r\n0\r\n\r\n|"
    b"Expect: 100-continue|Connection: close|Upgrade: tcp|Upgrade: websocket".split(b"|")
)
_STREAMS = st.lists(st.one_of(_PIECES, st.binary(max_size=20)), max_size=30)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pieces=_STREAMS)
def test_class_22_any_bytes_are_answered_or_end_the_connection(pieces, caplog):
    async def check():
        async with serving() as (_, listener):
            async with connected(listener) as client:
                for piece in pieces:
                    try:
                        await client.send(piece)
                    except OSError:
                        break
                try:
                    await client.end()
                except OSError:
                    pass
                got = await client.rest()
            assert got == b"" or got.startswith(b"HTTP/1.1 ")

    caplog.clear()
    asyncio.run(check())
    assert not [record for record in caplog.records if "exception" in record.message.lower()]
