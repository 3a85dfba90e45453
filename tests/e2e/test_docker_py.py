"""Every container and image method of docker-py, against our engine and dockerd alike."""

from __future__ import annotations

import datetime
import io
import json
import tarfile
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import docker
import pytest
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound
from docker.types import LogConfig, Mount
from tests.support import dockerd, images, pinnaced
from tests.support.engine import remove_root

pytestmark = pytest.mark.root
DEADLINE_S = 60
STARTS = {
    "dockerd": lambda root: dockerd.start(root, bridge="dkt6", subnet="10.221.0.1/24"),
    "pinnace": lambda root: pinnaced.start(root, bridge="pnt6", subnet="10.220.0.1/24"),
}


@pytest.fixture(scope="module", params=sorted(STARTS))
def engine(request):
    root = Path(tempfile.mkdtemp(prefix="pnt-py-", dir="/var/tmp"))
    try:
        with STARTS[request.param](root) as running:
            running.load(images.busybox_archive())
            yield running
    finally:
        remove_root(root)


@pytest.fixture
def client(engine):
    """A high-level client; containers are removed at the end of the test."""
    with closing(docker.DockerClient(base_url=engine.host, timeout=DEADLINE_S)) as one:
        yield one
        for container in one.containers.list(all=True, ignore_removed=True):
            container.remove(force=True, v=True)


@pytest.fixture
def api(client):
    return client.api


def spawn(client, script="exec sleep 99", **settings):
    return client.containers.run("busybox", ["sh", "-c", script], detach=True, **settings)


def ended(client, script, **settings):
    container = spawn(client, script, **settings)
    container.wait(timeout=DEADLINE_S)
    container.reload()
    return container


