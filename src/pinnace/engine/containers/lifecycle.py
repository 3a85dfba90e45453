"""What a container in a state makes of a command: the table, and nothing else.

Every cell is either None (go ahead) or the failure Docker answers with.
"""

from typing import Literal, get_args

from pinnace.errors import Conflict, Internal, NotModified, PinnaceError
from pinnace.model.container import Status

Command = Literal[
    "start", "stop", "restart", "kill", "pause", "unpause", "remove", "exec", "attach", "resize"
]
COMMANDS: tuple[Command, ...] = get_args(Command)
STATUSES: tuple[Status, ...] = get_args(Status)

# Failure kind and text; {id} and {name} are filled in. Texts: dockerd's.
_Cell = tuple[type[PinnaceError], str] | None

_UNMODIFIED: _Cell = (NotModified, "")
_NOT_RUNNING: _Cell = (Conflict, "container {id} is not running")
_REMOVING: _Cell = (Conflict, "removal of container {id} is already in progress")
_MARKED: _Cell = (Conflict, "container is marked for removal and cannot be started")
_RUNNING: _Cell = (
    Conflict,
    'cannot remove container "{name}": container is running: '
    "stop the container before removing or force remove",
)
_PAUSED: _Cell = (
    Conflict,
    'cannot remove container "{name}": container is paused and must be unpaused first',
)
_NOT_PAUSED: _Cell = (Internal, "Container {id} is not paused")
_CANNOT_KILL: _Cell = (Conflict, "cannot kill container: {name}: container {id} is not running")
_RESTARTING: _Cell = (
    Conflict,
    "Container {id} is restarting, wait until the container is running",
)
_FROZEN: _Cell = (Conflict, "container {name} is paused, unpause the container before exec")
_PAUSE_DOWN: _Cell = (Conflict, "Container {id} is not running")

_TABLE: dict[Command, dict[Status, _Cell]] = {
    "start": {
        "created": None,
        "running": _UNMODIFIED,
        "paused": (Conflict, "cannot start a paused container, try unpause instead"),
        "restarting": _UNMODIFIED,
        "removing": _MARKED,
        "exited": None,
        "dead": (Conflict, "container is marked for removal and cannot be started"),
    },
    "stop": {
        "created": _UNMODIFIED,
        "running": None,
        "paused": None,
        "restarting": None,
        "removing": _UNMODIFIED,
        "exited": _UNMODIFIED,
        "dead": _UNMODIFIED,
    },
    "restart": {
        "created": None,
        "running": None,
        "paused": None,
        "restarting": None,
        "removing": _MARKED,
        "exited": None,
        "dead": _MARKED,
    },
    "kill": {
        "created": _CANNOT_KILL,
        "running": None,
        "paused": None,
        "restarting": _CANNOT_KILL,
        "removing": _CANNOT_KILL,
        "exited": _CANNOT_KILL,
        "dead": _CANNOT_KILL,
    },
    "pause": {
        "created": _PAUSE_DOWN,
        "running": None,
        "paused": (Conflict, "Container {id} is already paused"),
        "restarting": _RESTARTING,
        "removing": _PAUSE_DOWN,
        "exited": _PAUSE_DOWN,
        "dead": _PAUSE_DOWN,
    },
    "unpause": {
        "created": _NOT_PAUSED,
        "running": _NOT_PAUSED,
        "paused": None,
        "restarting": _NOT_PAUSED,
        "removing": _NOT_PAUSED,
        "exited": _NOT_PAUSED,
        "dead": _NOT_PAUSED,
    },
    "remove": {
        "created": None,
        "running": _RUNNING,
        "paused": _PAUSED,
        "restarting": _RUNNING,
        "removing": _REMOVING,
        "exited": None,
        "dead": None,
    },
    "exec": {
        "created": _NOT_RUNNING,
        "running": None,
        "paused": _FROZEN,
        "restarting": _RESTARTING,
        "removing": _NOT_RUNNING,
        "exited": _NOT_RUNNING,
        "dead": _NOT_RUNNING,
    },
    "attach": {
        "created": None,
        "running": None,
        "paused": (
            Conflict,
            "container {id} is paused, unpause the container before attach",
        ),
        "restarting": (
            Conflict,
            "container {id} is restarting, wait until the container is running",
        ),
        "removing": None,
        "exited": None,
        "dead": None,
    },
    "resize": {
        "created": _NOT_RUNNING,
        "running": None,
        "paused": None,
        "restarting": _NOT_RUNNING,
        "removing": _NOT_RUNNING,
        "exited": _NOT_RUNNING,
        "dead": _NOT_RUNNING,
    },
}


def check(status: Status, command: Command, *, id: str, name: str) -> None:  # noqa: A002
    """Return if `command` may go ahead in `status`.

    Raises:
        NotModified: The container is already as asked.
        Conflict: The state stands against it; Docker's text.
        Internal: Where dockerd answers 500.
    """
    cell = _TABLE[command][status]
    if cell is not None:
        kind, text = cell
        raise kind(text.format(id=id, name=name))
