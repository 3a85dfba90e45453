"""The processes of a container, as the host's `ps` shows them: `docker top`."""

import re
from collections.abc import Collection

from pinnace.contracts.cgroups import Accounting
from pinnace.contracts.control import CgroupLayout
from pinnace.engine.containers.lookup import ContainerLookup, Publish, container_attributes
from pinnace.engine.containers.spec import cgroup_path
from pinnace.engine.containers.stats import cgroup_places
from pinnace.errors import Conflict, Internal, InvalidParameter
from pinnace.model.record import Record

DEFAULT_ARGUMENTS = "-ef"
# `-o user=PID` would give another column the title by which rows are told apart.
_FALSE_PID = re.compile(r"([^\s,=]+)=\s*(PID[^\s,]*)")


class TopResult(Record, frozen=True, kw_only=True):
    """`GET /containers/{id}/top`: a table; each row has as many words as there are titles."""

    titles: list[str]
    processes: list[list[str]]


class TopService:
    """Lists containers' processes."""

    def __init__(
        self,
        containers: ContainerLookup,
        accounting: Accounting,
        layout: CgroupLayout,
        publish: Publish,
    ) -> None:
        self._containers = containers
        self._accounting = accounting
        self._layout = layout
        self._publish = publish

    async def top(self, ref: str, ps_args: str = "") -> TopResult:
        """Return the container's processes.

        Raises:
            ContainerNotFound: No such container.
            Conflict: It does not run, or restarts.
            InvalidParameter: The arguments give another column the title PID.
            Internal: `ps` failed; its words are in the message.
        """
        arguments = ps_args or DEFAULT_ARGUMENTS
        check_ps_arguments(arguments)
        container = self._containers.get(ref)
        if container.state.status == "restarting":
            raise Conflict(
                f"Container {container.id} is restarting, wait until the container is running"
            )
        if container.state.status not in ("running", "paused"):
            raise Conflict(f"container {container.id} is not running")
        pids = self._accounting.pids(cgroup_places(cgroup_path(container), self._layout))
        printed = await self._accounting.ps(arguments.split())
        if printed.returncode != 0:
            # The first line says why; the others say how to use ps.
            reason = printed.stderr.strip().partition("\n")[0]
            raise Internal(f"ps: {reason or 'failed'}")
        result = parse_ps(printed.stdout, frozenset(pids))
        self._publish("container", "top", container.id, container_attributes(container))
        return result


def check_ps_arguments(arguments: str) -> None:
    """Refuse arguments that give a column other than the pid the title PID.

    Raises:
        InvalidParameter: They do.
    """
    for column, title in _FALSE_PID.findall(arguments):
        if column != "pid":
            raise InvalidParameter(f'specifying "{column}={title}" is not allowed')


def parse_ps(output: str, pids: Collection[int]) -> TopResult:
    """Return the header of a `ps` table and the rows of `pids`; surplus words join the last one.

    Raises:
        Internal: There is no pid column, or a row has no number there.
    """
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise Internal("Couldn't find PID field in ps output")
    column = titles.index("PID")
    processes: list[list[str]] = []
    follows = False
    for line in lines[1:]:
        words = line.split()
        if not words:
            continue
        if words[0] == "-":  # ps -m: the threads of the process above
            if follows:
                processes.append(_row(words, titles))
            continue
        pid = words[column] if column < len(words) else ""
        if not pid.isdigit():
            raise Internal(f"Unexpected pid '{pid}'")
        follows = int(pid) in pids
        if follows:
            processes.append(_row(words, titles))
    return TopResult(titles=titles, processes=processes)


def _row(words: list[str], titles: list[str]) -> list[str]:
    last = len(titles) - 1
    return [*words[:last], " ".join(words[last:])]
