"""An engine seen through its HTTP API: version agreement, JSON, streams and hijacks."""

import json
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from pinnace.client.address import Address
from pinnace.client.connection import connect
from pinnace.client.errors import ApiError, BadAnswer
from pinnace.client.http import Body, Hijacked, Response, exchange

NEWEST_API = (1, 56)
# What an engine that does not say its version in /_ping speaks at least.
UNSAID_API = (1, 24)

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]
Query = Mapping[str, str | int | bool | None]
T = TypeVar("T")


class _ErrorBody(msgspec.Struct):
    message: str


class Engine:
    """Client of one engine; every call opens a connection of its own.

    Errors of all methods: `Unreachable`, `BadAnswer`, and `ApiError` for statuses from 400 on.
    """

    def __init__(self, address: Address, *, user_agent: str = "pinnace") -> None:
        self.address = address
        self._user_agent = user_agent
        self._prefix: str | None = None

    async def ping(self) -> str:
        """Return the API version to use, such as "1.56": the newest that both sides know."""
        async with await self._send("HEAD", "/_ping", {}, None) as response:
            said = response.headers.get("api-version", "")
            if response.status >= 500 or (response.status >= 400 and not said):
                raise ApiError(response.status, f"/_ping answered {response.status}")
        agreed = min(NEWEST_API, _parse_version(said) if said else UNSAID_API)
        version = f"{agreed[0]}.{agreed[1]}"
        self._prefix = f"/v{version}"
        return version

    async def open(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Body = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request and return its answer with the body still to be read.

        Args:
            method: HTTP method.
            path: Below the version prefix, escaped already: "/containers/json".
            query: None values are left out; booleans become 1 and 0.
            body: Bytes, or an async iterable which is sent chunked.
            content_type: Of the body.
            headers: More headers.
        """
        if self._prefix is None:
            await self.ping()
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Type"] = content_type
        target = f"{self._prefix}{path}{encode_query(query or {})}"
        response = await self._send(method, target, sent, body)
        if response.status >= 400:
            async with response:
                raise ApiError(response.status, error_message(await response.read_available()))
        return response

    async def call(
        self, method: str, path: str, *, query: Query | None = None, body: JsonValue = None
    ) -> bytes:
        """Send a request and return the whole body of its answer."""
        data = None if body is None else json.dumps(body).encode()
        async with await self.open(method, path, query=query, body=data) as response:
            return await response.read()

    async def get(self, kind: type[T], path: str, *, query: Query | None = None) -> T:
        """GET a path and decode the answer."""
        return decode(kind, await self.call("GET", path, query=query))

    async def post(
        self, kind: type[T], path: str, *, query: Query | None = None, body: JsonValue = None
    ) -> T:
        """POST to a path and decode the answer."""
        return decode(kind, await self.call("POST", path, query=query, body=body))

    async def hijack(
        self, path: str, *, query: Query | None = None, body: JsonValue = None
    ) -> Hijacked:
        """POST to a path which turns the connection into raw bytes (attach, exec start)."""
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        data = None if body is None else json.dumps(body).encode()
        response = await self.open("POST", path, query=query, body=data, headers=headers)
        return response.hijack()

    async def _send(
        self, method: str, target: str, headers: Mapping[str, str], body: Body
    ) -> Response:
        tcp = self.address.path is None
        host = f"{self.address.host}:{self.address.port}" if tcp else "localhost"
        sent = {"Host": host, "User-Agent": self._user_agent, "Connection": "close", **headers}
        return await exchange(await connect(self.address), method, target, sent, body)


def encode_query(query: Query) -> str:
    """Return "?a=b&…", or nothing when no value is given."""
    given = {name: value for name, value in query.items() if value is not None}
    if not given:
        return ""
    return "?" + urlencode({n: int(v) if isinstance(v, bool) else v for n, v in given.items()})


def decode(kind: type[T], data: bytes) -> T:
    """Decode an answer.

    Raises:
        BadAnswer: It is not JSON, or not of this shape.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise BadAnswer(f"the engine's answer cannot be understood: {exc}") from exc


def error_message(body: bytes) -> str:
    """Return the text of an error answer: its "message", or the body when it is not JSON."""
    try:
        return msgspec.json.decode(body, type=_ErrorBody).message
    except (msgspec.DecodeError, msgspec.ValidationError):
        return body.decode(errors="replace").strip() or "no reason given"


def _parse_version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise BadAnswer(f"the engine says it speaks API version {text!r}")
    return int(major), int(minor)
