"""What a version of the API changed, as seen from a client that asked for an older one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from pinnace.api.versions import Version

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
JsonObject: TypeAlias = dict[str, Json]
QueryMap: TypeAlias = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How an operation is carried out where that is not part of its parameters.

    The defaults are the newest version's; only changes set anything else.

    Attributes:
        json_errors: Errors are `{"message": …}`; otherwise the message as text.
        strict_booleans: Words other than 0, 1, true and false are errors.
        framed: Output without a terminal is framed by stream.
        multiplexed_type: The content type of a stream tells whether it is framed.
        early_head: `wait` sends its head before the container ends.
        websocket_binary: Websocket attach sends binary frames.
        websocket_streams: Websocket attach honours stdin, stdout and stderr.
        insist_json: A JSON body needs its content type.
        event_lines: Events are JSON lines, their content type negotiated.
        start_host_config: A host config in the body of `start` is applied.
        kill_stopped: Killing a stopped container is no error.
        hostname_rules: Host names are validated.
        host_cgroupns: Cgroup namespaces are the host's by default where cgroups are v1.
        recursive_read_only: Read-only binds are recursively read-only.
        text_progress: Progress is sent as text, not as JSON objects.
        usage_lists: Disk usage is sent as lists.
        network_containers: The network list names the containers attached.
        image_origin: Image inspect tells the container the image came from.
        arrowed_result: The last line of a build points at the image with an arrow.
        delete_alone: Image delete forgets the one image, whatever names it or stands on it.
        kept_login: The engine keeps a login for its clients.
        automated_builds: Search tells which repositories are built automatically.
        remote: The first remote API: statuses, texts and short ids of 2013.
    """

    json_errors: bool = True
    strict_booleans: bool = False
    framed: bool = True
    multiplexed_type: bool = True
    early_head: bool = True
    websocket_binary: bool = True
    websocket_streams: bool = True
    insist_json: bool = True
    event_lines: bool = True
    start_host_config: bool = False
    kill_stopped: bool = False
    hostname_rules: bool = True
    host_cgroupns: bool = False
    recursive_read_only: bool = True
    text_progress: bool = False
    usage_lists: bool = False
    network_containers: bool = False
    image_origin: bool = False
    arrowed_result: bool = False
    delete_alone: bool = False
    kept_login: bool = False
    automated_builds: bool = False
    remote: bool = False


@dataclass(slots=True)
class RequestMessage:
    """A request's JSON body on its way to the newest version.

    Attributes:
        body: Changed in place; keys are spelled as the newest version spells them.
        warnings: Texts for the answer's `Warnings`.
    """

    body: JsonObject
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ResponseMessage:
    """A JSON answer on its way to an older version; `body` None: no body."""

    status: int
    body: Json
    query: Mapping[str, list[str]]
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference that clients older than `version` do not know.

    Attributes:
        version: The version that brought the change.
        operation: Operation id, or several.
        summary: What changed, for people.
        upgrade_query: Rewrites an old request's query parameters.
        upgrade: Rewrites an old request's JSON body; raises InvalidParameter to refuse.
        downgrade: Rewrites an answer: the object, every object of a list, or each message of a
            stream.
        hide: Objects of a list or stream that old clients must not see.
        reshape: Rewrites the whole answer: status, or an object instead of a list.
        behaviour: Fields of `Behaviour` that differ for old clients.
    """

    version: Version
    operation: str | tuple[str, ...]
    summary: str
    upgrade_query: Callable[[QueryMap], None] | None = None
    upgrade: Callable[[RequestMessage], None] | None = None
    downgrade: Callable[[JsonObject], None] | None = None
    hide: Callable[[JsonObject], bool] | None = None
    reshape: Callable[[ResponseMessage], None] | None = None
    behaviour: Mapping[str, bool] = field(default_factory=dict)

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations concerned."""
        return (self.operation,) if isinstance(self.operation, str) else self.operation


EVERY_OPERATION = "*"


def child(parent: JsonObject, key: str) -> JsonObject:
    """Return the object at `key`; a fresh one, not stored, when there is none."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def made_child(parent: JsonObject, key: str) -> JsonObject:
    """Return the object at `key`, putting an empty one there when there is none."""
    value = parent.get(key)
    if not isinstance(value, dict):
        value = parent[key] = {}
    return value


def objects(value: Json) -> list[JsonObject]:
    """Return the objects of a list or the values of a map; none for anything else."""
    if isinstance(value, dict):
        value = list(value.values())
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def words(value: Json) -> list[str]:
    """Return the strings of a list; none for anything else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def text(parent: JsonObject, key: str) -> str:
    """Return the string at `key`, or ""."""
    value = parent.get(key)
    return value if isinstance(value, str) else ""


def number(parent: JsonObject, key: str) -> int:
    """Return the integer at `key`, or 0."""
    value = parent.get(key)
    return value if isinstance(value, int) else 0


def drop(*keys: str) -> Callable[[JsonObject], None]:
    """Return a rewrite that removes keys of the top level."""

    def rewrite(body: JsonObject) -> None:
        for key in keys:
            body.pop(key, None)

    return rewrite


def ignore_query(*keys: str) -> Callable[[QueryMap], None]:
    """Return a rewrite that forgets query parameters."""

    def rewrite(query: QueryMap) -> None:
        for key in keys:
            query.pop(key, None)

    return rewrite


def ignore_host(*keys: str) -> Callable[[RequestMessage], None]:
    """Return a rewrite that forgets fields of the host config."""

    def rewrite(message: RequestMessage) -> None:
        host = child(message.body, "HostConfig")
        for key in keys:
            host.pop(key, None)

    return rewrite
