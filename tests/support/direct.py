"""Runs one container through crun without a daemon, for tests of the spec and its parts."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pinnace.contracts.control import CgroupPlan, HostFacts, Identity
from pinnace.engine.containers import capabilities, cgroup_plan, resources, spec
from pinnace.engine.containers.security_options import wanted_seccomp
from pinnace.engine.containers.spec_mounts import MountInputs
from pinnace.host.runtime.cgroup import KernelCgroups, mount_missing_hierarchies
from pinnace.host.runtime.facts import host_facts
from pinnace.host.security.seccomp import Filters
from pinnace.model.container import Container, ContainerConfig, HostConfig
from pinnace.oci.runtime_spec import RuntimeSpec, encode

# What the supervisor's launcher does on version 1: join, then become the runtime.
_LAUNCHER = """
import os, sys
for path in filter(None, sys.argv[1].split(",")):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, b"0")
    os.close(fd)
os.execvp(sys.argv[2], sys.argv[2:])
"""
APPLETS = (
    "sh cat id sleep ls mount true echo grep mkdir touch rm mknod hostname stat dd pwd env".split()
)


def busybox_rootfs(directory: Path) -> Path:
    """A root filesystem with a shell."""
    root = directory / "rootfs"
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "bin/busybox").chmod(0o755)
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    return root


def a_container(
    *command: str, config: ContainerConfig | None = None, host: HostConfig | None = None
) -> Container:
    """A record with an own id; `host` replaces the default host config."""
    return Container(
        id=secrets.token_hex(32),
        name="direct",
        created_ns=0,
        image_id="sha256:0",
        layer="",
        path=command[0],
        args=list(command[1:]),
        config=config or ContainerConfig(hostname="direct"),
        host_config=host or HostConfig(network_mode="none", cgroup_parent="/pnt-direct"),
    )


@dataclass
class Direct:
    """A place to run containers in."""

    directory: Path
    facts: HostFacts
    rootfs: Path
    identity: Identity = field(default_factory=Identity)
    files: MountInputs = field(default_factory=MountInputs)
    nodes: dict = field(default_factory=dict)
    host_nodes: tuple = ()
    program: str = "crun"
    code: int | None = None

    @property
    def state(self) -> str:
        return str(self.directory / "state")

    def parts(self, container: Container) -> tuple[RuntimeSpec, CgroupPlan]:
        host = container.host_config
        wanted = wanted_seccomp(host)
        choice = None
        if wanted is not None:
            held = capabilities.effective(
                host.cap_add or (),
                host.cap_drop or (),
                privileged=host.privileged,
                available=self.facts.capabilities,
            )
            filters = Filters(self.directory / "seccomp", self.facts)
            choice = filters.choose(wanted, held, compiled=True)
        inputs = spec.SpecInputs(
            rootfs=str(self.rootfs),
            identity=self.identity,
            files=self.files,
            seccomp=choice,
            nodes=self.nodes,
            host_nodes=self.host_nodes,
        )
        _, rules = spec.container_devices(container, inputs)
        limits = resources.runtime_resources(host, rules, {})
        plan = cgroup_plan.cgroup_plan(spec.cgroup_path(container), limits, self.facts.cgroup)
        return spec.runtime_spec(container, self.facts, inputs), plan

    def launch(self, plan: CgroupPlan, *words: str) -> subprocess.CompletedProcess:
        out = self.directory / "out"
        head = [self.program, "--root", self.state, "--cgroup-manager=disabled"]
        with out.open("ab") as file:
            return subprocess.run(
                [sys.executable, "-c", _LAUNCHER, ",".join(plan.tasks), *head, *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                check=False,
                cwd="/",
            )

    @contextmanager
    def created(self, container: Container):
        """Create, and remove at the end; yields the plan."""
        runtime_spec, plan = self.parts(container)
        bundle = self.directory / container.id
        bundle.mkdir()
        (bundle / "config.json").write_bytes(encode(runtime_spec))
        groups = KernelCgroups()
        groups.create(plan)
        try:
            done = self.launch(plan, "create", "--bundle", str(bundle), container.id)
            self.code = done.returncode
            groups.apply(plan.after)
            yield plan
        finally:
            groups.kill(plan)
            command = ["crun", "--root", self.state, "--cgroup-manager=disabled"]
            subprocess.run(
                [*command, "delete", "--force", container.id], check=False, capture_output=True
            )
            groups.remove(plan)
            for directory in plan.directories:
                parent = os.path.dirname(directory)
                if os.path.basename(parent).startswith("pnt-"):
                    try:
                        os.rmdir(parent)
                    except OSError:
                        pass

    def start(self, container: Container) -> None:
        subprocess.run([self.program, "--root", self.state, "start", container.id], check=True)

    def wait(self, plan: CgroupPlan, timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while KernelCgroups().pids(plan):
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.01)

    def printed(self) -> str:
        path = self.directory / "out"
        return path.read_text(errors="replace") if path.exists() else ""

    def run(self, container: Container) -> str:
        """Run to the end and return what was printed, the runtime's messages included."""
        before = len(self.printed())
        with self.created(container) as plan:
            if self.code == 0:
                self.start(container)
                self.wait(plan)
        return self.printed()[before:]


def direct(directory: Path) -> Direct:
    """Prepare the host and a root filesystem."""
    mount_missing_hierarchies()
    return Direct(directory, host_facts(), busybox_rootfs(directory))