def until(question):
    """Ask until the answer is true, and return it; the last answer after the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not (answer := question()) and time.monotonic() < end:
        time.sleep(0.05)
    return answer


def tar_of(name, data):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def untar(chunks):
    return tarfile.open(fileobj=io.BytesIO(b"".join(chunks)))


# --- the system --------------------------------------------------------------------------------


def test_the_client_negotiates_and_the_system_calls_answer(client):
    assert client.ping() is True
    version = client.version()
    assert version["Version"]
    assert version["ApiVersion"]
    assert client.api.version(api_version=False)["ApiVersion"] == version["ApiVersion"]
    info = client.info()
    assert info["Images"] >= 1
    assert info["OSType"] == "linux"
    df = client.df()
    assert [tag for image in df["Images"] for tag in image["RepoTags"]] == ["busybox:latest"]
    assert df["Volumes"] == [] or df["Volumes"] is None


def test_the_newest_version_is_negotiated(engine):
    with closing(docker.APIClient(base_url=engine.host, version="auto")) as api:
        assert api.ping() is True
        assert tuple(map(int, api.api_version.split("."))) >= (1, 41)


def test_events_are_decoded_filtered_and_end_at_until(client):
    since = datetime.datetime.now(datetime.UTC)
    ended(client, "true", name="eventful", labels={"a": "b"}).remove()
    later = time.time() + 1
    stream = client.events(
        since=since, until=later, filters={"container": "eventful"}, decode=True
    )
    actions = [event["Action"] for event in stream]
    assert actions == ["create", "start", "die", "destroy"] or actions == [
        *("create", "attach", "start", "die", "destroy")
    ]
    raw = client.events(since=since, until=later, filters={"event": ["die"]})
    (died,) = [json.loads(line) for line in b"".join(raw).splitlines() if line]
    assert died["Actor"]["Attributes"]["exitCode"] == "0"
    assert died["Actor"]["Attributes"]["a"] == "b"


def test_a_stream_of_events_can_be_closed(client):
    stream = client.events(decode=True)
    spawn(client, name="seen")
    assert next(stream)["Type"] in {"container", "network"}
    stream.close()


# --- running -----------------------------------------------------------------------------------


def test_run_gives_the_output_and_a_failure_holds_the_error(client):
    assert client.containers.run("busybox", "echo hello", remove=True) == b"hello\n"
    both = client.containers.run(
        "busybox", ["sh", "-c", "echo a; echo b >&2"], stdout=True, stderr=True
    )
    assert sorted(both.splitlines()) == [b"a", b"b"]
    with pytest.raises(ContainerError) as failed:
        client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 4"], remove=True)
    assert (failed.value.exit_status, failed.value.stderr) == (4, b"bad\n")
    chunks = client.containers.run("busybox", "echo streamed", stream=True, remove=True)
    assert b"".join(chunks) == b"streamed\n"


def test_run_refuses_an_unknown_image_and_a_missing_program(client):
    with pytest.raises(APIError) as failed:
        client.containers.run("busybox", "no-such-program", remove=True)
    assert failed.value.status_code == 400
    with pytest.raises(ImageNotFound):
        client.containers.create("no-such-image", "true")
    with pytest.raises(NotFound):
        client.containers.get("no-such-container")


def test_create_carries_its_options(client):
    container = client.containers.create(
        "busybox",
        ["sh", "-c", "id -u; pwd; hostname; echo $A; [ -x /b/busybox ] && echo bound"],
        auto_remove=False,
        cap_add=["NET_ADMIN"],
        cap_drop=["MKNOD"],
        cpu_shares=512,
        dns=["10.0.0.1"],
        environment={"A": "1"},
        extra_hosts={"far": "10.9.9.9"},
        hostname="harbour",
        labels=["plain"],
        log_config=LogConfig(type="json-file", config={"max-size": "1m"}),
        mem_limit="64m",
        mounts=[Mount("/b", "/bin", type="bind", read_only=True)],
        name="optional",
        pids_limit=50,
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
        shm_size="8m",
        stop_signal="SIGINT",
        sysctls={"net.ipv4.ip_forward": "0"},
        tmpfs={"/t": "size=1m"},
        ulimits=[docker.types.Ulimit(name="nofile", soft=77, hard=77)],
        user="1000:1000",
        working_dir="/tmp",
    )
    assert container.status == "created"
    container.start()
    assert container.wait()["StatusCode"] == 0
    lines = container.logs().decode().splitlines()
    assert lines == ["1000", "/tmp", "harbour", "1", "bound"]
    host = container.attrs["HostConfig"]
    assert host["Memory"] == 64 << 20
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    assert container.labels == {"plain": ""}
    assert container.image.tags == ["busybox:latest"]


def test_ports_are_published_and_named(client, api):
    container = spawn(client, ports={"80/tcp": ("127.0.0.1", None), "53/udp": None})
    container.reload()
    (published,) = container.ports["80/tcp"]
    assert published["HostIp"] == "127.0.0.1"
    assert api.port(container.id, 80) == [published]
    assert container.ports["53/udp"]


def test_listing_filters_and_limits(client, api):
    one = spawn(client, name="one", labels={"k": "v"})
    two = ended(client, "exit 3", name="two")
    assert client.containers.list() == [one]
    assert set(client.containers.list(all=True)) == {one, two}
    assert client.containers.list(filters={"label": "k=v"}) == [one]
    assert client.containers.list(all=True, filters={"exited": 3}) == [two]
    assert client.containers.list(all=True, filters={"status": "exited"}) == [two]
    assert client.containers.list(limit=1) == [two]
    assert client.containers.list(all=True, filters={"since": "one"}) == [two]
    assert client.containers.list(all=True, filters={"before": "two"}) == [one]
    assert [c.id for c in client.containers.list(sparse=True)] == [one.id]
    assert api.containers(quiet=True) == [{"Id": one.id}]
    assert "SizeRootFs" in api.containers(size=True)[0]


def test_the_life_of_a_container(client, api):
    container = api.create_container("busybox", ["sleep", "99"], name="life", stop_signal="9")
    assert container["Id"]
    api.start("life")
    one = client.containers.get("life")
    assert one.status == "running"
    one.pause()
    assert (one.reload(), one.status) == (None, "paused")
    one.unpause()
    one.rename("lives")
    assert (one.reload(), one.name) == (None, "lives")
    one.update(mem_limit="32m", memswap_limit="64m", cpu_shares=100)
    one.reload()
    assert one.attrs["HostConfig"]["Memory"] == 32 << 20
    began = one.attrs["State"]["StartedAt"]
    one.restart(timeout=0)
    one.reload()
    assert one.attrs["State"]["StartedAt"] > began
    one.kill("SIGKILL")
    assert one.wait()["StatusCode"] == 137
    one.start()
    one.stop(timeout=1)
    one.reload()
    assert one.status == "exited"
    with pytest.raises(APIError) as again:
        one.kill()
    assert again.value.status_code == 409
    one.remove(v=True)
    with pytest.raises(NotFound):
        one.reload()


def test_wait_conditions_are_kept(engine, client):
    container = client.containers.create("busybox", ["sh", "-c", "exit 5"])
    answers = []

    def wait(condition):
        with closing(docker.APIClient(base_url=engine.host)) as mine:
            answer = mine.wait(container.id, condition=condition, timeout=DEADLINE_S)
            answers.append((condition, answer["StatusCode"]))

    assert container.wait(condition="not-running")["StatusCode"] == 0
    conditions = ["next-exit", "removed"]
    waiters = [threading.Thread(target=wait, args=[one]) for one in conditions]
    for waiter in waiters:
        waiter.start()
    # A wait shows nowhere; starting again and again serves one that begins late as well.
    while waiters[0].is_alive():
        container.start()
        waiters[0].join(0.5)
    assert answers == [("next-exit", 5)]
    container.remove()
    waiters[1].join(DEADLINE_S)
    assert answers[1:] == [("removed", 5)]


def test_prune_removes_what_is_stopped(client):
    stopped = ended(client, "true", labels={"old": "1"})
    kept = ended(client, "true")
    pruned = client.containers.prune(filters={"label": "old"})
    assert pruned["ContainersDeleted"] == [stopped.id]
    assert client.containers.list(all=True) == [kept]


# --- streams -----------------------------------------------------------------------------------


def test_attach_streams_and_demultiplexes(api):
    made = api.create_container("busybox", ["sh", "-c", "echo out; echo err >&2"])
    streams = api.attach(made["Id"], stream=True, demux=True)
    api.start(made["Id"])
    pieces = list(streams)
    assert b"".join(out for out, _ in pieces if out) == b"out\n"
    assert b"".join(err for _, err in pieces if err) == b"err\n"


def test_attach_of_a_terminal_is_raw(api):
    made = api.create_container(
        "busybox", ["sh", "-c", "read a; stty size; echo $a"], tty=True, stdin_open=True
    )
    raw = api.attach_socket(made["Id"], params={"stdin": 1, "stdout": 1, "stream": 1})
    api.start(made["Id"])
    api.resize(made["Id"], height=33, width=77)
    raw._sock.settimeout(DEADLINE_S)
    raw._sock.sendall(b"word\n")
    printed = b""
    while piece := raw._sock.recv(4096):
        printed += piece
    raw.close()
    assert b"33 77\r\nword\r\n" in printed


def test_input_through_the_attached_socket_reaches_the_container(api):
    made = api.create_container("busybox", ["cat"], stdin_open=True)
    raw = api.attach_socket(made["Id"], params={"stdin": 1, "stdout": 1, "stream": 1})
    api.start(made["Id"])
    raw._sock.settimeout(DEADLINE_S)
    raw._sock.sendall(b"through\n")
    received = b""
    while len(received) < 16:
        received += raw._sock.recv(16)
    raw.close()
    assert received == b"\x01\0\0\0\0\0\0\x08through\n"


def test_logs_follow_tail_and_keep_to_their_times(client):
    container = spawn(client, "echo one; echo two >&2; echo three; sleep 1; echo four")
    followed = b"".join(container.logs(stream=True, follow=True))
    assert sorted(followed.splitlines()) == [b"four", b"one", b"three", b"two"]
    assert container.logs(tail=1) == b"four\n"
    assert container.logs(stdout=False) == b"two\n"
    stamped = container.logs(stderr=False, timestamps=True).splitlines()
    moments = [datetime.datetime.fromisoformat(line.split()[0].decode()[:19]) for line in stamped]
    after = moments[-1]
    assert container.logs(since=after, stderr=False) == b"four\n"
    assert container.logs(until=after, stderr=False) == b"one\nthree\n"
    assert container.logs(since=int(after.replace(tzinfo=datetime.UTC).timestamp())).endswith(
        b"four\n"
    )
    assert container.logs(since=after + datetime.timedelta(hours=1)) == b""


def test_exec_runs_streams_demultiplexes_and_is_inspected(client, api):
    container = spawn(client)
    done = container.exec_run(["sh", "-c", "echo o; echo e >&2; exit 9"], demux=True)
    assert (done.exit_code, done.output) == (9, (b"o\n", b"e\n"))
    settings = {"user": "7", "workdir": "/tmp", "environment": {"A": "b"}}
    assert container.exec_run("sh -c 'id -u; pwd; echo $A'", **settings).output == b"7\n/tmp\nb\n"
    streamed = container.exec_run("echo piece", stream=True)
    assert b"".join(streamed.output) == b"piece\n"
    made = api.exec_create(container.id, "sleep 99", tty=True)
    api.exec_start(made["Id"], detach=True)
    api.exec_resize(made["Id"], height=20, width=40)
    seen = api.exec_inspect(made["Id"])
    assert seen["Running"] is True
    assert seen["ContainerID"] == container.id
    assert seen["ProcessConfig"]["entrypoint"] == "sleep"
    with pytest.raises(NotFound):
        api.exec_inspect("nothing")


def test_exec_gives_a_socket_for_input(client, api):
    container = spawn(client)
    made = api.exec_create(container.id, "head -n 1", stdin=True)
    raw = api.exec_start(made["Id"], socket=True)
    raw._sock.settimeout(DEADLINE_S)
    raw._sock.sendall(b"line\n")
    received = b""
    while piece := raw._sock.recv(100):
        received += piece
    raw.close()
    assert received == b"\x01\0\0\0\0\0\0\x05line\n"
    assert until(lambda: api.exec_inspect(made["Id"])["ExitCode"] == 0)


def test_statistics_come_once_and_as_a_stream(client, api):
    container = spawn(client, mem_limit="64m")
    once = container.stats(stream=False)
    assert once["memory_stats"]["limit"] == 64 << 20
    assert once["precpu_stats"]["cpu_usage"]["total_usage"] > 0
    fast = api.stats(container.id, stream=False, one_shot=True)
    assert fast["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    stream = container.stats(decode=True)
    first, second = next(stream), next(stream)
    assert first["read"] < second["read"]
    assert second["networks"]["eth0"]


def test_top_lists_the_processes(client):
    container = spawn(client)
    top = container.top()
    assert "PID" in top["Titles"]
    assert "sleep 99" in top["Processes"][0][-1]
    assert container.top(ps_args="-o pid,comm")["Titles"] == ["PID", "COMMAND"]


# --- files -------------------------------------------------------------------------------------


def test_archives_go_in_and_out_and_differences_show(client):
    container = spawn(client)
    assert container.put_archive("/tmp", tar_of("given", b"content")) is True
    chunks, stat = container.get_archive("/tmp/given")
    assert (stat["name"], stat["size"]) == ("given", 7)
    with untar(chunks) as archive:
        assert archive.extractfile("given").read() == b"content"
    chunks, _ = container.get_archive("/tmp", chunk_size=512, encode_stream=True)
    with untar(chunks) as archive:
        assert "tmp/given" in archive.getnames()
    assert {"Path": "/tmp/given", "Kind": 1} in container.diff()
    with untar(container.export()) as archive:
        assert archive.extractfile("tmp/given").read() == b"content"
    with pytest.raises(NotFound):
        container.get_archive("/no/such")
    with pytest.raises(NotFound):
        container.put_archive("/no/such", tar_of("x", b""))


# --- images ------------------------------------------------------------------------------------


def test_commit_makes_an_image_with_changes_and_history(client):
    container = ended(client, "echo new > /new")
    image = container.commit(
        "made", "1", message="why", author="who", changes=["ENV A=b", 'CMD ["cat", "/new"]']
    )
    try:
        assert image.tags == ["made:1"]
        assert "A=b" in image.attrs["Config"]["Env"]
        assert client.containers.run("made:1", remove=True) == b"new\n"
        assert image.history()[0]["Comment"] == "why"
        assert image.attrs["Author"] == "who"
        client.containers.create("made:1")
        with pytest.raises(APIError) as used:
            client.images.remove("made:1")
        assert used.value.status_code == 409
    finally:
        client.images.remove("made:1", force=True)


def test_images_are_listed_tagged_and_untagged(client, api):
    image = client.images.get("busybox")
    assert client.images.list() == [image]
    assert client.images.list("busybox") == [image]
    assert client.images.list(filters={"dangling": True}) == []
    assert image.tag("other/name", tag="2") is True
    image.reload()
    assert sorted(image.tags) == ["busybox:latest", "other/name:2"]
    assert client.images.list("other/name") == [image]
    assert api.images(quiet=True) == [image.id]
    removed = api.remove_image("other/name:2")
    assert removed == [{"Untagged": "other/name:2"}]
    assert image.short_id
    assert image.labels == {}
    assert api.history("busybox")[0]["Tags"] == ["busybox:latest"]
    assert api.inspect_image("busybox")["Os"] == "linux"
    with pytest.raises(ImageNotFound):
        client.images.get("other/name:2")


def test_images_are_saved_and_loaded(client, api):
    api.tag("busybox", "travel", "1")
    saved = b"".join(client.images.get("travel:1").save(named="travel:1"))
    whole = b"".join(api.get_image("busybox"))
    with untar([whole]) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))
    assert manifest[0]["RepoTags"] == ["busybox:latest"]
    client.images.remove("travel:1")
    (loaded,) = client.images.load(saved)
    assert "travel:1" in loaded.tags
    client.images.remove("travel:1")


def test_a_file_system_is_imported_as_an_image(client, api, tmp_path):
    container = client.containers.create("busybox", "true")
    packed = b"".join(container.export())
    answer = api.import_image_from_data(packed, repository="flat", tag="1", changes=["CMD ls"])
    assert "sha256:" in answer
    (tmp_path / "flat.tar").write_bytes(packed)
    # An iterator: with a file docker-py sends a length and chunks, which is no HTTP.
    api.import_image_from_stream(iter([packed]), repository="flat", tag="2")
    api.import_image_from_file(str(tmp_path / "flat.tar"), repository="flat", tag="3")
    assert client.containers.run("flat:1", "echo flat", remove=True) == b"flat\n"
    for tag in "123":
        client.images.remove(f"flat:{tag}", force=True)


def test_prune_removes_dangling_images(client):
    first = ended(client, "echo 1 > /f").commit("dangles")
    second = ended(client, "echo 2 > /f").commit("dangles")
    for container in client.containers.list(all=True):
        container.remove()
    pruned = client.images.prune(filters={"dangling": True})
    assert first.id in [one.get("Deleted") for one in pruned["ImagesDeleted"]]
    assert client.images.get("dangles") == second
    client.images.remove("dangles")


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.images.pull("localhost:1/name", tag="1"),
        lambda client: client.images.get_registry_data("localhost:1/name"),
        lambda client: client.login("user", "password", registry="localhost:1"),
    ],
    ids=["pull", "distribution", "login"],
)
def test_a_registry_that_does_not_answer_is_told(client, call):
    with pytest.raises(APIError) as refused:
        call(client)
    assert refused.value.status_code == 500
    assert "connection refused" in refused.value.explanation


def test_a_push_to_a_registry_that_does_not_answer_ends_with_the_reason(client):
    client.images.get("busybox").tag("localhost:1/name", "1")
    told = list(client.images.push("localhost:1/name", tag="1", stream=True, decode=True))
    assert told[0] == {"status": "The push refers to repository [localhost:1/name]"}
    assert told[-1]["error"] == told[-1]["errorDetail"]["message"]
    assert "connection refused" in told[-1]["error"]
    client.images.remove("localhost:1/name:1")


# --- volumes and networks ----------------------------------------------------------------------


def test_volumes_are_made_used_listed_and_pruned(client):
    volume = client.volumes.create("store", labels={"a": "b"})
    assert volume.attrs["Driver"] == "local"
    put = ["sh", "-c", "echo kept > /v/file"]
    client.containers.run("busybox", put, volumes={"store": {"bind": "/v"}}, remove=True)
    got = client.containers.run("busybox", "cat /v/file", volumes=["store:/v:ro"], remove=True)
    assert got == b"kept\n"
    assert client.volumes.list() == [volume]
    assert client.volumes.list(filters={"name": "nothing"}) == []
    assert client.volumes.get("store").attrs["Labels"] == {"a": "b"}
    volume.remove()
    client.volumes.create("gone")
    pruned = client.volumes.prune(filters={} if client.api._version < "1.42" else {"all": True})
    assert pruned["VolumesDeleted"] == ["gone"]
    with pytest.raises(NotFound):
        client.volumes.get("gone")


def test_networks_are_listed_and_inspected(client, api):
    names = {network.name for network in client.networks.list()}
    assert {"bridge", "host", "none"} <= names
    bridge = client.networks.get("bridge")
    assert bridge.attrs["Driver"] == "bridge"
    container = spawn(client)
    bridge.reload()
    assert container in bridge.containers
    assert api.inspect_network("host")["Scope"] == "local"
    assert [one["Name"] for one in api.networks(names=["none"])] == ["none"]
    with pytest.raises(NotFound):
        client.networks.get("nothing")
