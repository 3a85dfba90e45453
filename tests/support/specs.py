"""Builders for tests of what becomes of a container's record."""

from __future__ import annotations

from pinnace.contracts.control import CgroupLayout, HostFacts, SeccompChoice
from pinnace.engine.containers.mounts import wanted_mounts
from pinnace.engine.containers.spec import SpecInputs
from pinnace.engine.containers.spec_mounts import MountInputs
from pinnace.model.container import Container, ContainerConfig, HostConfig
from pinnace.oci.capability import ALL
from pinnace.oci.runtime_spec import Seccomp

V1_FEATURES = frozenset(
    """
    memory.limit_in_bytes memory.memsw.limit_in_bytes memory.soft_limit_in_bytes memory.swappiness
    memory.oom_control pids.max cpu.shares cpu.cfs_quota_us cpu.cfs_period_us cpu.rt_runtime_us
    cpuset.cpus cpuset.mems blkio.weight blkio.weight_device blkio.throttle.read_bps_device
    blkio.throttle.write_bps_device blkio.throttle.read_iops_device
    blkio.throttle.write_iops_device
    """.split()
)
V2_FEATURES = frozenset(
    """
    memory.max memory.swap.max memory.low pids.max cpu.weight cpu.max cpuset.cpus cpuset.mems
    io.weight io.max
    """.split()
)
V1 = CgroupLayout(
    version=1,
    hierarchies={
        "cpu": "/cg/cpu,cpuacct",
        "cpuacct": "/cg/cpu,cpuacct",
        **{
            name: f"/cg/{name}"
            for name in ("memory", "pids", "devices", "freezer", "blkio", "cpuset")
        },
        "name=systemd": "/cg/systemd",
    },
    controllers=frozenset(
        ("cpu", "cpuacct", "memory", "pids", "devices", "freezer", "blkio", "cpuset")
    ),
    features=V1_FEATURES,
)
V2 = CgroupLayout(
    version=2,
    unified="/cg",
    controllers=frozenset(("cpu", "memory", "pids", "io", "cpuset")),
    features=V2_FEATURES,
)


def some_facts(**changes) -> HostFacts:
    """A four-processor host that can do everything, unless said otherwise."""
    values = {
        "cgroup": V1,
        "kernel": (6, 1),
        "kernel_release": "6.1.0",
        "architecture": "amd64",
        "cpus": 4,
        "online_cpus": "0-3",
        "online_mems": "0",
        "memory_bytes": 8 << 30,
        "capabilities": frozenset(ALL),
        "rlimit_hard": {"RLIMIT_NOFILE": 1024},
    }
    return HostFacts(**(values | changes))


def a_record(*, mounts=(), config=None, command=("/bin/app", "-v"), **host) -> Container:
    """A container record; keywords go to the host config."""
    tmpfs = HostConfig(tmpfs=host.get("tmpfs"))
    resolved = wanted_mounts(ContainerConfig(), tmpfs, lookup=lambda _ref: None)
    return Container(
        id="c" * 64,
        name="web",
        created_ns=0,
        image_id="sha256:1",
        layer="",
        path=command[0],
        args=list(command[1:]),
        config=config or ContainerConfig(hostname="web"),
        host_config=HostConfig(**({"network_mode": "bridge"} | host)),
        mounts=[*mounts, *resolved],
    )


def some_inputs(**changes) -> SpecInputs:
    """Inputs of a start on the bridge."""
    values = {
        "rootfs": "/data/rootfs",
        "files": MountInputs(hosts="/d/hosts", hostname="/d/hostname", resolv_conf="/d/resolv"),
        "seccomp": SeccompChoice(Seccomp(default_action="SCMP_ACT_ERRNO"), "QlBG"),
        "netns": "/run/netns/x",
    }
    return SpecInputs(**(values | changes))
