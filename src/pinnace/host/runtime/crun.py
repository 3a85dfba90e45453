"""OCI runtime programs: finding them, running them from where nobody can write, their failures."""

import asyncio
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from pinnace.errors import (
    InvalidParameter,
    PinnaceError,
    RuntimeFailure,
    StartFailed,
    Unavailable,
)
from pinnace.host import process
from pinnace.host.kernel import mount

log = logging.getLogger(__name__)

# Older ones lack fixes of published escapes: leaked descriptors (CVE-2024-21626), masked paths
# and console races (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881).
_KNOWN_FIXES = {"crun": (1, 25), "runc": (1, 3)}
_VERSION = re.compile(r"^(\w+) version (\d+)\.(\d+)(?:\.(\d+))?", re.MULTILINE)
_CONTAINER_ID = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z_.-]*")
_COPY = "-ro"  # suffix of the read-only file that a runtime is executed from
_NOT_FOUND, _NOT_EXECUTABLE, _FAILED = 127, 126, 125


@dataclass(frozen=True, slots=True)
class Runtime:
    """An OCI runtime and where it keeps its state; implements `contracts.control.RuntimeProgram`.

    Attributes:
        name: As users select it.
        program: What is executed: for crun the read-only copy.
        root: Directory of the runtime's state; below it one directory per container.
        version: What it calls itself, "" unknown.
        is_crun: Takes compiled filters, waits on exec.fifo, can keep out of control groups.
        args: Further words after the program, from `--add-runtime`.
    """

    name: str
    program: str
    root: str
    version: str = ""
    is_crun: bool = True
    args: tuple[str, ...] = ()

    def create_argv(
        self, container_id: str, *, bundle: str, pid_file: str, log: str = "", own_cgroups: bool
    ) -> list[str]:
        """Return the command that makes a container; the last word is the id.

        Args:
            container_id: Names the runtime's state.
            bundle: Directory with `config.json`.
            pid_file: Gets the process id.
            log: File for the runtime's messages; "": its standard error.
            own_cgroups: The caller makes the control groups.
        """
        head = self._head(log, own_cgroups=own_cgroups)
        return [*head, "create", "--bundle", bundle, "--pid-file", pid_file, container_id]

    def exec_argv(
        self, container_id: str, *, process: str, pid_file: str, log: str = "", own_cgroups: bool
    ) -> list[str]:
        """Return the command that adds a process, detached; the last word is the container's id.

        Args:
            container_id: The running container.
            process: File with the process, as `spec.exec_process_spec` describes it.
            pid_file: Gets the process id.
            log: File for the runtime's messages; "": its standard error.
            own_cgroups: The caller makes the control groups.
        """
        head = self._head(log, own_cgroups=own_cgroups)
        words = ["exec", "--detach", "--process", process, "--pid-file", pid_file]
        return [*head, *words, container_id]

    def start_argv(self, container_id: str) -> list[str]:
        """Return the command that starts a created container."""
        return [*self._head("", own_cgroups=False), "start", container_id]

    def start_fifo(self, container_id: str) -> str | None:
        """Return the fifo whose writing starts the container; None: run `start_argv`."""
        return f"{self.root}/{container_id}/exec.fifo" if self.is_crun else None

    async def delete(self, container_id: str) -> None:
        """Remove the state of an ended container, by hand where its layout is known.

        Raises:
            RuntimeFailure: It could not be removed.
        """
        if await asyncio.to_thread(self.drop_state, container_id):
            return
        argv = [*self._head("", own_cgroups=False), "delete", "--force", container_id]
        done = await process.run(argv)
        if done.returncode and not await asyncio.to_thread(self.drop_state, container_id):
            raise RuntimeFailure(f"{self.name} delete: {_text(done.stderr)}")

    def present(self) -> list[str]:
        """Return the ids of which there is state; blocks for one look at a directory."""
        return sorted(entry.name for entry in Path(self.root).iterdir())

    def drop_state(self, container_id: str) -> bool:
        """Remove the state directory of an ended container; return whether none is left.

        crun's state is a flat directory of files; nothing else hangs on it when the control
        groups are ours and the processes are gone. Blocks for some file operations. Other
        runtimes' state is not touched.
        """
        if not _CONTAINER_ID.fullmatch(container_id):
            raise InvalidParameter(f"not a container id: {container_id!r}")
        state = Path(self.root, container_id)
        if self.is_crun:
            shutil.rmtree(state, ignore_errors=True)
        return not state.exists()

    def _head(self, log: str, *, own_cgroups: bool) -> list[str]:
        words = [self.program, *self.args, "--root", self.root]
        if log:
            words += ["--log", log]
        if self.is_crun and own_cgroups:
            words.append("--cgroup-manager=disabled")
        return words


