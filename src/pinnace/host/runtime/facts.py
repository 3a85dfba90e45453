"""Reads the host's facts once, at boot."""

import os
import platform
import re
import resource
from pathlib import Path

from pinnace.contracts.control import CgroupLayout, HostFacts
from pinnace.host.runtime.cgroup import detect_layout
from pinnace.oci.capability import from_mask
from pinnace.oci.runtime_spec import UNLIMITED

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le"}
_PROC = Path("/proc")
_SYS = Path("/sys")


def host_layout() -> CgroupLayout:
    """Return the control group layout of this host.

    Raises:
        Unavailable: No control group hierarchy is mounted.
    """
    return detect_layout(
        (_PROC / "self/mountinfo").read_text(), (_PROC / "self/cgroup").read_text()
    )


def host_facts() -> HostFacts:
    """Read everything; a few milliseconds of small files.

    Raises:
        Unavailable: No control group hierarchy is mounted.
    """
    release = platform.release()
    status = (_PROC / "self/status").read_text()
    return HostFacts(
        cgroup=host_layout(),
        kernel=_version(release),
        kernel_release=release,
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        cpus=len(os.sched_getaffinity(0)),
        online_cpus=_line(_SYS / "devices/system/cpu/online", "0"),
        online_mems=_line(_SYS / "devices/system/node/online", "0"),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        capabilities=held_capabilities(status),
        rlimit_hard=_hard_limits(),
        seccomp="\nSeccomp:" in status,
        apparmor=_line(_SYS / "module/apparmor/parameters/enabled", "N") == "Y",
        selinux=(_SYS / "fs/selinux/enforce").exists(),
        cgroup_namespaces=(_PROC / "self/ns/cgroup").exists(),
        thermal_throttle=tuple(
            sorted(map(str, (_SYS / "devices/system/cpu").glob("cpu[0-9]*/thermal_throttle")))
        ),
        oom_score_adj=int(_line(_PROC / "self/oom_score_adj", "0")),
    )


def held_capabilities(status: str) -> frozenset[str]:
    """Return what /proc/self/status says the daemon can hand on: bounding and permitted."""
    sets = dict(re.findall(r"^Cap(Prm|Bnd):\s*([0-9a-f]+)$", status, re.MULTILINE))
    both = int(sets.get("Prm", "0"), 16) & int(sets.get("Bnd", "0"), 16)
    return from_mask(both)


def _version(release: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _line(path: Path, default: str) -> str:
    try:
        return path.read_text().strip() or default
    except OSError:
        return default


def _hard_limits() -> dict[str, int]:
    return {
        name: UNLIMITED if hard == resource.RLIM_INFINITY else hard
        for name in dir(resource)
        if name.startswith("RLIMIT_")
        for hard in (resource.getrlimit(getattr(resource, name))[1],)
    }
