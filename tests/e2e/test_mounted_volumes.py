"""Volumes of the local driver that are mounts: tmpfs and devices."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from tests.support import pinnaced
from tests.support.engine import remove_root
from tests.support.images import busybox_archive

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def engine():
    root = Path(tempfile.mkdtemp(prefix="pntv", dir="/var/tmp"))
    with pinnaced.start(root, bridge="pnt21", subnet="10.221.0.1/24") as made:
        made.load(busybox_archive())
        yield made
    remove_root(root)


def cli(engine, *arguments: str) -> str:
    done = engine.cli(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def create(engine, name: str, **options: str) -> Path:
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    cli(engine, "volume", "create", *words, name)
    return Path(cli(engine, "volume", "inspect", "-f", "{{.Mountpoint}}", name))


def until(condition) -> None:
    """Wait for what happens in the background."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_tmpfs_lasts_from_the_first_container_to_the_last(engine):
    place = create(engine, "fast", type="tmpfs", device="tmpfs", o="size=2m,mode=0750,nosuid")
    assert not place.is_mount()
    first = cli(engine, "run", "-d", "-v", "fast:/v", "busybox", "sleep", "1000")
    cli(engine, "exec", first, "sh", "-c", "echo kept > /v/file")
    line = cli(engine, "exec", first, "grep", " /v ", "/proc/mounts")
    assert line.startswith("tmpfs /v tmpfs rw,nosuid")
    assert "size=2048k" in line
    assert cli(engine, "run", "--rm", "-v", "fast:/w", "busybox", "cat", "/w/file") == "kept"
    assert place.is_mount()
    cli(engine, "rm", "-f", first)
    until(lambda: not place.is_mount())
    assert cli(engine, "run", "--rm", "-v", "fast:/w", "busybox", "ls", "/w") == ""
    until(lambda: not place.is_mount())
    cli(engine, "volume", "rm", "fast")


def test_it_survives_the_daemon_and_goes_with_the_container_that_died_meanwhile(engine):
    place = create(engine, "kept", type="tmpfs", device="tmpfs")
    one = cli(engine, "run", "-d", "-v", "kept:/v", "busybox", "sleep", "1000")
    other = cli(engine, "run", "-d", "-v", "kept:/v", "busybox", "sleep", "1000")
    cli(engine, "exec", one, "touch", "/v/file")
    engine.kill()
    engine.launch()
    cli(engine, "rm", "-f", one)
    third = cli(engine, "run", "--rm", "-v", "kept:/v", "busybox", "ls", "/v")
    assert third == "file"
    pid = cli(engine, "inspect", "-f", "{{.State.Pid}}", other)
    engine.kill()
    subprocess.run(["kill", "-9", pid], check=True)
    engine.launch()
    until(lambda: not place.is_mount())
    cli(engine, "rm", "-f", other)
    cli(engine, "volume", "rm", "kept")


def test_a_device_is_mounted_and_its_data_stay_when_the_volume_goes(engine):
    image = engine.root / "disk.ext4"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", str(image)], check=True)
    loop = subprocess.run(
        ["/sbin/losetup", "--find", "--show", str(image)], check=True, capture_output=True
    ).stdout.decode().strip()  # fmt: skip
    try:
        for script in ("echo there > /v/file", "grep -q there /v/file"):
            create(engine, "disk", type="ext4", device=loop)
            cli(engine, "run", "--rm", "-v", "disk:/v", "busybox", "sh", "-c", script)
            cli(engine, "volume", "rm", "disk")
    finally:
        subprocess.run(["/sbin/losetup", "--detach", loop], check=True)


def test_what_the_kernel_refuses_is_told_and_nothing_is_left(engine):
    place = create(engine, "bad", type="nosuchfs", device="none", o="addr=192.0.2.1")
    done = engine.cli("run", "--rm", "-v", "bad:/v", "busybox", "true")
    assert done.returncode == 125
    said = done.stderr.decode()
    assert f"failed to mount local volume: mount none:{place}, data: addr=192.0.2.1" in said
    assert "no such device" in said
    cli(engine, "volume", "rm", "bad")
    for options, missing in (({"type": "tmpfs"}, "device"), ({"device": "tmpfs"}, "type")):
        answer = engine.request(
            "POST", "/volumes/create", {"Name": "no-such", "DriverOpts": options}
        )
        assert answer.status == 400
        assert f'missing required option: "{missing}"' in answer.json()["message"]
