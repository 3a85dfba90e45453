"""Fakes of control groups and of an OCI runtime, for tests without a kernel."""

from collections.abc import Collection, Sequence

from pinnace.contracts.control import (
    CgroupLayout,
    CgroupPlan,
    CgroupWrite,
    SeccompChoice,
)
from pinnace.errors import InvalidParameter, NotFound, PinnaceError
from pinnace.oci.runtime_spec import Seccomp


class FakeCgroups:
    """Control groups in memory.

    Attributes:
        files: Control files that were written, path to value.
        directories: Groups that exist.
        members: Process ids by a plan's path; tests put them there.
        frozen: Paths of plans that stand still.
        refused: Values that writing refuses, as the kernel would.
    """

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.directories: set[str] = set()
        self.members: dict[str, list[int]] = {}
        self.frozen: set[str] = set()
        self.refused: set[str] = set()
        self._failures: dict[str, PinnaceError] = {}

    def fail_next(self, method: str, error: PinnaceError) -> None:
        """Let the next call of `method` raise `error` and do nothing."""
        self._failures[method] = error

    def create(self, plan: CgroupPlan) -> None:
        """Make the directories and write `before`."""
        self._fail("create")
        self.directories.update(plan.directories)
        try:
            self.apply(plan.before)
        except PinnaceError:
            self.remove(plan)
            raise

    def apply(self, writes: Sequence[CgroupWrite]) -> None:
        """Write control files."""
        self._fail("apply")
        for write in writes:
            if not write.value:
                continue
            if write.path.rpartition("/")[0] not in self.directories:
                raise NotFound(f"control groups: no {write.path}")
            if write.value not in self.refused:
                self.files[write.path] = write.value
            elif not write.optional:
                raise InvalidParameter(f"failed to write {write.value!r} to {write.path}")

    def freeze(self, plan: CgroupPlan) -> None:
        """Stop the group."""
        self._fail("freeze")
        self.frozen.add(plan.path)
        self.files[plan.freezer] = "FROZEN"

    def thaw(self, plan: CgroupPlan) -> None:
        """Let the group go on."""
        self._fail("thaw")
        self.frozen.discard(plan.path)
        self.files[plan.freezer] = "THAWED"

    def is_frozen(self, plan: CgroupPlan) -> bool:
        """Return whether the group was frozen and not thawed."""
        return plan.path in self.frozen

    def pids(self, plan: CgroupPlan) -> list[int]:
        """Return the members."""
        return list(self.members.get(plan.path, ()))

    def kill(self, plan: CgroupPlan) -> None:
        """Forget the members."""
        self._fail("kill")
        self.members.pop(plan.path, None)

    def remove(self, plan: CgroupPlan) -> None:
        """Forget the directories."""
        self._fail("remove")
        self.directories.difference_update(plan.directories)

    def remove_named(self, layout: CgroupLayout, names: Collection[str]) -> None:
        """Forget members and directories."""
        self._fail("remove_named")
        for path in [path for path in self.members if path.rpartition("/")[2] in names]:
            del self.members[path]
        self.directories -= {path for path in self.directories if path.rpartition("/")[2] in names}

    def _fail(self, method: str) -> None:
        error = self._failures.pop(method, None)
        if error is not None:
            raise error


class FakeRuntime:
    """A runtime whose command lines run nothing.

    Attributes:
        deleted: Container ids in the order of their deletion.
        state: Container ids of which there is state; tests put them there.
    """

    def __init__(self, name: str = "crun", *, is_crun: bool = True) -> None:
        self.name = name
        self.is_crun = is_crun
        self.deleted: list[str] = []
        self.state: set[str] = set()

    def create_argv(
        self, container_id: str, *, bundle: str, pid_file: str, log: str = "", own_cgroups: bool
    ) -> list[str]:
        """Return a recognisable command."""
        return [self.name, "create", bundle, pid_file, container_id]

    def exec_argv(
        self, container_id: str, *, process: str, pid_file: str, log: str = "", own_cgroups: bool
    ) -> list[str]:
        """Return a recognisable command."""
        return [self.name, "exec", process, pid_file, container_id]

    def start_argv(self, container_id: str) -> list[str]:
        """Return a recognisable command."""
        return [self.name, "start", container_id]

    def start_fifo(self, container_id: str) -> str | None:
        """Return a path that does not exist."""
        return f"/fake/{container_id}/exec.fifo" if self.is_crun else None

    def present(self) -> list[str]:
        """Return `state`."""
        return sorted(self.state)

    async def delete(self, container_id: str) -> None:
        """Note the deletion."""
        self.state.discard(container_id)
        self.deleted.append(container_id)


class FakeSeccompFilters:
    """Filters that refuse everything and are compiled to a recognisable word."""

    def choose(
        self, profile: str, capabilities: Collection[str], *, compiled: bool
    ) -> SeccompChoice:
        """Return one and the same filter."""
        return SeccompChoice(
            Seccomp(default_action="SCMP_ACT_ERRNO"), "ZmFrZQ==" if compiled else ""
        )
