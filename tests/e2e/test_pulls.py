"""Pulls by a running daemon: killed in the middle, left by clients, beside dockerd's words."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gzip
import http.client
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import docker
import pytest
from tests.support import dockerd, images, pinnaced, registry
from tests.support.archives import file, tar_of
from tests.support.bad_proxy import BadProxy, Silence, Slow
from tests.support.engine import UnixConnection, remove_root, unmount_below

from pinnace.client.busybox import busybox_layer

pytestmark = pytest.mark.root

PINNACE = str(Path(sys.executable).with_name("pinnace"))
RANDOM = random.Random(230)
BASE = gzip.compress(busybox_layer(images.BUSYBOX), 1, mtime=0)
LAYERS = [
    gzip.compress(tar_of(*[file(f"l{n}/{m}", RANDOM.randbytes(60_000)) for m in range(6)]), 1)
    for n in range(6)
]
DEADLINE_S = 60


@pytest.fixture(scope="module")
def root():
    place = Path(tempfile.mkdtemp(prefix="pnt-pull-", dir="/var/tmp"))
    try:
        yield place
    finally:
        unmount_below(place)
        remove_root(place)


@pytest.fixture(scope="module")
def server(root):
    with registry.start(root / "registry") as running:
        running.put_image("team/app", "1", layers=[BASE, *LAYERS], config={"Cmd": ["ls", "/l5"]})
        running.put_image("team/app", "2", layers=[BASE], config={"Cmd": ["true"]})
        yield running


@pytest.fixture(scope="module")
def engine(root, server):
    with pinnaced.start(root / "p", bridge="pnt23", subnet="10.224.0.1/24") as running:
        yield running


@pytest.fixture
def proxy(server):
    with BadProxy(server.address) as made:
        yield made


def pull(engine, name, tag="1", **query):
    """Return the messages of a pull; an error is the last one."""
    query = {"fromImage": name, "tag": tag, **query}
    answer = engine.request("POST", "/images/create", query=query)
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines()]


def tags(engine):
    found = engine.request("GET", "/images/json", query={"all": "1"}).json()
    return [tag for image in found for tag in image["RepoTags"]]


def remove_all(engine):
    for image in engine.request("GET", "/images/json", query={"all": "1"}).json():
        engine.request("DELETE", f"/images/{image['Id']}", query={"force": "1"})


def held(engine):
    """Return everything below the data root that belongs to images."""
    data = engine.root / "data"
    places = ("layers", "staged", "tmp", "l")
    found = [one for name in places for one in (data / "overlay2" / name).iterdir()]
    found += (data / "content/blobs/sha256").iterdir()
    return [*found, *(data / "content/incoming").iterdir()]


def until(condition):
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)
    return found


def test_a_daemon_killed_anywhere_in_a_pull_loses_and_shows_nothing_half(engine, proxy):
    name = f"{proxy.address}/team/app"
    remove_all(engine)
    proxy.fail(Slow(piece=16_384, every_s=0.003), path="/blobs/", times=-1)
    steps = [0, 1, 2, 3, *range(4, 68, 4)]
    assert len(steps) == 20
    for step in steps:
        messages = read_messages(engine, f"{name}:1", step)
        engine.kill()
        engine.launch()
        if "Status" in json.dumps(messages[-1:]):
            check_runs(engine, f"{name}:1")
            remove_all(engine)
        assert tags(engine) in ([], [f"{name}:1"])
    proxy.heal()
    remove_all(engine)
    pull(engine, name)
    check_runs(engine, f"{name}:1")
    remove_all(engine)
    assert engine.request("POST", "/images/prune").status == 200
    assert held(engine) == []


def read_messages(engine, name, count):
    """Read so many messages of a pull and leave the connection open until the daemon dies."""
    connection = UnixConnection(engine.socket, 60)
    connection.request("POST", f"/images/create?fromImage={name}")
    found = []
    with contextlib.suppress(OSError, http.client.HTTPException):
        answer = connection.getresponse() if count else None
        while len(found) < count and (line := answer.readline()):
            found.append(json.loads(line))
    return found


def check_runs(engine, name):
    done = engine.cli("run", "--rm", "--network", "none", name)
    assert done.stdout.split() == b"0 1 2 3 4 5".split(), done.stderr


def test_a_restart_goes_on_with_what_a_killed_daemon_had(engine, proxy):
    name = f"{proxy.address}/team/app"
    remove_all(engine)
    engine.request("POST", "/images/prune")
    last = "/blobs/sha256:"
    proxy.fail(Silence(after=100_000), path=last, skip=3, times=-1)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(read_messages, engine, f"{name}:1", 1000)
        until(lambda: len(staged(engine)) == 2)
        until(lambda: sum(partial.stat().st_size for partial in partials(engine)) >= 300_000)
        engine.kill()
    sizes = {path.stem: path.stat().st_size for path in partials(engine)}
    proxy.heal()
    proxy.requests.clear()
    engine.launch()
    assert len(staged(engine)) == 2
    pull(engine, name)
    check_runs(engine, f"{name}:1")
    ranges = {
        seen.path.rpartition(":")[2]: seen.headers.get("Range")
        for seen in proxy.requests
        if "/blobs/" in seen.path
    }
    for digest, size in sizes.items():
        assert ranges[digest] == (f"bytes={size}-" if size else None)
    assert len(ranges) == 1 + 5  # the config, and the layers that were not staged


def staged(engine):
    return list((engine.root / "data/overlay2/staged").iterdir())


def partials(engine):
    return list((engine.root / "data/content/incoming").glob("*.partial"))


def test_a_download_ends_with_its_last_client_and_not_before(engine, proxy):
    name = f"{proxy.address}/team/app"
    remove_all(engine)
    engine.request("POST", "/images/prune")
    proxy.fail(Silence(after=1000), path="/blobs/", skip=1, times=3)
    clients = [UnixConnection(engine.socket, DEADLINE_S) for _ in range(2)]
    for client in clients:
        client.request("POST", f"/images/create?fromImage={name}&tag=1")
        client.getresponse().readline()
    until(lambda: proxy.count("GET", "/blobs/") == 4)
    clients[0].close()
    assert engine.request("GET", "/_ping").status == 200
    clients[1].close()
    until(lambda: not uses(engine, proxy))
    assert pull(engine, name)[-1]["status"].startswith("Status: Downloaded newer image")


def uses(engine, proxy):
    """Return the connections of the daemon to the proxy."""
    port = proxy.address.rpartition(":")[2]
    done = subprocess.run(
        ["ss", "-Htnp", "state", "established", "dport", "=", f":{port}"],
        capture_output=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if f"pid={engine.pid},".encode() in line]


def test_eight_clients_of_every_kind_fetch_each_blob_once(engine, server):
    name = f"{server.address}/team/app:1"
    remove_all(engine)
    engine.request("POST", "/images/prune")
    server.forget_requests()
    api = docker.APIClient(base_url=engine.host, timeout=DEADLINE_S)
    ways = [
        *[lambda: engine.cli("pull", name)] * 4,
        *[lambda: engine.cli("pull", name, program=PINNACE)] * 2,
        lambda: api.pull(name),
        lambda: pull(engine, *name.rsplit(":", 1)),
    ]
    with contextlib.closing(api), concurrent.futures.ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(way) for way in ways]:
            result = done.result(DEADLINE_S)
            if isinstance(result, subprocess.CompletedProcess):
                assert result.returncode == 0, result.stderr
    check_runs(engine, name)
    fetched = [one.path for one in server.requests() if "/blobs/" in one.path]
    assert len(fetched) == len(set(fetched)) == 8


def test_our_command_line_shows_what_a_pull_does(engine, server):
    name = f"{server.address}/team/app"
    remove_all(engine)
    done = engine.cli("pull", f"{name}:2", program=PINNACE)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert any("Pull complete" in line for line in lines)
    assert lines[-2] == f"Status: Downloaded newer image for {name}:2"
    assert lines[-1] == f"{name}:2"
    done = engine.cli("pull", "--quiet", f"{name}:2", program=PINNACE)
    assert done.stdout.decode().split() == [f"{name}:2"]
    done = engine.cli("pull", f"{name}:nope", program=PINNACE)
    assert done.returncode == 1
    assert b"manifest unknown" in done.stderr


def test_an_image_that_is_missing_is_pulled_by_run(engine, server):
    remove_all(engine)
    name = f"{server.address}/team/app:2"
    for program in ("docker", PINNACE):
        done = engine.cli("run", "--rm", "--network", "none", name, program=program)
        assert done.returncode == 0, done.stderr
        remove_all(engine)


def test_disk_usage_and_prune_tell_the_truth_about_blobs(engine, server, proxy):
    remove_all(engine)
    engine.request("POST", "/images/prune")
    name = f"{server.address}/team/app"
    pull(engine, name)
    (image,) = engine.request("GET", "/v1.44/images/json").json()
    blobs = len(BASE) + sum(map(len, LAYERS))
    usage = engine.request("GET", "/v1.44/system/df").json()
    assert usage["LayersSize"] == image["Size"] + blobs
    broken = f"{proxy.address}/team/app"
    proxy.fail(Silence(after=50_000), path="/blobs/", skip=1, times=-1)
    remove_all(engine)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        client = UnixConnection(engine.socket, DEADLINE_S)
        client.request("POST", f"/images/create?fromImage={broken}&tag=1")
        reading = pool.submit(lambda: client.getresponse().readline())
        until(lambda: sum(path.stat().st_size for path in partials(engine)) >= 100_000)
        reading.result(DEADLINE_S)
        client.close()
    until(lambda: not uses(engine, proxy))
    left = sum(path.stat().st_size for path in partials(engine))
    usage = engine.request("GET", "/v1.44/system/df").json()
    assert usage["LayersSize"] == left
    pruned = engine.request("POST", "/images/prune").json()
    assert pruned["SpaceReclaimed"] == left
    assert held(engine) == []


def test_pulls_read_and_fail_as_dockerds(engine, server, root):
    name = f"{server.address}/team/app"
    remove_all(engine)
    calls = [
        {"tag": "1"},
        {"tag": "1"},
        {"tag": "2"},
        {"tag": "nope"},
        {"tag": "b:d"},
        {"fromImage": f"{server.address}/team/none", "tag": "1"},
        {"fromImage": "team/UPPER", "tag": "1"},
        {"tag": "1", "platform": "linux/amd64"},
        {},
    ]
    with dockerd.start(root / "d", bridge=None) as moby:
        for call in calls:
            query = {"fromImage": name, **call}
            assert told(engine, query) == told(moby, query), call
        assert events(engine) == events(moby)


def told(engine, query):
    """Return the status and what was said, without progress and the order of parallel work."""
    answer = engine.request("POST", "/images/create", query=query)
    if answer.status != 200:
        message = answer.json()["message"]
        return answer.status, re.sub(r"\([^)]*/[^)]*\) ", "", message)
    messages = [json.loads(line) for line in answer.body.splitlines()]
    moving = ("Downloading", "Extracting", "Waiting", "Verifying Checksum")
    said = [
        (message.get("status"), message.get("id"), message.get("error"))
        for message in messages
        if message.get("status") not in moving
    ]
    return answer.status, sorted(said, key=str)


def events(engine):
    query = {"since": "0", "until": str(time.time()), "filters": '{"event":["pull"]}'}
    lines = engine.request("GET", "/v1.41/events", query=query).body.splitlines()
    found = [json.loads(line) for line in lines]
    return [(one["Type"], one["Action"], one["Actor"]) for one in found][-5:]