async def find_runtime(
    exec_root: Path, *, name: str = "crun", path: str = "", args: tuple[str, ...] = ()
) -> Runtime:
    """Find a runtime, learn its version, and for crun bind it read-only below `exec_root`.

    A runtime that a container could open through /proc/self/exe must not be writable
    (CVE-2019-5736); from a read-only mount crun also skips copying itself at every start.

    Args:
        exec_root: Directory of volatile state; must exist.
        name: As users select it.
        path: The program; "" looks for `name` in PATH.
        args: Further words for each call.

    Raises:
        Unavailable: It is not there, or does not run.
    """
    found = shutil.which(path or name)
    if found is None:
        raise Unavailable(f"OCI runtime {path or name!r} is not installed")
    done = await process.run([found, "--version"])
    printed = _VERSION.search(done.stdout.decode(errors="replace"))
    if done.returncode:
        raise Unavailable(f"OCI runtime {found} does not run: {_text(done.stderr)}")
    kind = printed[1] if printed else ""
    version = ".".join(part for part in printed.groups()[1:] if part) if printed else ""
    _warn_old(kind, version)
    is_crun = kind == "crun"
    root = exec_root / ("crun" if name == "crun" else f"runtime-{name}")
    root.mkdir(mode=0o711, exist_ok=True)
    program = read_only_copy(Path(found), exec_root / f"{name}{_COPY}") if is_crun else Path(found)
    return Runtime(name, str(program), str(root), version, is_crun, args)


def read_only_copy(program: Path, target: Path) -> Path:
    """Bind `program` read-only at the file `target`, replacing what an earlier daemon left.

    Raises:
        Unavailable: It cannot be mounted.
    """
    try:
        while mount.unmount(target):
            pass
        target.touch(mode=0o700)
        mount.bind(program, target, read_only=True)
    except OSError as error:
        raise Unavailable(f"cannot mount {program} at {target}: {error.strerror}") from error
    return target


def release_copies(exec_root: Path) -> None:
    """Undo every `read_only_copy`, when the daemon and all containers are gone."""
    for target in exec_root.glob(f"*{_COPY}"):
        while mount.unmount(target):
            pass
        target.unlink(missing_ok=True)


def _warn_old(kind: str, version: str) -> None:
    fixed = _KNOWN_FIXES.get(kind)
    if fixed is None or not version:
        return
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if numbers < fixed:
        log.warning(
            "the OCI runtime is older than fixes of known escapes, unless the distribution "
            "has added them",
            extra={"runtime": kind, "version": version, "fixed_in": ".".join(map(str, fixed))},
        )


def start_failure(command: str, printed: str, *, runtime: str = "crun") -> PinnaceError:
    """Return what a failed create or start means, in the words Docker's clients look for.

    Args:
        command: First word of the container's command.
        printed: What the runtime printed.
        runtime: Its name.
    """
    reason, code = _reason(command, printed)
    text = (
        "failed to create task for container: failed to create shim task: "
        f"OCI runtime create failed: {runtime} create failed: {reason}: unknown"
    )
    if code == _FAILED:
        return RuntimeFailure(text, exit_code=code)
    return StartFailed(text, exit_code=code)


def exec_failure(command: str, printed: str) -> PinnaceError:
    """Return what a failed exec means; arguments as for `start_failure`."""
    reason, code = _reason(command, printed)
    text = f"OCI runtime exec failed: exec failed: {reason}: unknown"
    if code == _FAILED:
        return RuntimeFailure(text, exit_code=code)
    return StartFailed(text, exit_code=code)


def _reason(command: str, printed: str) -> tuple[str, int]:
    """Read the runtime's message; the clients decide on 126 and 127 by these very words."""
    message = _text(printed.encode())
    lowered = message.lower()
    before = "unable to start container process: exec: "
    about_command = "executable" in lowered or "exec" in lowered.split()
    refused = "permission denied" in lowered or "operation not permitted" in lowered
    if about_command and refused:
        return f'{before}"{command}": permission denied', _NOT_EXECUTABLE
    if about_command and ("not found" in lowered or "no such file" in lowered):
        if "/" in command:
            return f'{before}"{command}": stat {command}: no such file or directory', _NOT_FOUND
        return f'{before}"{command}": executable file not found in $PATH', _NOT_FOUND
    return message, _FAILED


def _text(printed: bytes) -> str:
    """Return the last line of the runtime's output, without its time stamp and level."""
    lines = [line.strip() for line in printed.decode(errors="replace").splitlines()]
    last = next((line for line in reversed(lines) if line), "no message")
    return re.sub(r"^(?:\d{4}-\d\d-\d\dT\S+\s*:?\s*)?(?:\[?(?:error|warn)\]?:? )?", "", last)
