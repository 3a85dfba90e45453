"""aiodocker against our engine and dockerd alike: the methods that asynchronous programs use."""

from __future__ import annotations

import asyncio
import io
import tarfile
import tempfile
from pathlib import Path

import aiodocker
import pytest
from tests.support import dockerd, images, pinnaced
from tests.support.engine import remove_root

pytestmark = pytest.mark.root
DEADLINE_S = 60
STARTS = {
    "dockerd": lambda root: dockerd.start(root, bridge="dkt6a", subnet="10.221.1.1/24"),
    "pinnace": lambda root: pinnaced.start(root, bridge="pnt6a", subnet="10.220.1.1/24"),
}


@pytest.fixture(scope="module", params=sorted(STARTS))
def engine(request):
    root = Path(tempfile.mkdtemp(prefix="pnt-aio-", dir="/var/tmp"))
    try:
        with STARTS[request.param](root) as running:
            running.load(images.busybox_archive())
            yield running
    finally:
        remove_root(root)


@pytest.fixture
async def docker(engine):
    async with aiodocker.Docker(url=engine.host) as client, asyncio.timeout(DEADLINE_S):
        yield client
        for container in await client.containers.list(all=True):
            await container.delete(force=True, v=True)


def config(*command, **settings):
    return {"Image": "busybox", "Cmd": list(command), **settings}


async def test_system_calls_answer(docker):
    assert (await docker.version())["Version"]
    assert (await docker.system.info())["Images"] == 1
    (image,) = await docker.images.list()
    assert image["RepoTags"] == ["busybox:latest"]
    assert (await docker.images.inspect("busybox"))["Id"] == image["Id"]
    assert (await docker.images.history("busybox"))[0]["Id"] == image["Id"]


async def test_a_container_lives_and_is_removed(docker):
    container = await docker.containers.create_or_replace(
        "aio", config("sh", "-c", "echo out; echo err >&2; exec sleep 99")
    )
    await container.start()
    assert (await container.show())["State"]["Running"] is True
    assert [one.id for one in await docker.containers.list()] == [container.id]
    await container.pause()
    await container.unpause()
    await container.rename("oia")
    await container.restart(timeout=0)
    await container.kill(signal="SIGKILL")
    assert (await container.wait())["StatusCode"] == 137
    assert sorted(set(await container.log(stdout=True, stderr=True))) == ["err\n", "out\n"]
    await container.delete()
    with pytest.raises(aiodocker.DockerError) as gone:
        await container.show()
    assert gone.value.status == 404


async def test_logs_are_followed_to_the_end(docker):
    container = await docker.containers.run(config("sh", "-c", "echo one; sleep 1; echo two"))
    lines = [line async for line in container.log(stdout=True, follow=True)]
    assert "".join(lines) == "one\ntwo\n"


async def test_an_attached_stream_goes_both_ways(docker):
    container = await docker.containers.create(config("head", "-n", "1", OpenStdin=True))
    async with container.attach(stdin=True, stdout=True, stderr=True) as stream:
        await container.start()
        await stream.write_in(b"line\n")
        message = await stream.read_out()
        assert message is not None
        assert (message.stream, message.data) == (1, b"line\n")
    await container.wait()


async def test_the_websocket_goes_both_ways(docker):
    container = await docker.containers.create(config("cat", OpenStdin=True, Tty=True))
    await container.start()
    socket = await container.websocket(stdin=True, stdout=True, stderr=True, stream=True)
    await socket.send_str("word\n")
    seen = ""
    while seen.count("word") < 2:
        message = await socket.receive()
        seen += message.data if isinstance(message.data, str) else message.data.decode()
    await socket.close()


async def test_an_exec_streams_and_is_inspected(docker):
    container = await docker.containers.run(config("sleep", "99"))
    command = await container.exec(["sh", "-c", "read a; echo $a >&2; exit 6"], stdin=True)
    async with command.start(detach=False) as stream:
        await stream.write_in(b"through\n")
        message = await stream.read_out()
        assert message is not None
        assert (message.stream, message.data) == (2, b"through\n")
        assert await stream.read_out() is None
    while (await command.inspect())["Running"]:
        await asyncio.sleep(0.05)
    assert (await command.inspect())["ExitCode"] == 6


async def test_files_go_in_and_out(docker):
    container = await docker.containers.create(config("true"))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("given")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"data"))
    await container.put_archive("/tmp", packed.getvalue())
    got = await container.get_archive("/tmp/given")
    assert got.extractfile("given").read() == b"data"


async def test_statistics_and_processes(docker):
    container = await docker.containers.run(config("sleep", "99"))
    (once,) = await container.stats(stream=False)
    assert once["pids_stats"]["current"] == 1
    async for sample in container.stats(stream=True):
        assert sample["memory_stats"]["usage"] > 0
        break


async def until_subscribed(docker, subscriber):
    """Make events until the first is heard: `subscribe` returns before the engine is asked."""
    for _ in range(100):
        await docker.images.tag("busybox", repo="heard", tag="1")
        try:
            await asyncio.wait_for(subscriber.get(), 0.5)
        except TimeoutError:
            continue
        await docker.images.delete("heard:1")
        return
    raise AssertionError("no event was heard")


async def test_events_reach_a_subscriber(docker):
    subscriber = docker.events.subscribe()
    await until_subscribed(docker, subscriber)
    container = await docker.containers.run(config("true"), name="heard")
    await container.wait()
    actions = []
    while "die" not in actions:
        event = await subscriber.get()
        if event["Type"] == "container":
            actions.append(event["Action"])
    assert [one for one in actions if one != "attach"][:3] == ["create", "start", "die"]


async def test_images_travel_and_are_committed(docker):
    await docker.images.tag("busybox", repo="travel", tag="1")
    async with docker.images.export_image("travel:1") as content:
        packed = await content.read()
    await docker.images.delete("travel:1")
    loaded = [line async for line in docker.images.import_image(packed, stream=True)]
    assert "travel:1" in str(loaded)
    container = await docker.containers.run(config("true"))
    await container.wait()
    made = await container.commit(repository="made", tag="1")
    assert made["Id"].startswith("sha256:")
    for name in ("travel:1", "made:1"):
        await docker.images.delete(name)


async def test_volumes_and_networks(docker):
    volume = await docker.volumes.create({"Name": "store"})
    assert (await volume.show())["Driver"] == "local"
    assert [one["Name"] for one in (await docker.volumes.list())["Volumes"]] == ["store"]
    await volume.delete()
    names = {one["Name"] for one in await docker.networks.list()}
    assert {"bridge", "host", "none"} <= names
    bridge = await docker.networks.get("bridge")
    assert (await bridge.show())["Driver"] == "bridge"
