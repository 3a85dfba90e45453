"""Control groups on the host: finding the hierarchies, and carrying out plans.

Sources: Linux Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst.
"""

import contextlib
import errno
import logging
import os
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pinnace.contracts.control import CgroupLayout, CgroupPlan, CgroupWrite
from pinnace.errors import Internal, InvalidParameter, NotFound, Unavailable
from pinnace.host.kernel.mount import mount

log = logging.getLogger(__name__)

_ROOT = Path("/sys/fs/cgroup")
_POLL_S = 0.002
_CPUSET_BYTES = 65536  # more than a list of every other processor takes
_FREEZE_S = 10.0
_KILL_S = 10.0
_REMOVE_S = 5.0
# Mount options that are not names of controllers.
_NOT_CONTROLLERS = frozenset(("rw", "ro", "xattr", "clone_children", "noprefix", "relatime"))


def mount_missing_hierarchies(root: Path = _ROOT) -> list[str]:
    """On a hybrid host, give controllers left in the version 2 tree a version 1 hierarchy.

    crun refuses hybrid hosts whose `unified` tree still holds controllers.

    Returns:
        Names of the controllers that were mounted; also logged.

    Raises:
        Unavailable: A hierarchy cannot be mounted.
    """
    try:
        names = (root / "unified" / "cgroup.controllers").read_text().split()
    except FileNotFoundError:
        return []
    mounted = []
    for name in names:
        directory = root / name
        if (directory / "cgroup.procs").exists():
            continue
        try:
            directory.mkdir(exist_ok=True)
            mount("cgroup", directory, "cgroup", data=name)
        except OSError as error:
            raise Unavailable(f"control groups: cannot mount {directory}: {error}") from error
        log.warning("mounted missing cgroup hierarchy", extra={"controller": name})
        mounted.append(name)
    return mounted


def detect_layout(mountinfo: str, own_groups: str) -> CgroupLayout:
    """Read the hierarchies from the kernel's tables and look into their directories.

    Args:
        mountinfo: Content of /proc/self/mountinfo.
        own_groups: Content of /proc/self/cgroup.

    Raises:
        Unavailable: No hierarchy is mounted.
    """
    version_1: dict[str, str] = {}
    version_2 = ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        place = before.split()[4]
        kind, _, options = after.split()[:3]
        if kind == "cgroup2":
            version_2 = version_2 or place
        elif kind == "cgroup":
            names = set(options.split(",")) - _NOT_CONTROLLERS
            version_1.update(
                {name: place for name in names if "=" not in name or name.startswith("name=")}
            )
    if version_1:
        if version_2 and _unified_group(own_groups) not in ("", "/"):
            # systemd tracks services there and would take containers for the daemon's processes.
            version_1[""] = version_2
        return CgroupLayout(
            version=1,
            hierarchies=version_1,
            unified=version_2,
            controllers=frozenset(name for name in version_1 if name and "=" not in name),
            features=_features_v1(version_1),
        )
    if not version_2:
        raise Unavailable("Devices cgroup isn't mounted")
    return _layout_v2(version_2)


def _unified_group(own_groups: str) -> str:
    for line in own_groups.splitlines():
        if line.startswith("0::"):
            return line.removeprefix("0::")
    return ""


def _features_v1(hierarchies: dict[str, str]) -> frozenset[str]:
    """Files of a hierarchy's root, and those that only groups below have, where one exists."""
    found: set[str] = set()
    for name, place in hierarchies.items():
        if not name or "=" in name:
            continue
        files = set(os.listdir(place))  # noqa: PTH208 # names only
        found |= {file for file in files if file.startswith(f"{name}.")}
        if name == "pids":  # the root has no limit
            found.add("pids.max")
    return frozenset(found)


def _layout_v2(place: str) -> CgroupLayout:
    controllers = frozenset(Path(place, "cgroup.controllers").read_text().split())
    known = {
        "memory": ("memory.max", "memory.low"),
        "cpu": ("cpu.weight", "cpu.max"),
        "cpuset": ("cpuset.cpus", "cpuset.mems"),
        "pids": ("pids.max",),
        "io": ("io.max", "io.weight"),
    }
    features = {file for name in controllers for file in known.get(name, ())}
    if "memory" in controllers and Path("/proc/swaps").exists():
        features.add("memory.swap.max")
    return CgroupLayout(
        version=2, unified=place, controllers=controllers, features=frozenset(features)
    )


