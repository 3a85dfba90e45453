"""The API as clients of each age speak it, on the wire of a running engine."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import tempfile
from pathlib import Path

import pytest
from tests.support import images, pinnaced
from tests.support.engine import remove_root

pytestmark = pytest.mark.root
VERSIONS = "1.0 1.1 1.2 1.12 1.15 1.18 1.22 1.24 1.30 1.41 1.44 1.56".split()
JSON = {"Content-Type": "application/json"}
DEADLINE_S = 60


@pytest.fixture(scope="module")
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def engine(port):
    root = Path(tempfile.mkdtemp(prefix="pnt-old-", dir="/var/tmp"))
    listen = (f"--host=tcp://127.0.0.1:{port}",)
    try:
        with pinnaced.start(
            root, bridge="pnt6o", subnet="10.220.2.1/24", arguments=listen
        ) as running:
            running.load(images.busybox_archive())
            yield running
    finally:
        remove_root(root)


@pytest.fixture(autouse=True)
def _containers_are_removed(engine):
    yield
    for one in engine.request("GET", "/containers/json", query={"all": "1"}).json():
        engine.request("DELETE", f"/containers/{one['Id']}", query={"force": "1"})


def parts(version):
    return tuple(map(int, version.split(".")))


def create(engine, version, *command, **settings):
    body = {"Image": "busybox", "Cmd": command, **settings}
    answer = engine.request("POST", f"/v{version}/containers/create", body)
    assert answer.status == 201, answer.body
    return answer.json()["Id"]


def ask(engine, version, method, path, *status, body=None):
    answer = engine.request(method, f"/v{version}{path}", body)
    assert answer.status in status, answer.body
    return answer


def framed(data):
    """Split multiplexed output into [(stream, bytes)]."""
    found = []
    while data:
        size = int.from_bytes(data[4:8])
        found.append((data[0], data[8 : 8 + size]))
        data = data[8 + size :]
    return found


def tcp(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, JSON if sent else {})
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_container_lives_in_the_form_of_each_version(engine, version):
    age = parts(version)
    id_ = create(engine, version, "sh", "-c", "echo out; echo err >&2; exit 3")
    ask(engine, version, "POST", f"/containers/{id_}/start", 204)
    waited = ask(engine, version, "POST", f"/containers/{id_}/wait", 200).json()
    assert waited["StatusCode"] == 3
    seen = ask(engine, version, "GET", f"/containers/{id_}/json", 200).json()
    assert seen["ID" if age < (1, 12) else "Id"].startswith(id_)
    assert seen["State"]["ExitCode"] == 3
    assert seen["State"]["Running"] is False
    entries = ask(engine, version, "GET", "/containers/json?all=1", 200).json()
    (entry,) = [one for one in entries if one["Id"].startswith(id_)]
    assert entry["Status"].startswith("Exit")
    assert isinstance(entry["Ports"], str if age < (1, 5) else list)
    assert ("State" in entry) == (age >= (1, 23))
    ask(engine, version, "DELETE", f"/containers/{id_}", 204)
    ask(engine, version, "GET", f"/containers/{id_}/json", 404)


@pytest.mark.parametrize("version", VERSIONS)
def test_output_is_read_in_the_form_of_each_version(engine, version):
    id_ = create(
        engine, version, "sh", "-c", "echo out; echo err >&2", AttachStdout=True, AttachStderr=True
    )
    ask(engine, version, "POST", f"/containers/{id_}/start", 204)
    ask(engine, version, "POST", f"/containers/{id_}/wait", 200)
    query = "logs=1&stdout=1&stderr=1"
    attached = ask(engine, version, "POST", f"/containers/{id_}/attach?{query}", 200).body
    if parts(version) < (1, 6):
        assert sorted(attached.splitlines()) == [b"err", b"out"]
        return
    assert sorted(framed(attached)) == [(1, b"out\n"), (2, b"err\n")]
    logs = ask(engine, version, "GET", f"/containers/{id_}/logs?stdout=1&stderr=1", 200)
    assert sorted(framed(logs.body)) == [(1, b"out\n"), (2, b"err\n")]


@pytest.mark.parametrize("version", [one for one in VERSIONS if (1, 3) <= parts(one) < (1, 24)])
def test_host_settings_may_come_with_the_start(engine, version, tmp_path):
    (tmp_path / "file").write_text("bound")
    id_ = create(engine, version, "cat", "/b/file")
    body = {"Binds": [f"{tmp_path}:/b"]}
    ask(engine, version, "POST", f"/containers/{id_}/start", 204, body=body)
    waited = ask(engine, version, "POST", f"/containers/{id_}/wait", 200).json()
    assert waited["StatusCode"] == 0


@pytest.mark.parametrize("version", ["1.24", "1.41", "1.56"])
def test_host_settings_with_the_start_are_refused_from_1_24(engine, version):
    id_ = create(engine, version, "true")
    answer = ask(
        engine, version, "POST", f"/containers/{id_}/start", 400, body={"Binds": ["/tmp:/b"]}
    )
    assert "message" in answer.json()


@pytest.mark.parametrize("version", VERSIONS)
def test_keys_match_whatever_their_case(engine, version):
    answer = engine.request(
        "POST",
        f"/v{version}/containers/create",
        {"image": "busybox", "CMD": ["sh", "-c", "exit 4"]},
    )
    assert answer.status == 201, answer.body
    id_ = answer.json()["Id"]
    ask(engine, version, "POST", f"/containers/{id_}/start", 204)
    waited = ask(engine, version, "POST", f"/containers/{id_}/wait", 200).json()
    assert waited["StatusCode"] == 4


@pytest.mark.parametrize("version", VERSIONS)
def test_errors_are_text_before_1_24_and_json_from_then_on(engine, version):
    answer = ask(engine, version, "GET", "/containers/nothing/json", 404)
    if parts(version) >= (1, 24):
        assert answer.json() == {"message": "No such container: nothing"}
    else:
        assert b"nothing" in answer.body.lower() or answer.body == b""
        assert not answer.body.startswith(b"{")


@pytest.mark.parametrize("version", ["1.57", "1.999", "2.0", "0.9"])
def test_a_version_out_of_range_is_refused(engine, version):
    answer = ask(engine, version, "GET", "/version", 400)
    # Too old a client gets a text, as one that knows no JSON errors.
    assert version.encode() in answer.body


@pytest.mark.parametrize("prefix", ["/vlatest", "/v1.x", "/v1.2.3", "/v"])
def test_what_is_no_version_is_an_unknown_path(engine, prefix):
    assert engine.request("GET", f"{prefix}/version").status == 404


def test_bare_paths_are_the_newest_version_on_unix_and_1_2_on_tcp(engine, port):
    id_ = create(engine, "1.41", "true")
    assert "Id" in engine.request("GET", f"/containers/{id_}/json").json()
    status, body = tcp(port, "GET", f"/containers/{id_}/json")
    assert (status, "ID" in json.loads(body)) == (200, True)
    assert tcp(port, "GET", "/v1.41/_ping") == (200, b"OK")


def test_a_client_of_2013_runs_a_container_over_tcp(engine, port):
    body = {"Image": "busybox", "Cmd": ["sh", "-c", "exit 6"]}
    status, made = tcp(port, "POST", "/containers/create", body)
    assert status == 201
    id_ = json.loads(made)["Id"]
    assert tcp(port, "POST", f"/containers/{id_}/start") == (204, b"")
    assert json.loads(tcp(port, "POST", f"/containers/{id_}/wait")[1]) == {"StatusCode": 6}
    (entry,) = json.loads(tcp(port, "GET", "/containers/ps?all=1")[1])
    assert id_.startswith(entry["Id"]) or entry["Id"].startswith(id_)
    assert tcp(port, "DELETE", f"/containers/{id_}")[0] == 204
