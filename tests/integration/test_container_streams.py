"""Attach, logs, execs and probes over the real supervisor, in containers that crun makes."""

import asyncio
import contextlib
import socket
import struct

import pytest
from tests.support import cgroups
from tests.support.tasks import Lab, until

from pinnace.engine.containers.attach import AttachParams, AttachService
from pinnace.engine.containers.execs import ExecService, ExecStartParams
from pinnace.engine.containers.health import ExecProber, ProbeResult
from pinnace.engine.containers.logs import LogParams, LogService
from pinnace.errors import PinnaceError, StartFailed
from pinnace.model.container import ContainerConfig
from pinnace.model.exec import ExecConfig
from pinnace.testing.lookup import FakeContainers, SeenEvents, a_container

pytestmark = pytest.mark.root

SECOND = 1_000_000_000


class LabExecs:
    """Fulfils ExecRuntime with the laboratory's bundles."""

    def __init__(self, lab):
        self.lab = lab
        self.released = []

    async def exec_task(self, container, exec_id, config, *, open_stdin, console_size):
        return self.lab.exec_of(
            container.id,
            exec_id,
            *config.cmd,
            terminal=config.tty,
            open_stdin=open_stdin,
            stdin_once=open_stdin,
            console_size=console_size,
        )

    async def release(self, container_id, exec_id):
        self.released.append(exec_id)


class Running:
    """One container, its services, and the exits that reach them."""

    def __init__(self, lab, monitor, container):
        self.lab, self.monitor, self.container = lab, monitor, container
        self.containers, self.events = FakeContainers(container), SeenEvents()
        self.runtime = LabExecs(lab)
        self.logs = LogService(
            self.containers, monitor, lambda container_id: lab.directory / container_id / "log"
        )
        self.attach = AttachService(self.containers, monitor, self.logs, self.events)
        self.execs = ExecService(self.containers, monitor, self.runtime, self.events)
        self.ended = asyncio.Event()
        self.exit = None

    async def start(self, *argv):
        config = self.container.config
        spec = self.lab.container(
            self.container.id,
            *argv,
            terminal=config.tty,
            open_stdin=config.open_stdin,
            stdin_once=config.stdin_once,
        )
        await self.monitor.create(spec)
        await self.monitor.start(spec.id)
        self.containers.set_status(self.container.id, "running")

    async def route_exits(self):
        async for ended in self.monitor.exits():
            if self.execs.owns(ended.id):
                await self.execs.on_exit(ended)
            elif ended.id == self.container.id:
                self.containers.set_status(ended.id, "exited")
                self.exit = ended
                self.ended.set()


@pytest.fixture
async def running(tmp_path):
    cgroups.prepare()
    lab = Lab(tmp_path)
    tasks = []

    async def make(**config):
        container = a_container(status="created", config=ContainerConfig(**config))
        one = Running(lab, await lab.monitor(), container)
        tasks.append(asyncio.create_task(one.route_exits()))
        return one

    yield make
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await lab.close()


class Client:
    def __init__(self):
        self.sock, self.theirs = socket.socketpair()
        self.sock.settimeout(0)

    async def send(self, data):
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def read_all(self):
        data = b""
        while chunk := await asyncio.get_running_loop().sock_recv(self.sock, 1 << 20):
            data += chunk
        return data

    def close(self):
        self.sock.close()
        self.theirs.close()


@pytest.fixture
def client():
    one = Client()
    yield one
    one.close()


def unframed(data):
    streams = {1: b"", 2: b""}
    while data:
        stream, length = struct.unpack(">BxxxL", data[:8])
        streams[stream] += data[8 : 8 + length]
        data = data[8 + length :]
    return streams


async def test_a_client_attached_before_start_gets_every_byte(running, client):
    one = await running(open_stdin=True, stdin_once=True)
    plan = await one.attach.attach(
        "web", AttachParams(stdin=True, stdout=True, stderr=True, stream=True)
    )
    serving = asyncio.create_task(plan.run(client.theirs.fileno(), b"early "))
    await one.start("/bin/sh", "-c", "echo oops >&2; cat; exit 3")
    await client.send(b"late\n")
    client.sock.shutdown(socket.SHUT_WR)
    assert unframed(await client.read_all()) == {1: b"early late\n", 2: b"oops\n"}
    await serving
    await one.ended.wait()
    assert one.exit.code == 3


async def test_logs_follow_a_container_to_its_end(running):
    one = await running()
    await one.start("/bin/sh", "-c", "seq 1 20000; echo last >&2")
    logs = await one.logs.open("web", LogParams(stdout=True, stderr=True, follow=True))
    found = {1: b"", 2: b""}
    async for stream, data in logs:
        found[stream] += data
    assert found[1] == b"".join(b"%d\n" % n for n in range(1, 20001))
    assert found[2] == b"last\n"


async def test_the_log_of_a_stopped_container_is_replayed_to_a_client(running, client):
    one = await running()
    await one.start("/bin/sh", "-c", "seq 1 3")
    await one.ended.wait()
    await one.monitor.forget(one.container.id)
    plan = await one.attach.attach("web", AttachParams(stdout=True, logs=True))
    await plan.run(client.theirs.fileno())
    client.theirs.shutdown(socket.SHUT_WR)
    assert unframed(await client.read_all())[1] == b"1\n2\n3\n"


