"""Turns an exec into a task for the supervisor; implements `contracts.exec_runtime`."""

import msgspec

from pinnace.contracts.monitor import TaskSpec
from pinnace.engine.containers import spec
from pinnace.engine.containers.preparation import RUNTIME_ENV, identity_of
from pinnace.engine.containers.runner import Runner, RunnerParts
from pinnace.model.container import Container
from pinnace.model.exec import ExecConfig
from pinnace.model.record import ContainerId, ExecId


class ExecTasks:
    """Prepares execs of running containers."""

    def __init__(self, parts: RunnerParts, runner: Runner) -> None:
        self._parts = parts
        self._runner = runner

    async def exec_task(
        self,
        container: Container,
        exec_id: ExecId,
        config: ExecConfig,
        *,
        open_stdin: bool,
        console_size: tuple[int, int] | None,
    ) -> TaskSpec:
        """See the contract."""
        return await self._parts.offload(
            lambda: self._describe(
                container, exec_id, config, open_stdin=open_stdin, console_size=console_size
            )
        )

    def _describe(
        self,
        container: Container,
        exec_id: ExecId,
        config: ExecConfig,
        *,
        open_stdin: bool,
        console_size: tuple[int, int] | None,
    ) -> TaskSpec:
        parts = self._parts
        runtime = parts.runtime_of(container)
        own_cgroups = runtime.is_crun and parts.facts.cgroup.version == 1
        user = config.user or container.config.user
        identity = identity_of(parts.bundles, container, user)
        process = spec.exec_process_spec(container, config, parts.facts, identity)
        path = parts.bundles.write_bundle_file(
            container.id, f"exec-{exec_id}.json", msgspec.json.encode(process)
        )
        base = str(path).removesuffix(".json")
        plan = self._runner.cgroup_plan(container)
        return TaskSpec(
            id=exec_id,
            argv=runtime.exec_argv(
                container.id,
                process=str(path),
                pid_file=f"{base}.pid",
                log=f"{base}.log",
                own_cgroups=own_cgroups,
            ),
            env=RUNTIME_ENV,
            pid_file=f"{base}.pid",
            exit_file=f"{base}.exit",
            terminal=config.tty,
            open_stdin=open_stdin,
            stdin_once=open_stdin,
            console_size=console_size,
            cgroup_files=plan.tasks if own_cgroups else (),
            runtime_log=f"{base}.log",
        )

    async def release(self, container_id: ContainerId, exec_id: ExecId) -> None:
        """See the contract."""
        bundle = self._parts.bundles.bundle(container_id)

        def remove() -> None:
            for suffix in ("json", "pid", "log", "exit"):
                (bundle / f"exec-{exec_id}.{suffix}").unlink(missing_ok=True)

        await self._parts.offload(remove)
