"""From a request to an operation and back: version, route, decode, handler, encode, errors."""

import logging
import posixpath
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from pinnace.api.call import Call
from pinnace.api.changes import plan_for
from pinnace.api.changes.change import EVERY_OPERATION, Behaviour
from pinnace.api.cors import cors_fields
from pinnace.api.encoding import send_answer
from pinnace.api.errors import PageNotFound, error_body, host_failure, status_of
from pinnace.api.http.exchange import Exchange
from pinnace.api.http.failures import ClientGone
from pinnace.api.http.head import Request
from pinnace.api.owned import OwnedTasks
from pinnace.api.query import Query, parse_query
from pinnace.api.remote import remote_failure
from pinnace.api.routes import Route, Router
from pinnace.api.versions import LAST_OF_2013, NEWEST, OLDEST, Version, parse_version
from pinnace.errors import Internal, InvalidParameter, PinnaceError

if TYPE_CHECKING:
    from pinnace.engine.facade import Engine

log = logging.getLogger(__name__)

_PREFIX = re.compile(r"/v([^/]*)(/.*)?", re.DOTALL)
_FORM_TYPE = "application/x-www-form-urlencoded"
_MAX_FORM_BYTES = 64 << 10
# POST calls whose parameters may come as a form instead of a query; the others have bodies.
_FORMS = frozenset(
    {"ContainerAttach", "ContainerResize", "ContainerRestart", "ContainerStop", "ImageTag"}
)
# Answered without waiting for anything. Clients ask them most, often to see whether we live.
_IMMEDIATE = frozenset({"SystemPing", "SystemPingHead"})
_IMMEDIATE_END = "/_ping"  # of their paths; a search for every request would cost more
_KEPT_LOCATIONS = 4096
_LONG_PATH = 80  # no path without a name in it is that long


def _no_cors(_request: Request) -> Sequence[tuple[str, str]]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """What the edge needs to know of the configuration.

    Attributes:
        engine_version: Sent in the field `Server`.
        bare_versions: What a path without prefix means, by listener name; without an entry the
            newest version on a unix socket, and on TCP 1.2 where 1.2 has the operation.
        oldest: Versions below it are refused.
        cors: Returns the cross-origin fields that the listener's policy allows a request.
    """

    engine_version: str
    bare_versions: Mapping[str, Version] = field(default_factory=dict)
    oldest: Version = OLDEST
    cors: Callable[[Request], Sequence[tuple[str, str]]] = _no_cors


@dataclass(frozen=True, slots=True)
class _Location:
    """Where a request leads: an operation in some version, or a failure.

    Attributes:
        moved: The path without empty, `.` and `..` segments, when it has some.
    """

    version: Version
    route: Route | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    error: PinnaceError | None = None
    moved: str | None = None

    @property
    def behaviour(self) -> Behaviour:
        """How this client is answered, whatever the operation."""
        operation = EVERY_OPERATION if self.route is None else self.route.operation
        return plan_for(operation, self.version).behaviour


