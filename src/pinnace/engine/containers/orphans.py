"""Removes what a crash left of containers that have no record any more.

A removal deletes the record first and the container's directory last, so whatever is still there
can be found by the ids of directories, bundles and the runtimes' state.
"""

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Protocol, TypeVar

from pinnace.contracts.bundles import Bundles
from pinnace.contracts.control import CgroupLayout, Cgroups, RuntimeProgram
from pinnace.model.record import ContainerId

T = TypeVar("T")


class Offload(Protocol):
    """Runs a blocking function in a bounded worker pool and awaits its result."""

    async def __call__(self, fn: Callable[[], T], /) -> T:
        """Run `fn`."""
        ...


class OrphanClearing:
    """Finds and removes orphans.

    Args:
        bundles: Directories and bundles.
        cgroups: Control groups.
        runtimes: All OCI runtimes.
        layout: The host's control group hierarchies.
    """

    def __init__(
        self,
        bundles: Bundles,
        cgroups: Cgroups,
        runtimes: Iterable[RuntimeProgram],
        layout: CgroupLayout,
    ) -> None:
        self._bundles = bundles
        self._cgroups = cgroups
        self._runtimes = tuple(runtimes)
        self._layout = layout

    async def run(self, known: Collection[ContainerId], offload: Offload) -> list[ContainerId]:
        """Remove everything of containers that are not `known`; return their ids.

        Raises:
            Internal: Something is busy; what was not reached remains for the next time.
        """
        orphans = await offload(lambda: self._find(frozenset(known)))
        if orphans:
            await offload(partial(self._cgroups.remove_named, self._layout, orphans))
        for container_id in orphans:
            await offload(partial(self._bundles.unmount_rootfs, container_id))
            for runtime in self._runtimes:
                await runtime.delete(container_id)
            await offload(partial(self._bundles.remove, container_id))
        return orphans

    def _find(self, known: frozenset[ContainerId]) -> list[ContainerId]:
        states = (name for runtime in self._runtimes for name in runtime.present())
        return sorted({*self._bundles.present(), *map(ContainerId, states)} - known)
