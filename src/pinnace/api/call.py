"""One API call as its handler sees it: newest parameters in, newest answer out."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import msgspec

from pinnace.api import jsonfold
from pinnace.api.changes import Plan
from pinnace.api.changes.change import Behaviour, JsonObject, RequestMessage
from pinnace.api.http.exchange import Exchange, StreamWriter
from pinnace.api.owned import OwnedTasks
from pinnace.api.query import Query
from pinnace.errors import InvalidParameter

if TYPE_CHECKING:
    from pinnace.engine.facade import Engine

T = TypeVar("T")
Struct = TypeVar("Struct", bound=msgspec.Struct)

MAX_JSON_BYTES = 4 << 20
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of known length.

    Attributes:
        body: Record, object or list sent as JSON; bytes are sent as they are; None: no body.
        content_type: Of a body of bytes.
    """

    body: object = None
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    content_type: str | None = None


@dataclass(slots=True)
class Call:
    """A request on its way through a handler.

    Attributes:
        engine: What carries it out.
        exchange: The HTTP side, for streams and raw bodies.
        params: Parts of the path.
        query: Parameters, as the newest version words them.
        plan: What is different for the client's version.
        owned: Runs mutations.
        headers: Fields that every answer to this client carries.
        warnings: Texts which changes of the request want in the answer.
    """

    engine: "Engine"
    exchange: Exchange
    params: Mapping[str, str]
    query: Query
    plan: Plan
    owned: OwnedTasks
    headers: Sequence[tuple[str, str]]
    warnings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The object in the path: an id, a name or a reference."""
        return self.params["name"]

    @property
    def behaviour(self) -> Behaviour:
        """How the operation is carried out for this client."""
        return self.plan.behaviour

    async def mutate(self, work: Coroutine[object, object, T], name: str) -> T:
        """Carry out a mutation, which goes on when the client leaves."""
        return await self.owned.run(work, name)

    async def decode(self, target: type[Struct], *, extra: Sequence[str] = ()) -> Struct:
        """Return the JSON body as a struct of the newest version.

        Args:
            target: The struct.
            extra: Further keys of the top level, for changes of older versions.

        Raises:
            InvalidParameter: Missing, malformed, of the wrong type or with a wrong content type.
        """
        body = await self.read_object(target, extra=extra)
        if body is None:
            raise InvalidParameter("invalid JSON: got EOF while reading request body")
        return jsonfold.convert(body, target)

    async def decode_optional(self, target: type[Struct], default: Struct) -> Struct:
        """Like `decode`, but `default` when there is no body."""
        body = await self.read_object(target)
        return default if body is None else jsonfold.convert(body, target)

    async def read_object(
        self, target: type[msgspec.Struct], *, extra: Sequence[str] = ()
    ) -> JsonObject | None:
        """Return the JSON body, upgraded and spelled as `target` wants; None: no body.

        Raises:
            InvalidParameter: See `decode`.
        """
        content = await self.exchange.body.read(MAX_JSON_BYTES)
        if not content.strip():
            return None
        if self.behaviour.insist_json and not self.behaviour.remote:
            check_json_type(self.exchange.request.headers.get("content-type"))
        if content.strip() == b"null":
            return None
        body = jsonfold.fold(jsonfold.decode_object(content), target, extra=extra)
        if self.plan.bodies:
            message = RequestMessage(body)
            self.plan.upgrade(message)
            self.warnings.extend(message.warnings)
        return body

    async def discard_body(self) -> None:
        """Read a body that says nothing; a hijack needs the request to be complete.

        Raises:
            InvalidParameter: It is larger than any such body could be.
        """
        await self.exchange.body.read(MAX_JSON_BYTES)

    async def stream(self, content_type: str | None, *, status: int = 200) -> StreamWriter:
        """Send the head of a streamed answer."""
        return await self.exchange.stream(status, headers=self.headers, content_type=content_type)


def check_json_type(content_type: str | None) -> None:
    """Check the content type of a JSON body.

    Raises:
        InvalidParameter: It is not `application/json`.
    """
    essence = (content_type or "").partition(";")[0].strip().lower()
    if essence != _JSON:
        if not essence:
            raise InvalidParameter("malformed Content-Type header (): mime: no media type")
        raise InvalidParameter(
            f"unsupported Content-Type header ({content_type}): must be '{_JSON}'"
        )


Handler: TypeAlias = Callable[[Call], Awaitable[Answer | None]]