class Api:
    """The application below the HTTP edge."""

    def __init__(self, engine: "Engine", settings: ApiSettings, router: Router) -> None:
        self._engine = engine
        self._settings = settings
        self._router = router
        self._owned = OwnedTasks()
        self._locations: dict[tuple[str, str, str], _Location] = {}
        self._dated: tuple[int, tuple[tuple[str, str], ...]] = (0, ())

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        request = exchange.request
        log.debug("request: %s %s", request.method, request.path)
        location = self._locate(request)
        headers = self._headers(request, location)
        if request.method == "OPTIONS":
            await exchange.respond(200, headers=headers)
        elif location.route is None or location.error is not None:
            await self._refuse(exchange, location, headers)
        else:
            await self._serve(exchange, location, location.route, headers)

    def is_immediate(self, request: Request) -> bool:
        """Tell whether the answer to a request needs no waiting; asked for every one."""
        if not request.path.endswith(_IMMEDIATE_END):
            return False
        route = self._locate(request).route
        return route is not None and route.operation in _IMMEDIATE

    async def drain(self, timeout_s: float) -> int:
        """Wait for mutations whose clients left; return how many are left when time is up."""
        return await self._owned.drain(timeout_s)

    async def _serve(
        self,
        exchange: Exchange,
        location: _Location,
        route: Route,
        headers: Sequence[tuple[str, str]],
    ) -> None:
        plan = plan_for(route.operation, location.version)
        try:
            query = parse_query(exchange.request.query)
            if route.operation in _FORMS:
                query = await _with_form(exchange, query)
            plan.upgrade_query(query)
            call = Call(
                engine=self._engine,
                exchange=exchange,
                params=location.params,
                query=Query(query, strict=plan.behaviour.strict_booleans),
                plan=plan,
                owned=self._owned,
                headers=headers,
            )
            handler = route.handler
            if plan.behaviour.remote and route.early is not None:
                handler = route.early
            answer = await handler(call)
            if answer is not None:
                await send_answer(call, answer)
        except PinnaceError as exc:
            await self._fail(exchange, location, exc, headers)
        except ConnectionError as exc:
            log.debug("client left: %s", exc, extra={"operation": route.operation})
            raise ClientGone(str(exc)) from exc
        except OSError as exc:  # a full disk, too many open files, a failing device
            log.exception("operation failed", extra={"operation": route.operation})
            await self._fail(exchange, location, Internal(host_failure(exc)), headers)
        except Exception:  # the request edge: a bug answers 500, the daemon goes on
            log.exception("operation failed", extra={"operation": route.operation})
            await self._fail(exchange, location, Internal("internal error"), headers)

    async def _fail(
        self,
        exchange: Exchange,
        location: _Location,
        error: PinnaceError,
        headers: Sequence[tuple[str, str]],
    ) -> None:
        if exchange.started:
            # A status is out of reach; a broken connection tells the client.
            log.info("stream broken off: %s", error.message)
            raise ClientGone(error.message)
        behaviour = location.behaviour
        status, message = status_of(error), error.message
        if behaviour.remote and location.route is not None and location.error is None:
            name = location.params.get("name", "")
            status, message = remote_failure(location.route.operation, name, error)
        if status in (204, 304):
            await exchange.respond(status, headers=headers)
            return
        body, content_type = error_body(message, as_json=behaviour.json_errors)
        await exchange.respond(status, body, headers=headers, content_type=content_type)

    async def _refuse(
        self, exchange: Exchange, location: _Location, headers: Sequence[tuple[str, str]]
    ) -> None:
        if location.moved is not None:
            query = exchange.request.query
            target = quote(location.moved) + (f"?{query}" if query else "")
            await exchange.respond(301, headers=[*headers, ("Location", target)])
            return
        await self._fail(exchange, location, location.error or PageNotFound(), headers)

    def _headers(self, request: Request, location: _Location) -> Sequence[tuple[str, str]]:
        remote = location.version <= LAST_OF_2013
        common = self._common()
        if remote:
            common = common[:1]  # neither Server nor anything about versions, only Date
        if request.listener.kind == "unix":
            return common
        fields = self._settings.cors(request)
        if location.route is None and remote and request.method != "OPTIONS":
            fields = ()  # servers of 2013 sent none with the answer to an unknown path
        return (*common, *cors_fields(fields, remote=remote)) if fields else common

    def _common(self) -> tuple[tuple[str, str], ...]:
        """Return the fields of every answer, `Date` first; made once per second."""
        now = int(time.time())
        if self._dated[0] != now:
            self._dated = (
                now,
                (
                    ("Date", formatdate(now, usegmt=True)),
                    ("Server", f"Docker/{self._settings.engine_version} (linux)"),
                    ("Api-Version", NEWEST.text),
                    ("Ostype", "linux"),
                    ("Docker-Experimental", "false"),
                ),
            )
        return self._dated[1]

    def _locate(self, request: Request) -> _Location:
        listener = request.listener
        key = (request.method, request.path, f"{listener.kind} {listener.name}")
        found = self._locations.get(key)
        if found is None:
            found = self._search(request)
            if found.route is not None and not found.params and len(request.path) < _LONG_PATH:
                if len(self._locations) >= _KEPT_LOCATIONS:
                    self._locations.clear()
                self._locations[key] = found
        return found

    def _search(self, request: Request) -> _Location:
        path = unquote(request.path)
        bare = self._bare_version(request)
        moved = _cleaned(path)
        if moved is not None:
            return _Location(bare, moved=moved)
        prefix = _PREFIX.fullmatch(path)
        if prefix is not None and self._router.find(request.method, path) is None:
            version = parse_version(prefix[1])
            if version is None:
                is_bare = path.startswith(("/version", "/volumes"))
                return _Location(bare if is_bare else OLDEST)
            return self._versioned(request.method, prefix[2] or "/", version)
        found = self._router.find(request.method, path)
        if found is None:
            return _Location(bare)
        route, params = found
        if not route.exists_at(bare):
            bare = min(NEWEST, route.last or NEWEST)
        return _Location(bare, route, params)

    def _bare_version(self, request: Request) -> Version:
        chosen = self._settings.bare_versions.get(request.listener.name)
        if chosen is not None:
            return chosen
        return LAST_OF_2013 if request.listener.kind == "tcp" else NEWEST

    def _versioned(self, method: str, path: str, version: Version) -> _Location:
        found = self._router.find(method, path)
        if found is None:
            return _Location(version)
        route, params = found
        error = self._objection(method, path, version, route)
        return _Location(
            version, None if isinstance(error, PageNotFound) else route, params, error
        )

    def _objection(
        self, method: str, path: str, version: Version, route: Route
    ) -> PinnaceError | None:
        """Return why `route` is not served to clients of `version`."""
        if version > NEWEST:
            return InvalidParameter(
                f"client version {version.text} is too new. Maximum supported API version is"
                f" {NEWEST.text}"
            )
        if version < self._settings.oldest:
            return InvalidParameter(
                f"client version {version.text} is too old. Minimum supported API version is"
                f" {self._settings.oldest.text}, please upgrade your client to a newer version"
            )
        if route.last is not None and version > route.last:
            return PageNotFound()
        if version < route.first:
            if version <= LAST_OF_2013:
                return PageNotFound()
            if route.refused_before:
                return InvalidParameter(
                    f"{method} {path} requires minimum API version {route.first.text}"
                )
        return None


def make_app(engine: "Engine", settings: ApiSettings) -> Api:
    """Return the application that serves the API over `engine`."""
    return Api(engine, settings, Router())


async def _with_form(exchange: Exchange, query: dict[str, list[str]]) -> dict[str, list[str]]:
    """Add the parameters of a form body, which take precedence."""
    kind = (exchange.request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    content = await exchange.body.read(_MAX_FORM_BYTES)
    if kind != _FORM_TYPE or content.lstrip()[:1] in (b"", b"{", b"["):
        return query
    return query | parse_query(content.decode("utf-8", "replace"))


def _cleaned(path: str) -> str | None:
    """Return a path without empty, `.` and `..` segments; None when it has none."""
    if "//" not in path and "/." not in path:
        return None
    cleaned = "/" + posixpath.normpath(path).lstrip("/")
    if path.endswith("/") and cleaned != "/":
        cleaned += "/"
    return None if cleaned == path else cleaned