class KernelCgroups:
    """Carries out plans; implements `contracts.control.Cgroups`."""

    def create(self, plan: CgroupPlan) -> None:  # noqa: D102 # in the contract
        made: list[str] = []
        try:
            for directory in plan.directories:
                _make(directory)
                made.append(directory)
            self.apply(plan.before)
        except BaseException:
            for directory in made:
                _remove_tree(directory)
            raise

    def apply(self, writes: Sequence[CgroupWrite]) -> None:  # noqa: D102
        for write in _ordered(writes):
            _write(write)

    def freeze(self, plan: CgroupPlan) -> None:  # noqa: D102
        frozen, thawed = _freezer_words(plan)
        deadline = time.monotonic() + _FREEZE_S
        while True:
            # Version 1 wants to be told again while it is still FREEZING.
            _put(plan.freezer, frozen)
            if _is_frozen(plan):
                return
            if time.monotonic() > deadline:
                _put(plan.freezer, thawed)
                raise Internal(f"cannot pause {plan.path}: processes did not stop")
            time.sleep(_POLL_S)

    def thaw(self, plan: CgroupPlan) -> None:  # noqa: D102
        _put(plan.freezer, _freezer_words(plan)[1])

    def is_frozen(self, plan: CgroupPlan) -> bool:  # noqa: D102
        try:
            return Path(plan.freezer).read_text().strip() in {"FROZEN", "FREEZING", "1"}
        except OSError:
            return False

    def pids(self, plan: CgroupPlan) -> list[int]:  # noqa: D102
        found: list[int] = []
        for directory, _, files in os.walk(os.path.dirname(plan.procs)):  # noqa: PTH120
            if "cgroup.procs" in files:
                found.extend(_read_pids(f"{directory}/cgroup.procs"))
        return found

    def kill(self, plan: CgroupPlan) -> None:  # noqa: D102
        deadline = time.monotonic() + _KILL_S
        while pids := self.pids(plan):
            for pid in pids:
                _kill_member(pid, plan)
            if _is_frozen(plan):
                self.thaw(plan)
            if time.monotonic() > deadline:
                raise Internal(f"cannot kill {plan.path}: processes {pids} do not end")
            time.sleep(_POLL_S)

    def remove(self, plan: CgroupPlan) -> None:  # noqa: D102
        directories = plan.directories
        if plan.version != 1:
            directories = (os.path.dirname(plan.procs),)  # noqa: PTH120
        for directory in directories:
            _remove_tree(directory)

    def remove_named(self, layout: CgroupLayout, names: Collection[str]) -> None:  # noqa: D102
        plans = [_named_plan(found) for found in _find_named(layout, frozenset(names))]
        for plan in plans:
            if _is_frozen(plan):
                self.thaw(plan)
        for plan in plans:
            self.kill(plan)
            self.remove(plan)


def remove_empty(layout: CgroupLayout, path: str) -> None:
    """Remove a group, which starts make when they need it, wherever nothing is in it.

    Args:
        layout: The host's hierarchies.
        path: The group below each of them, absolute.
    """
    for place in {*layout.hierarchies.values(), layout.unified} - {""}:
        with contextlib.suppress(OSError):  # in use by somebody, or not there
            os.rmdir(place + path)  # noqa: PTH106


def _make(directory: str) -> None:
    """Make a group and those above; cpusets start empty and would refuse every process."""
    try:
        os.mkdir(directory)  # noqa: PTH102 # hot path
    except FileExistsError:
        return  # another container's start made the common parent meanwhile
    except FileNotFoundError:
        with contextlib.suppress(NotFound):  # a daemon that ends removed it meanwhile
            _make(os.path.dirname(directory))  # noqa: PTH120
        _make(directory)
        return
    except OSError as error:
        raise Unavailable(f"control groups: cannot make {directory}: {error.strerror}") from error
    if os.path.exists(f"{directory}/cpuset.cpus"):  # noqa: PTH110
        for name in ("cpuset.cpus", "cpuset.mems"):
            _inherit(directory, name)


