"""Command lines of OCI runtimes, and what their failures mean."""

from __future__ import annotations

import pytest

from pinnace.errors import InvalidParameter, RuntimeFailure, StartFailed
from pinnace.host.runtime.crun import Runtime, exec_failure, start_failure

CRUN = Runtime("crun", "/run/x/crun-ro", "/run/x/crun")
RUNC = Runtime("other", "/usr/bin/runc", "/run/x/runtime-other", is_crun=False, args=("--debug",))


def test_crun_keeps_out_of_control_groups_that_are_ours():
    argv = CRUN.create_argv("c1", bundle="/b", pid_file="/b/pid", log="/b/log", own_cgroups=True)
    assert (
        argv
        == (
            "/run/x/crun-ro --root /run/x/crun --log /b/log --cgroup-manager=disabled "
            "create --bundle /b --pid-file /b/pid c1"
        ).split()
    )


def test_other_runtimes_get_plain_commands():
    argv = RUNC.create_argv("c1", bundle="/b", pid_file="/p", own_cgroups=True)
    assert (
        argv
        == (
            "/usr/bin/runc --debug --root /run/x/runtime-other create --bundle /b --pid-file /p c1"
        ).split()
    )
    assert RUNC.start_fifo("c1") is None
    assert RUNC.start_argv("c1")[-2:] == ["start", "c1"]


def test_an_exec_is_detached_and_reads_a_process_file():
    argv = CRUN.exec_argv("c1", process="/e.json", pid_file="/p", own_cgroups=False)
    assert argv[3:] == "exec --detach --process /e.json --pid-file /p c1".split()


def test_the_fifo_starts_a_container():
    assert CRUN.start_fifo("c1") == "/run/x/crun/c1/exec.fifo"


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden"])
def test_only_ids_are_removed(name):
    with pytest.raises(InvalidParameter):
        CRUN.drop_state(name)


async def test_deleting_removes_the_state_directory_and_may_be_repeated(tmp_path):
    (tmp_path / "c1").mkdir()
    (tmp_path / "c1/status").write_text("{}")
    runtime = Runtime("crun", "/nonexistent", str(tmp_path))
    await runtime.delete("c1")
    await runtime.delete("c1")
    assert list(tmp_path.iterdir()) == []


PREFIX = (
    "failed to create task for container: failed to create shim task: "
    "OCI runtime create failed: crun create failed: "
)


@pytest.mark.parametrize(
    ("command", "printed", "reason", "code"),
    [
        (
            "nosuch",
            "2026-01-01T00:00:00.123456Z: executable file `nosuch` not found in $PATH: "
            "No such file or directory\n",
            'unable to start container process: exec: "nosuch": executable file not found in '
            "$PATH: unknown",
            127,
        ),
        (
            "/nosuch",
            "executable file `/nosuch` not found in $PATH: No such file or directory",
            'unable to start container process: exec: "/nosuch": stat /nosuch: no such file or '
            "directory: unknown",
            127,
        ),
        (
            "/etc/passwd",
            "open executable: Permission denied",
            'unable to start container process: exec: "/etc/passwd": permission denied: unknown',
            126,
        ),
        (
            "/bin",
            "open executable: Operation not permitted",
            'unable to start container process: exec: "/bin": permission denied: unknown',
            126,
        ),
    ],
)
def test_a_command_that_cannot_run_is_told_in_dockers_words(command, printed, reason, code):
    failure = start_failure(command, printed)
    assert isinstance(failure, StartFailed)
    assert (failure.message, failure.exit_code) == (PREFIX + reason, code)


def test_other_failures_keep_the_runtimes_message():
    failure = start_failure("sh", "warn: x\nmount `/h` to `/m`: No such file or directory\n")
    assert isinstance(failure, RuntimeFailure)
    assert failure.message == PREFIX + "mount `/h` to `/m`: No such file or directory: unknown"


def test_a_failed_exec_is_told_in_dockers_words():
    failure = exec_failure("nosuch", "executable file `nosuch` not found in $PATH: No such file")
    assert failure.message == (
        "OCI runtime exec failed: exec failed: unable to start container process: exec: "
        '"nosuch": executable file not found in $PATH: unknown'
    )
