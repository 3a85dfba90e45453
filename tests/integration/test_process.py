"""Running other programs."""

import asyncio
import os
import subprocess
import sys
import time

import pytest
from tests.support.tasks import until

from pinnace.errors import Unavailable
from pinnace.host import process


async def test_output_and_status_come_back():
    ended = await process.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, b"out\n", b"err\n")


async def test_input_is_fed_and_ended():
    data = os.urandom(1 << 20)
    assert (await process.run(["cat"], input=data)).stdout == data


async def test_without_input_there_is_an_empty_one():
    assert (await process.run(["cat"])).stdout == b""


async def test_a_program_that_does_not_read_its_input_is_no_error():
    assert (await process.run(["true"], input=b"x" * (1 << 20))).returncode == 0


async def test_only_so_much_output_is_kept():
    ended = await process.run(["head", "-c", "3000000", "/dev/zero"], cap_bytes=10)
    assert (ended.returncode, ended.stdout) == (0, b"\0" * 10)


async def test_the_environment_is_what_is_given():
    assert (await process.run(["/usr/bin/env"], env={"A": "b"})).stdout == b"A=b\n"


async def test_a_missing_program_is_unavailable():
    with pytest.raises(Unavailable, match="cannot run /no/such: No such file"):
        await process.run(["/no/such"])


async def test_a_deadline_ends_the_program_and_its_children():
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"did not end within 0\.2 s"):
        await process.run(["sh", "-c", "sleep 1000 & sleep 1000"], timeout_s=0.2)
    assert time.monotonic() - started < 30


async def test_cancelling_ends_the_program(tmp_path):
    note = tmp_path / "pid"
    script = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(1000)"
    running = asyncio.create_task(process.run([sys.executable, "-c", script]))
    pid = int(await until(lambda: note.exists() and note.read_text()))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_program_leads_its_own_session():
    ended = await process.run(["sh", "-c", "ps -o sid= -p $$; echo $$"])
    session, pid = ended.stdout.split()
    assert session == pid


def test_children_cost_no_thread_once_pidfds_are_used():
    script = (
        "import asyncio, threading\n"
        "from pinnace.host import process\n"
        "process.use_pidfds()\n"
        "async def main():\n"
        "    running = asyncio.create_task(process.run(['cat', '/dev/stdin'], input=b'x' * 9))\n"
        "    await asyncio.sleep(0)\n"
        "    assert (await running).returncode == 0\n"
        "    print(threading.active_count())\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n", "")
