"""Builds by real clients: large contexts, parallel stages, cancelling, crashes, caches."""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import subprocess
import tarfile
import threading
import time
from pathlib import Path

import docker
import pytest
from tests.support import pinnaced
from tests.support.images import busybox_archive

pytestmark = pytest.mark.root

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with pinnaced.start(
        tmp_path_factory.mktemp("b"), bridge="pnt26", subnet="10.227.0.1/24"
    ) as started:
        started.load(busybox_archive())
        yield started


def context_of(files: dict[str, bytes]) -> bytes:
    """Return the tar of a context."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def request(
    engine, files: dict[str, bytes], query: str = "", *, version: str = "1.41"
) -> http.client.HTTPConnection:
    """Send a build and return the connection, the answer not yet read."""
    connection = http.client.HTTPConnection("engine", timeout=DEADLINE_S)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(DEADLINE_S)
    connection.sock.connect(str(engine.socket))
    headers = {"Content-Type": "application/x-tar"}
    connection.request(
        "POST", f"/v{version}/build?{query}", body=context_of(files), headers=headers
    )
    return connection


def build(engine, files: dict[str, bytes], query: str = "") -> list[dict[str, object]]:
    """Build and return the messages."""
    connection = request(engine, files, query)
    try:
        response = connection.getresponse()
        assert response.status == 200, response.read()
        return [json.loads(line) for line in response.read().splitlines() if line]
    finally:
        connection.close()


def text_of(messages: list[dict[str, object]]) -> str:
    return "".join(str(message.get("stream", message.get("error", ""))) for message in messages)


def image_of(messages: list[dict[str, object]]) -> str:
    found = [message["aux"]["ID"] for message in messages if "aux" in message]
    assert found, text_of(messages)
    return found[-1]


def until(done, what: str) -> None:
    """Wait for a condition."""
    end = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < end, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.02)


def containers(engine) -> list[dict[str, object]]:
    return engine.request("GET", "/containers/json?all=1").json()


def left_of_builds(engine) -> list[str]:
    """Return what a build that is over must not leave."""
    data, volatile = engine.root / "data", engine.root / "exec"
    places = [data / "builds" / "contexts", volatile / "builds"]
    found = [str(path) for place in places for path in place.iterdir()]
    snapshots = data / "overlay2" / "snapshots"
    found += [path.name for path in snapshots.iterdir() if not path.name[:1].isdigit()]
    return [name for name in found if "/step-" in name or "build" in name or "mount-" in name]


def test_a_step_that_was_done_is_not_done_again(engine):
    files = {"Dockerfile": b"FROM busybox\nRUN date +%N > /when\nCOPY f /f\n", "f": b"one"}
    first, second = build(engine, files), build(engine, files)
    assert image_of(first) == image_of(second)
    assert text_of(second).count("Using cache") == 2
    changed = build(engine, {**files, "f": b"two"})
    assert text_of(changed).count("Using cache") == 1
    assert image_of(build(engine, files, "nocache=1")) != image_of(first)


def test_what_a_command_wrote_becomes_the_layer_without_being_copied(engine):
    files = {"Dockerfile": b"FROM busybox\nRUN echo made > /made && ls -i /made\n"}
    messages = build(engine, files, "nocache=1&rm=1")
    image = engine.request("GET", f"/images/{image_of(messages)}/json").json()
    made = Path(image["GraphDriver"]["Data"]["UpperDir"], "made")
    assert made.read_bytes() == b"made\n"
    assert f"{made.stat().st_ino} /made" in text_of(messages)
    assert not left_of_builds(engine)


def test_files_that_somebody_has_mounted_are_copied_into_the_layer(engine, tmp_path):
    files = {
        "Dockerfile": b"FROM busybox\nRUN echo made > /made && ls -i /made && "
        b"while ! test -e /seen; do sleep 0.1; done\n"
    }
    connection = request(engine, files, "nocache=1&rm=1")
    uppers, view = engine.root / "data" / "overlay2" / "snapshots", tmp_path / "view"
    view.mkdir()
    until(lambda: list(uppers.glob("*/upper/made")), "the command runs")
    (made,) = uppers.glob("*/upper/made")
    (pid_file,) = (engine.root / "exec" / "bundles").glob("*/pid")
    subprocess.run(["mount", "--bind", str(made.parent), str(view)], check=True)
    try:
        Path(f"/proc/{pid_file.read_text()}/root/seen").touch()
        messages = [json.loads(line) for line in connection.getresponse().read().splitlines()]
        image = engine.request("GET", f"/images/{image_of(messages)}/json").json()
        made = Path(image["GraphDriver"]["Data"]["UpperDir"], "made")
        assert made.read_bytes() == b"made\n"
        assert f"{made.stat().st_ino} /made" not in text_of(messages)
    finally:
        connection.close()
        subprocess.run(["umount", str(view)], check=True)
    assert not left_of_builds(engine)


def test_a_container_that_stays_keeps_the_files_that_became_a_layer(engine):
    files = {"Dockerfile": b"FROM busybox\nRUN test ! -e /made && touch /made\n"}
    image = image_of(build(engine, files, "nocache=1&rm=0"))
    (container,) = containers(engine)
    path = f"/containers/{container['Id']}"
    try:
        changes = engine.request("GET", f"{path}/changes").json()
        assert changes == [{"Path": "/made", "Kind": 1}]
        engine.request("POST", f"{path}/start")
        ended = engine.request("POST", f"{path}/wait?condition=not-running").json()
        assert ended["StatusCode"] == 1
    finally:
        engine.request("DELETE", f"{path}?force=1")
    again = {"Dockerfile": f"FROM {image}\nRUN test -e /made\n".encode()}
    image_of(build(engine, again, "nocache=1"))


def test_a_context_of_one_small_file_is_taken_in_and_then_cached(engine, tmp_path):
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nCOPY Dockerfile /\nRUN test -s /Dockerfile\n"
    )
    first, second = (engine.cli("build", "-q", str(tmp_path)).stdout for _ in range(2))
    assert first.startswith(b"sha256:")
    assert second == first


def test_a_context_of_twenty_thousand_files_is_taken_in_and_then_cached(engine, tmp_path):
    for directory in range(40):
        (tmp_path / f"d{directory}").mkdir()
    for number in range(20_000):
        (tmp_path / f"d{number // 500}/f{number}").write_bytes(b"%d\n" % number)
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nCOPY d39 d7/f39* /some/\n"
        "RUN test $(find /some -type f | wc -l) = 600 && grep -qx 19999 /some/f19999\n"
    )
    forget_peak(engine)
    before = peak_bytes(engine)
    first = engine.cli("build", "-t", "many", str(tmp_path))
    assert b"Successfully tagged many:latest" in first.stdout, first
    second = engine.cli("build", "-t", "many", str(tmp_path))
    assert second.stdout.count(b"Using cache") == 2, second
    assert peak_bytes(engine) - before < 64 << 20
    assert left_of_builds(engine) == []


def test_a_context_of_one_file_of_a_gigabyte_is_taken_in_and_then_cached(engine, tmp_path):
    size = 1 << 30
    with (tmp_path / "big").open("wb") as big:  # sparse here; every byte goes over the wire
        big.write(b"first")
        big.seek(size - 4)
        big.write(b"last")
    (tmp_path / "Dockerfile").write_text(
        f"FROM busybox\nCOPY big /big\nRUN test $(stat -c %s /big) = {size}"
        " && test $(head -c 5 /big) = first && test $(tail -c 4 /big) = last\n"
    )
    forget_peak(engine)
    before = peak_bytes(engine)
    first = engine.cli("build", "--no-cache", "-t", "large", str(tmp_path))
    assert b"Successfully tagged large:latest" in first.stdout, first
    second = engine.cli("build", "-t", "large", str(tmp_path))
    assert second.stdout.count(b"Using cache") == 2, second
    assert peak_bytes(engine) - before < 64 << 20
    assert left_of_builds(engine) == []
    engine.cli("rmi", "large")


def forget_peak(engine) -> None:
    """Let the daemon's peak be what it has now (proc(5), clear_refs)."""
    Path(f"/proc/{engine.pid}/clear_refs").write_text("5")


