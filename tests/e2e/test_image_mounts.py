"""`--mount type=image`: another image's files in a container, read-only."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import pytest
from tests.support import pinnaced
from tests.support.engine import remove_root
from tests.support.images import busybox_archive

pytestmark = pytest.mark.root

CONFIG = {"Image": "busybox", "Cmd": ["sleep", "1000"]}


@pytest.fixture(scope="module")
def engine():
    root = Path(tempfile.mkdtemp(prefix="pnti", dir="/var/tmp"))
    with pinnaced.start(root, bridge="pnt21", subnet="10.221.0.1/24") as made:
        made.load(busybox_archive())
        yield made
    remove_root(root)


def cli(engine, *arguments: str) -> str:
    done = engine.cli(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def snapshots(engine) -> set[str]:
    return {path.name for path in (engine.root / "data/overlay2/snapshots").iterdir()}


def until(condition) -> None:
    """Wait for what happens in the background."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_container_sees_the_image_as_it_is_and_cannot_change_it(engine):
    mount = "type=image,source=busybox,target=/image"
    script = "ls /image; echo x > /image/new || echo refused"
    shown = cli(engine, "run", "--rm", "--mount", mount, "busybox", "sh", "-c", script).split()
    assert {"bin", "etc"} <= set(shown)
    assert "refused" in shown
    until(lambda: not any("image-" in name for name in snapshots(engine)))


def test_a_directory_and_a_file_of_the_image_can_be_chosen(engine):
    mounts = [
        "type=image,source=busybox,target=/programs,image-subpath=bin",
        "type=image,source=busybox,target=/users,image-subpath=etc/passwd",
    ]
    words = [word for mount in mounts for word in ("--mount", mount)]
    script = "test -x /programs/busybox && head -n 1 /users"
    shown = cli(engine, "run", "--rm", *words, "busybox", "sh", "-c", script)
    assert shown.startswith("root:")
    done = engine.cli("run", "--rm", "--mount", mounts[0] + "/absent", "busybox", "true")
    assert done.returncode == 125
    assert b"bin/absent" in done.stderr


def test_an_unknown_image_is_refused_before_anything_is_made(engine):
    body = {
        **CONFIG,
        "HostConfig": {"Mounts": [{"Type": "image", "Source": "nobody/has", "Target": "/i"}]},
    }
    answer = engine.request("POST", "/containers/create", body)
    assert answer.status == 400
    assert "nobody/has" in answer.json()["message"]
    assert "No such image" in answer.json()["message"]


def test_the_image_is_in_use_and_survives_the_daemon_but_not_the_container(engine):
    cli(engine, "tag", "busybox", "other:1")
    name = cli(engine, "run", "-d", "--mount", "type=image,source=other:1,target=/i", "busybox",
               "sleep", "1000").strip()  # fmt: skip
    shown = json.loads(cli(engine, "inspect", name))[0]
    [mount] = shown["Mounts"]
    assert (mount["Type"], mount["Name"], mount["RW"]) == ("image", "other:1", False)
    [key] = [each for each in snapshots(engine) if "image-" in each]
    engine.kill()
    engine.launch()
    assert key in snapshots(engine)
    assert "busybox" in cli(engine, "exec", name, "ls", "/i/bin")
    cli(engine, "restart", "-t", "0", name)
    assert "busybox" in cli(engine, "exec", name, "ls", "/i/bin")
    image = shown["Image"]
    refused = engine.request("DELETE", f"/images/{image}")
    assert refused.status == 409
    cli(engine, "rm", "-f", name)
    until(lambda: key not in snapshots(engine))


def test_what_a_crash_leaves_is_swept(engine):
    name = cli(engine, "run", "-d", "--mount", "type=image,source=busybox,target=/i", "busybox",
               "sleep", "1000").strip()  # fmt: skip
    engine.kill()
    leftover = engine.root / "data/overlay2/snapshots" / f"{'0' * 64}-image-0"
    leftover.mkdir()
    engine.launch()
    assert not leftover.exists()
    assert "busybox" in cli(engine, "exec", name, "ls", "/i/bin")
    cli(engine, "rm", "-f", name)
