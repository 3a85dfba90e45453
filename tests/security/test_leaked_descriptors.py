"""Class 2: descriptors of the engine that leak into containers (CVE-2024-21626)."""

import asyncio
import os

import pytest
from tests.support import cgroups
from tests.support.tasks import Lab, Terminal

from pinnace.contracts.monitor import Sink

pytestmark = pytest.mark.root


@pytest.fixture
async def lab(tmp_path):
    cgroups.prepare()
    made = Lab(tmp_path)
    yield made
    await made.close()


async def test_leaked_descriptor_neither_runtime_nor_task_sees_more_than_its_streams(lab):
    monitor = await lab.monitor()
    client = Terminal()
    await monitor.attach("c1", client.fd, Sink(stdin=True), pending=True)
    await monitor.create(lab.container("c1", "cat", terminal=True, open_stdin=True))
    await monitor.start("c1")
    # the supervisor now holds a socket, a terminal, a log and a pidfd
    await monitor.create(lab.task("t1", "sh", "-c", "ls -l /proc/$$/fd"))
    await monitor.start("t1")
    async with asyncio.timeout(30):
        assert (await anext(monitor.exits())).id == "t1"
    lines = [line.split() for line in lab.log("t1").decode().splitlines()]
    links = {words[-3]: words[-1] for words in lines if "->" in words}
    assert set(links) <= {"0", "1", "2", "10"}
    assert {target.partition(":")[0] for target in links.values()} <= {"/dev/null", "pipe"}
    client.close()


async def test_leaked_descriptor_of_the_daemon_does_not_reach_the_supervisor(lab):
    with open("/etc/hostname") as file:
        os.set_inheritable(file.fileno(), True)
        monitor = await lab.monitor()
    directory = f"/proc/{monitor.supervisor_pid}/fd"
    assert "/etc/hostname" not in {
        os.readlink(f"{directory}/{fd}") for fd in os.listdir(directory)
    }