async def test_the_log_of_a_running_container_is_replayed_and_ends(running, client):
    one = await running()
    await one.start("/bin/sh", "-c", "seq 1 3; sleep 1000")
    logs = await one.logs.open("web", LogParams(stdout=True, follow=True))
    seen = b""
    async for _, data in logs:
        seen += data
        if seen == b"1\n2\n3\n":
            break
    await logs.aclose()
    plan = await one.attach.attach("web", AttachParams(stdout=True, logs=True))
    await plan.run(client.theirs.fileno())
    client.theirs.shutdown(socket.SHUT_WR)
    assert unframed(await client.read_all())[1] == b"1\n2\n3\n"


async def run_exec(one, client, *cmd, early=b"", **config):
    exec_id = await one.execs.create(
        "web", ExecConfig(cmd=list(cmd), attach_stdout=True, attach_stderr=True, **config)
    )
    plan = await one.execs.start(exec_id, ExecStartParams(tty=config.get("tty", False)))
    serving = asyncio.create_task(plan.run(client.theirs.fileno(), early))
    return exec_id, serving


async def test_an_exec_gives_output_and_exit_code(running, client):
    one = await running()
    await one.start("/bin/sleep", "1000")
    exec_id, serving = await run_exec(one, client, "/bin/sh", "-c", "echo a; echo b >&2; exit 7")
    await serving
    client.theirs.close()
    assert unframed(await client.read_all()) == {1: b"a\n", 2: b"b\n"}
    assert await one.execs.wait(exec_id) == 7
    assert one.events.actions[-1] == "exec_die"
    shown = await one.execs.inspect(exec_id)
    assert (shown.running, shown.exit_code) == (False, 7)


async def test_an_exec_reads_what_the_client_sends(running, client):
    one = await running()
    await one.start("/bin/sleep", "1000")
    _, serving = await run_exec(one, client, "/bin/cat", early=b"early ", attach_stdin=True)
    await client.send(b"late\n")
    client.sock.shutdown(socket.SHUT_WR)
    assert unframed(await client.read_all())[1] == b"early late\n"
    await serving


async def test_a_terminal_exec_gets_the_size_that_start_asks_for(running, client):
    one = await running()
    await one.start("/bin/sleep", "1000")
    exec_id = await one.execs.create(
        "web",
        ExecConfig(
            # The runtime makes the terminal, the supervisor gives it a size; before, busybox's
            # stty prints nothing and succeeds.
            cmd=["/bin/sh", "-c", "until stty size 2>/dev/null | grep ' '; do :; done"],
            tty=True,
            attach_stdout=True,
        ),
    )
    params = ExecStartParams(tty=True, console_size=(33, 77))
    plan = await one.execs.start(exec_id, params)
    await plan.run(client.theirs.fileno())
    client.theirs.close()
    assert await client.read_all() == b"33 77\r\n"


@pytest.mark.parametrize(
    ("command", "told", "code"),
    [
        ("nosuch", b'exec: "nosuch": executable file not found in $PATH', 127),
        ("/bin/nosuch", b"no such file or directory", 127),
        ("/proc/version", b"permission denied", 126),
    ],
)
async def test_what_cannot_be_run_is_told_as_docker_does(running, client, command, told, code):
    one = await running()
    await one.start("/bin/sleep", "1000")
    exec_id, serving = await run_exec(one, client, command)
    await serving
    client.theirs.close()
    heard = unframed(await client.read_all())[1]
    assert heard.startswith(b"OCI runtime exec failed: exec failed: ")
    assert told in heard
    assert heard.endswith(b"\r\n")
    assert await one.execs.wait(exec_id) == code
    detached = await one.execs.create("web", ExecConfig(cmd=[command]))
    with pytest.raises(StartFailed):
        await one.execs.start(detached, ExecStartParams(detach=True))


async def test_a_detached_exec_runs_to_its_end(running):
    one = await running()
    await one.start("/bin/sleep", "1000")
    exec_id = await one.execs.create("web", ExecConfig(cmd=["/bin/sh", "-c", "exit 5"]))
    assert await one.execs.start(exec_id, ExecStartParams(detach=True)) is None
    assert await one.execs.wait(exec_id) == 5


async def test_many_execs_at_once_keep_their_output_apart(running):
    one = await running()
    await one.start("/bin/sleep", "1000")

    async def numbered(number):
        with contextlib.closing(Client()) as client:
            exec_id, serving = await run_exec(one, client, "/bin/echo", str(number))
            await serving
            client.theirs.close()
            assert (await one.execs.inspect(exec_id)).exit_code == 0
            return unframed(await client.read_all())[1]

    found = await asyncio.gather(*(numbered(n) for n in range(10)))
    assert found == [b"%d\n" % n for n in range(10)]
    await until(lambda: len(one.runtime.released) == 10)


async def probe(one, *command, timeout_ns=30 * SECOND):
    container = one.containers.get("web")
    return await ExecProber(one.execs).probe(container, command, timeout_ns)


async def test_probes_report_what_they_found(running):
    one = await running()
    await one.start("/bin/sleep", "1000")
    assert await probe(one, "/bin/sh", "-c", "echo well") == ProbeResult(0, "well\n")
    assert await probe(one, "/bin/sh", "-c", "echo ill >&2; exit 1") == ProbeResult(1, "ill\n")
    slow = await probe(one, "/bin/sleep", "1000", timeout_ns=SECOND // 5)
    assert slow == ProbeResult(-1, "Health check exceeded timeout (200ms)")
    with pytest.raises(PinnaceError, match="executable file not found"):
        await probe(one, "nosuch")