def peak_bytes(engine) -> int:
    """Return the most memory that the daemon has had."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{engine.pid}/status").read_text())
    return int(line) << 10


def test_stages_that_need_nothing_of_each_other_run_at_the_same_time(engine):
    # Each waits for a sign of the other, which they give through a cache mount.
    mount = "--mount=type=cache,target=/meet"
    wait = "for i in $(seq 600); do test -e /meet/{other} && exit 0; sleep 0.1; done; exit 1"
    stages = [
        f"FROM busybox AS {one}\nRUN {mount} touch /meet/{one} && {wait.format(other=other)}\n"
        f"RUN echo {one} > /{one}\n"
        for one, other in (("left", "right"), ("right", "left"))
    ]
    end = "FROM scratch\nCOPY --from=left /left /\nCOPY --from=right /right /\n"
    messages = build(engine, {"Dockerfile": "".join([*stages, end]).encode()}, "nocache=1")
    text = text_of(messages)
    assert "Successfully built" in text
    steps = [line.split()[1] for line in text.splitlines() if line.startswith("Step ")]
    assert steps == [f"{number}/9" for number in range(1, 10)]
    engine.request("POST", "/build/prune?all=1")


def test_a_stage_that_nothing_needs_is_left_out(engine):
    text = text_of(
        build(engine, {"Dockerfile": b"FROM busybox AS no\nRUN exit 7\nFROM busybox\nENV a=b\n"})
    )
    assert "Successfully built" in text
    assert "exit 7" not in text


def test_a_failing_command_tells_its_code_and_its_container_stays_unless_forced(engine):
    files = {"Dockerfile": b"FROM busybox\nRUN echo before; exit 42\n"}
    last = build(engine, files, "forcerm=1")[-1]
    wanted = "The command '/bin/sh -c echo before; exit 42' returned a non-zero code: 42"
    assert last == {"errorDetail": {"code": 42, "message": wanted}, "error": wanted}
    assert containers(engine) == []
    build(engine, files)
    assert [one["State"] for one in containers(engine)] == ["exited"]
    engine.request("DELETE", f"/containers/{containers(engine)[0]['Id']}")


def test_a_client_that_leaves_ends_the_running_step_and_nothing_remains(engine):
    connection = request(engine, {"Dockerfile": b"FROM busybox\nRUN echo on; sleep 600\n"})
    response = connection.getresponse()
    seen = b""
    while b'"on\\n"' not in seen:
        seen += response.read1(4096)
    assert len(containers(engine)) == 1
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    response.close()
    until(lambda: not containers(engine), "the step's container is removed")
    until(lambda: not left_of_builds(engine), "nothing of the build is left")


def test_a_killed_daemon_leaves_nothing_of_a_build_and_keeps_its_cache(engine):
    head = b"FROM busybox\nRUN date +%N > /kept\n"
    kept = image_of(build(engine, {"Dockerfile": head}))
    connection = request(engine, {"Dockerfile": head + b"RUN echo on; sleep 600\n"})
    response = connection.getresponse()
    seen = b""
    while b'"on\\n"' not in seen:
        seen += response.read1(4096)
    engine.kill()
    connection.close()
    engine.launch()
    assert containers(engine) == []
    assert left_of_builds(engine) == []
    again = build(engine, {"Dockerfile": head})
    assert image_of(again) == kept
    assert "Using cache" in text_of(again)


def test_cache_mounts_outlive_builds_and_are_pruned(engine):
    mount = b"RUN --mount=type=cache,target=/c,id=kept sh -c "
    build(engine, {"Dockerfile": b"FROM busybox\n" + mount + b"'echo x > /c/x'\n"})
    messages = build(engine, {"Dockerfile": b"FROM busybox\n" + mount + b"'cp /c/x /copied'\n"})
    image = image_of(messages)
    usage = engine.request("GET", "/v1.41/system/df").json()
    caches = [one for one in usage["BuildCache"] if one["Type"] == "exec.cachemount"]
    assert [(one["ID"], one["Size"], one["InUse"]) for one in caches] == [("kept", 2, False)]
    names = tar_names(engine, image)
    assert "copied" in names
    assert "c" not in names  # the mount point was not there before, and is not there now
    report = engine.request("POST", "/build/prune").json()
    assert report["SpaceReclaimed"] == 2
    assert report["CachesDeleted"] == ["kept"]


def tar_names(engine, image: str) -> set[str]:
    """Return the names of files in an image's topmost layer."""
    client = docker.DockerClient(base_url=f"unix://{engine.socket}")
    try:
        container = client.containers.create(image, ["x"])
        try:
            data = b"".join(container.export())
        finally:
            container.remove()
    finally:
        client.close()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {name.rstrip("/") for name in archive.getnames()}


