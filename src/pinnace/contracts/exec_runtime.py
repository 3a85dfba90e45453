"""What the exec service needs from whoever knows the OCI runtime's command line."""

from typing import Protocol

from pinnace.contracts.monitor import TaskSpec
from pinnace.model.container import Container
from pinnace.model.exec import ExecConfig
from pinnace.model.record import ContainerId, ExecId


class ExecRuntime(Protocol):
    """Prepares an exec of a running container."""

    async def exec_task(
        self,
        container: Container,
        exec_id: ExecId,
        config: ExecConfig,
        *,
        open_stdin: bool,
        console_size: tuple[int, int] | None,
    ) -> TaskSpec:
        """Write the process description and return the task that runs it.

        The task's id is `exec_id`; it has no log; its pid and exit files lie in a directory that
        `release` removes.

        Args:
            container: A running container.
            exec_id: Names the task and its directory.
            config: Command, user, environment; `config.tty` asks for a terminal.
            open_stdin: A client will send input.
            console_size: (height, width) of the terminal.

        Raises:
            InvalidParameter: The user, the working directory or the environment is impossible.
        """
        ...

    async def release(self, container_id: ContainerId, exec_id: ExecId) -> None:
        """Remove the exec's files; no error when there are none."""
        ...