def _inherit(directory: str, name: str) -> str:
    """Give a group what its parent has, and return it.

    A parent is filled first where its own maker has not come to that yet: both write the same.
    """
    parent = os.path.dirname(directory)  # noqa: PTH120
    try:
        fd = os.open(f"{parent}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(f"control groups: no {parent}/{name}") from error
    try:
        value = os.read(fd, _CPUSET_BYTES).decode().strip()
    finally:
        os.close(fd)
    value = value or _inherit(parent, name)
    _put(f"{directory}/{name}", value)
    return value


def _ordered(writes: Sequence[CgroupWrite]) -> list[CgroupWrite]:
    """Memory and memory plus swap may never cross: the order depends on the direction.

    Raising a limit needs the swap limit first, lowering it the memory limit first.
    """
    result = list(writes)
    names = [write.path.rpartition("/")[2] for write in result]
    if "memory.limit_in_bytes" in names and "memory.memsw.limit_in_bytes" in names:
        low, high = (names.index(f"memory.{name}limit_in_bytes") for name in ("", "memsw."))
        wanted = int(result[low].value)
        current = _current(result[high].path)
        if wanted < 0 or (current is not None and wanted > current):
            result[low], result[high] = result[high], result[low]
    return result


def _current(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except FileNotFoundError:
        return None


def _write(write: CgroupWrite) -> None:
    if not write.value:
        return
    try:
        _put(write.path, write.value)
    except (InvalidParameter, NotFound) as error:
        if not write.optional:
            raise
        log.info("control file not written", extra={"path": write.path, "reason": error.message})


def _put(path: str, value: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(f"control groups: no {path}") from error
    except OSError as error:
        raise Unavailable(f"control groups: {path}: {error.strerror}") from error
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise InvalidParameter(
            f"failed to write {value!r} to {path}: {(error.strerror or '').lower()}"
        ) from error
    finally:
        os.close(fd)


def _freezer_words(plan: CgroupPlan) -> tuple[str, str]:
    return ("FROZEN", "THAWED") if plan.version == 1 else ("1", "0")


def _is_frozen(plan: CgroupPlan) -> bool:
    try:
        if plan.version == 1:
            return Path(plan.freezer).read_text().strip() == "FROZEN"
        events = Path(plan.freezer).with_name("cgroup.events").read_text().split()
        return events[events.index("frozen") + 1] == "1"
    except (FileNotFoundError, ValueError):
        return False


def _read_pids(path: str) -> Iterator[int]:
    try:
        yield from map(int, Path(path).read_text().split())
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):  # the group went away
            raise


def _find_named(layout: CgroupLayout, names: frozenset[str]) -> Iterator[str]:
    for place in sorted({*layout.hierarchies.values(), layout.unified} - {""}):
        for directory, below, _ in os.walk(place):
            for name in names.intersection(below):
                below.remove(name)
                yield f"{directory}/{name}"


def _named_plan(directory: str) -> CgroupPlan:
    """Return a plan that is good for ending and removing one group of one hierarchy."""
    is_v2 = os.path.exists(f"{directory}/cgroup.events")  # noqa: PTH110
    freezer = "cgroup.freeze" if is_v2 else "freezer.state"
    return CgroupPlan(
        version=2 if is_v2 else 1,
        path=directory[directory.rindex("/") :],
        directories=(directory,),
        freezer=f"{directory}/{freezer}",
        procs=f"{directory}/cgroup.procs",
    )


def _kill_member(pid: int, plan: CgroupPlan) -> None:
    """Kill one process, which is surely still a member: the descriptor pins it."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text()
        # Below other groups when the daemon itself runs in a container without a namespace.
        if any(f"{plan.path}/" in f"{line}/" for line in groups.splitlines()):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        return
    finally:
        os.close(fd)


def _remove_tree(directory: str) -> None:
    """Remove a group and what was made below; a group stays busy until its last task is reaped."""
    deadline = time.monotonic() + _REMOVE_S
    for place, _, _ in list(os.walk(directory, topdown=False)):
        while True:
            try:
                os.rmdir(place)  # noqa: PTH106
            except FileNotFoundError:
                break
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise Internal(f"cannot remove {place}: {error.strerror}") from error
                time.sleep(_POLL_S)
            else:
                break
