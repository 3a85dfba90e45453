from pinnace.contracts.control import CgroupLayout
from pinnace.engine.containers.orphans import OrphanClearing
from pinnace.model.record import ContainerId
from pinnace.testing.control import FakeCgroups, FakeRuntime

KNOWN, OTHER, THIRD = (ContainerId(digit * 64) for digit in "abc")


class Places:
    """Directories by container."""

    def __init__(self, *ids) -> None:
        self.ids = set(ids)
        self.unmounted = []

    def present(self):
        return sorted(self.ids)

    def unmount_rootfs(self, container_id) -> None:
        self.unmounted.append(container_id)

    def remove(self, container_id) -> None:
        self.ids.discard(container_id)


async def at_once(work):
    return work()


def host(*, directories=(), state=()):
    cgroups, runtime = FakeCgroups(), FakeRuntime()
    runtime.state.update(state)
    for each in (KNOWN, *directories, *state):
        cgroups.directories.add(f"/sys/fs/cgroup/pids/pinnace/{each}")
    return Places(KNOWN, *directories), cgroups, runtime


async def test_what_no_record_knows_is_removed_wherever_it_is():
    places, cgroups, runtime = host(directories=[OTHER], state=[THIRD])
    clearing = OrphanClearing(places, cgroups, [runtime], CgroupLayout(version=1))
    assert await clearing.run([KNOWN], at_once) == [OTHER, THIRD]
    assert places.ids == {KNOWN}
    assert runtime.state == set()
    assert cgroups.directories == {f"/sys/fs/cgroup/pids/pinnace/{KNOWN}"}
    assert places.unmounted == [OTHER, THIRD]


async def test_without_orphans_nothing_is_searched():
    places, cgroups, runtime = host()
    cgroups.fail_next("remove_named", AssertionError())
    clearing = OrphanClearing(places, cgroups, [runtime], CgroupLayout(version=1))
    assert await clearing.run([KNOWN], at_once) == []
