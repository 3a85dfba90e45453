"""Execs: additional processes in running containers."""

from msgspec import field

from pinnace.model.record import ContainerId, ExecId, Record


class ExecConfig(Record, frozen=True, kw_only=True):
    """What to run; body of `POST /containers/{id}/exec`."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: list[int] | None = None  # height, width
    attach_stdin: bool = False
    attach_stderr: bool = False
    attach_stdout: bool = False
    detach_keys: str = ""
    env: list[str] | None = None
    working_dir: str = ""
    cmd: list[str] | None = None


class Exec(Record, frozen=True, kw_only=True):
    """The engine's record of an exec. Execs die with the container; they are not stored.

    Attributes:
        exit_code: None until it ended.
        pid: On the host; 0 before start and after the end.
    """

    id: ExecId
    container_id: ContainerId
    config: ExecConfig
    running: bool = False
    started: bool = False
    exit_code: int | None = None
    pid: int = 0


class ExecProcess(Record, frozen=True, kw_only=True, rename=None):
    """The process part of exec inspect; lower-case keys on the wire."""

    arguments: list[str]
    entrypoint: str
    privileged: bool
    tty: bool
    user: str = ""


class ExecInspect(Record, frozen=True, kw_only=True):
    """`GET /exec/{id}/json`, API 1.56."""

    id: str = field(name="ID")
    running: bool
    exit_code: int | None
    process_config: ExecProcess
    open_stdin: bool
    open_stderr: bool
    open_stdout: bool
    can_remove: bool
    container_id: str = field(name="ContainerID")
    detach_keys: str = ""
    pid: int