def test_the_same_build_at_the_same_time_is_done_once(engine):
    files = {"Dockerfile": b"FROM busybox\nRUN sleep 1; date +%N > /once\n"}
    images: list[str] = []
    threads = [
        threading.Thread(target=lambda: images.append(image_of(build(engine, files))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(images) == 4
    assert len(set(images)) == 1


def test_a_build_can_be_repeated_to_the_byte(engine):
    files = {"Dockerfile": b"FROM busybox\nCOPY f /new/dir/f\nENV a=b\nWORKDIR /w\n", "f": b"x"}
    arguments = "nocache=1&buildargs=" + '{"SOURCE_DATE_EPOCH":"1700000000"}'
    first = image_of(build(engine, files, arguments))
    until(lambda: int(time.time()) % 2 == 0, "the clock goes on")
    assert image_of(build(engine, files, arguments)) == first
    config = engine.request("GET", f"/images/{first}/json").json()
    assert config["Created"] == "2023-11-14T22:13:20Z"


def test_docker_py_builds_and_raises(engine):
    client = docker.DockerClient(base_url=f"unix://{engine.socket}")
    try:
        image, log = client.images.build(
            fileobj=io.BytesIO(b"FROM busybox\nLABEL a=b\nRUN echo seen\n"),
            tag="py:1",
            rm=True,
            labels={"c": "d"},
        )
        assert image.tags == ["py:1"]
        assert image.labels == {"a": "b", "c": "d"}
        assert any("seen" in str(line.get("stream")) for line in log)
        with pytest.raises(docker.errors.BuildError, match="non-zero code: 3"):
            client.images.build(
                fileobj=io.BytesIO(b"FROM busybox\nRUN exit 3\n"), rm=True, forcerm=True
            )
    finally:
        client.close()


def test_bind_mounts_show_the_context_and_stages_and_writes_to_them_are_lost(engine):
    dockerfile = (
        b"FROM busybox AS one\nRUN echo one > /one\n"
        b"FROM busybox\n"
        b"RUN --mount=type=bind,target=/ctx,rw --mount=type=bind,from=one,target=/stage"
        b" cat /ctx/f /stage/one > /out && touch /ctx/new && ! touch /stage/new 2>/dev/null\n"
        b"RUN --mount=type=bind,source=f,target=/file test $(cat /file) = text"
        b" && test ! -e /ctx && test $(head -1 /out) = text && test $(tail -1 /out) = one\n"
    )
    text = text_of(build(engine, {"Dockerfile": dockerfile, "f": b"text\n"}))
    assert "Successfully built" in text, text
    until(lambda: not left_of_builds(engine), "nothing of the mounts is left")


def test_what_needs_buildkit_is_refused_clearly(engine):
    for query, words in (
        ("version=2", "BuildKit"),
        ("outputs=[{}]", "BuildKit"),
        ("squash=1", "squash"),
    ):
        connection = request(engine, {"Dockerfile": b"FROM busybox\n"}, query)
        response = connection.getresponse()
        assert response.status == 501
        assert words in response.read().decode()
        connection.close()
    for mount in (b"secret,id=x", b"ssh"):
        files = {"Dockerfile": b"FROM busybox\nRUN --mount=type=" + mount + b" true\n"}
        assert "session of BuildKit" in text_of(build(engine, files))
    assert containers(engine) == []
    assert left_of_builds(engine) == []


def test_images_pruned_in_the_middle_of_a_build_do_not_break_it(engine):
    dockerfile = (
        b"FROM busybox AS one\nRUN echo 1 > /one\n"
        b"FROM busybox\nCOPY --from=one /one /one\nRUN echo on; sleep 2\n"
        b"COPY --from=one /one /two\nRUN test $(cat /two) = 1\n"
    )
    connection = request(engine, {"Dockerfile": dockerfile}, "nocache=1")
    response = connection.getresponse()
    seen = b""
    while b'"on\\n"' not in seen:
        seen += response.read1(4096)
    engine.request("POST", "/images/prune")
    assert b"Successfully built" in response.read()
    connection.close()


@pytest.mark.parametrize(("version", "left"), [("1.11", 1), ("1.12", 0)])
def test_clients_older_than_1_12_find_the_containers_of_steps(engine, version, left):
    files = {"Dockerfile": b"FROM busybox\nRUN true\n"}
    connection = request(engine, files, "nocache=1", version=version)
    assert b"Successfully built" in connection.getresponse().read()
    connection.close()
    found = containers(engine)
    assert len(found) == left
    for one in found:
        engine.request("DELETE", f"/containers/{one['Id']}")


def test_a_daemon_that_is_told_to_stop_ends_running_steps_first(engine):
    connection = request(engine, {"Dockerfile": b"FROM busybox\nRUN echo on; sleep 600\n"})
    response = connection.getresponse()
    seen = b""
    while b'"on\\n"' not in seen:
        seen += response.read1(4096)
    assert engine.stop() == 0
    connection.close()
    assert left_of_builds(engine) == []
    assert list((engine.root / "data" / "containers").iterdir()) == []
    engine.launch()
    assert containers(engine) == []
