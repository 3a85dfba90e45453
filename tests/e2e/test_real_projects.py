"""Projects as people have them, built and run: web apps, a static binary, apt, no distribution.

The projects and what they start from are described in `projects/README.md`. Packages come from
the registries that this machine is set up for; without them these tests fail.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import pinnaced, projects
from tests.support.engine import remove_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.engine import Engine

# The first test of all waits for debootstrap and for the bases.
pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

DEADLINE_S = 60.0
QUICK_S = 5.0  # what stops by its signal; the grace period is 10 s
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
CONFIGS = json.loads((projects.PROJECTS / "configs.json").read_text())
# Project -> a file of it, what may stand at its end, and what a change of it has done again.
CHANGES = {
    "guestbook": (
        "guestbook/__init__.py",
        "# changed",
        "COPY ENV USER VOLUME EXPOSE HEALTHCHECK ENTRYPOINT CMD",
    ),
    "greeter": ("server.js", "// changed", "COPY USER EXPOSE STOPSIGNAL HEALTHCHECK CMD"),
    "clock": (
        "src/clock.c",
        '__attribute__((used)) static const char changed[] = "changed";',
        # Of the second stage nothing before the binary.
        "COPY ARG RUN COPY USER EXPOSE HEALTHCHECK ENTRYPOINT CMD",
    ),
    "redis": ("docker-entrypoint.sh", "# changed", "COPY RUN HEALTHCHECK ENTRYPOINT EXPOSE CMD"),
    "distroless": ("app.py", "# changed", "COPY ENV WORKDIR USER ENTRYPOINT CMD"),
    "markdown": ("render.py", "# changed", "ENTRYPOINT"),  # the others are triggers of its base
}


class Workshop:
    """An engine with the bases, and the projects built so far."""

    def __init__(self, engine: Engine, scratch: Path) -> None:
        self.engine = engine
        self._scratch = scratch
        self._built: dict[str, projects.Build] = {}
        projects.make_bases(engine, scratch)

    def built(self, name: str) -> projects.Build:
        """Return the first build of a project."""
        if name not in self._built:
            self._built[name] = self.build(name)
        return self._built[name]

    def build(
        self, name: str, *arguments: str, tag: str = "", changes: dict[str, str] | None = None
    ) -> projects.Build:
        """Build a fresh checkout of a project, with text added at the end of some files."""
        place = self.checkout(name)
        for path, text in (changes or {}).items():
            with (place / path).open("a") as file:
                file.write(text)
        return projects.build(self.engine, place, tag or name, *arguments)

    def checkout(self, name: str) -> Path:
        """Return a fresh copy of a project, which may be changed until the next one."""
        return projects.copied(name, self._scratch)

    def docker(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run the docker CLI and return what it prints; it must succeed."""
        done = self.engine.cli(*arguments, stdin=stdin)
        assert done.returncode == 0, done
        return done.stdout.decode()

    def inspect(self, name: str, template: str = "{{json .}}") -> Any:
        return json.loads(self.docker("inspect", "--format", template, name))

    @contextmanager
    def running(self, name: str, *options: str) -> Iterator[str]:
        """Run a container of a project in the background; it is gone afterwards."""
        self.built(name)
        container = self.docker("run", "--detach", *options, name).strip()
        try:
            yield container
        finally:
            self.docker("rm", "--force", "--volumes", container)

    def until_healthy(self, container: str) -> None:
        """Wait until the image's own health check has succeeded."""
        end = time.monotonic() + DEADLINE_S
        while (health := self.inspect(container, "{{json .State.Health}}"))["Status"] != "healthy":
            assert time.monotonic() < end, (health, self.docker("logs", container))
            time.sleep(0.05)

    def published(self, container: str) -> str:
        """Return host and port at which the only published port answers."""
        return self.docker("port", container).split(" -> ")[1].splitlines()[0]

    def stop(self, container: str) -> int:
        """Stop a container, which must not take its grace period; return its exit code."""
        started = time.monotonic()
        self.docker("stop", container)
        assert time.monotonic() - started < QUICK_S, self.docker("logs", container)
        return self.inspect(container, "{{json .State.ExitCode}}")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    root = tmp_path_factory.mktemp("p")
    with pinnaced.start(root / "e", bridge="pnt57", subnet="10.229.57.1/24") as engine:
        yield Workshop(engine, root / "scratch")
    remove_root(root / "e")  # several systems


def get(address: str, path: str) -> bytes:
    with DIRECTLY.open(f"http://{address}{path}", timeout=DEADLINE_S) as answer:
        return answer.read()


def files_of(engine: Engine, image: str) -> dict[str, tarfile.TarInfo]:
    """Map the path of each file in an image's root, directories left out, to its header."""
    container = engine.cli("create", image).stdout.decode().strip()
    try:
        exported = engine.cli("export", container).stdout
    finally:
        engine.cli("rm", container)
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        return {member.name: member for member in archive if not member.isdir()}


@pytest.mark.parametrize("name", CHANGES)
def test_a_project_is_built_and_then_taken_from_the_cache_as_a_whole(workshop, name):
    first = workshop.built(name)
    assert "W: " not in first.text  # of apt: such as a sandbox that it cannot have
    again = workshop.build(name)
    assert again.id == first.id
    assert set(again.steps().values()) == {True}, again.text
    assert again.seconds < QUICK_S


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_source_is_built_from_its_copy_on(workshop, name):
    first = workshop.built(name)
    path, text, again = CHANGES[name]
    changed = workshop.build(name, tag="changed", changes={path: f"{text}\n"})
    assert changed.id != first.id
    done = [step.split()[1] for step, cached in changed.steps().items() if not cached]
    assert done == again.split(), changed.text


@pytest.mark.parametrize("name", CHANGES)
def test_the_config_is_what_the_dockerfile_says(workshop, name):
    workshop.built(name)
    config = workshop.inspect(name, "{{json .Config}}")
    assert {key: value for key, value in config.items() if value} == CONFIGS[name]


def test_a_flask_app_serves_keeps_its_data_in_a_volume_and_stops_by_its_signal(workshop):
    options = ("--publish=127.0.0.1::8000", "--volume=guestbook:/data")
    with workshop.running("guestbook", *options) as container:
        workshop.until_healthy(container)
        address = workshop.published(container)
        entry = json.dumps({"name": "Ada", "text": "Schöne Grüße"}).encode()
        request = urllib.request.Request(
            f"http://{address}/", data=entry, headers={"Content-Type": "application/json"}
        )
        with DIRECTLY.open(request, timeout=DEADLINE_S) as answer:
            assert answer.status == 201
        who = json.loads(get(address, "/whoami"))
        assert who == {"uid": 10001, "gid": 10001, "cwd": "/app"}
        listed = workshop.docker("exec", container, "ls", "-ln", "guestbook")
        assert re.search(r"^-rw-r--r-- 1 10001 10001 .* __init__.py$", listed, re.MULTILINE)
        assert workshop.stop(container) == 0
        assert '"POST / HTTP/1.1" 201' in workshop.docker("logs", container)
    with workshop.running("guestbook", *options) as container:
        workshop.until_healthy(container)
        assert json.loads(get(workshop.published(container), "/")) == [json.loads(entry)]
    workshop.docker("volume", "rm", "guestbook")


def test_a_build_argument_names_the_revision(workshop):
    first = workshop.built("guestbook")
    built = workshop.build("guestbook", "--build-arg=REVISION=abc123", tag="guestbook:abc123")
    labels = workshop.inspect("guestbook:abc123", "{{json .Config.Labels}}")
    assert labels["org.opencontainers.image.revision"] == "abc123"
    cached = [step.split()[1] for step, was in built.steps().items() if was]
    # As far as where the argument is declared, and the other stage.
    assert cached == ["ENV", "WORKDIR", "COPY", "RUN", "ARG", "ARG"], built.text
    assert built.id != first.id


def test_npm_finds_what_it_fetched_before_in_its_cache_mount(workshop):
    workshop.built("greeter")
    place = workshop.checkout("greeter")
    dockerfile = place / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("npm ci", "npm ci --offline"))
    offline = projects.build(workshop.engine, place, "changed", "--network=none")
    assert "added 5 packages" in offline.text
    script = "require('polka'); console.log(require.resolve('polka'))"
    found = workshop.docker("run", "--rm", "changed", "node", "-e", script)
    assert found.startswith("/usr/src/app/node_modules/polka/")


def test_a_node_app_passes_its_tests_serves_and_closes_under_an_init(workshop):
    tested = workshop.build("greeter", "--target=test", tag="greeter:test")
    assert "a greeting names who is greeted" in tested.text
    assert "node healthcheck.js" not in tested.text  # of a stage that was not asked for
    with workshop.running("greeter", "--init", "--publish=127.0.0.1::3000") as container:
        workshop.until_healthy(container)
        address = workshop.published(container)
        assert get(address, "/hello/Ada") == b"Hello, Ada!\n"
        process = json.loads(get(address, "/process"))
        assert process["uid"] == 1000
        assert process["environment"] == "production"
        assert process["pid"] != 1  # which is the init
        assert workshop.stop(container) == 0
        assert workshop.docker("logs", container) == "listening on 3000\nclosing\n"


def test_a_static_binary_is_alone_in_its_image_and_serves(workshop):
    workshop.built("clock")
    files = files_of(workshop.engine, "clock")
    assert {"clock", "etc/passwd"} <= files.keys()
    # The rest is what every container has.
    assert {name.partition("/")[0] for name in files.keys() - {"clock"}} <= {
        "etc",
        "dev",
        ".dockerenv",
    }
    assert {name for name in files if name.startswith("etc/")} == {
        f"etc/{name}" for name in ("passwd", "hostname", "hosts", "resolv.conf", "mtab")
    }
    binary = files["clock"]
    assert (binary.mode & 0o7777, binary.uid, binary.gid) == (0o555, 65532, 65532)
    with workshop.running("clock", "--read-only", "--publish=127.0.0.1::8080") as container:
        workshop.until_healthy(container)
        answer = get(workshop.published(container), "/")
        assert re.fullmatch(rb"clock dev, user 65532, process 1: [0-9T:-]+Z\n", answer)
        assert workshop.stop(container) == 0
    assert workshop.docker("run", "--rm", "clock", "version") == "dev\n"
    history = workshop.docker("history", "--no-trunc", "--format={{.CreatedBy}}", "clock")
    said = [line.removeprefix("/bin/sh -c #(nop) ").split()[0] for line in history.splitlines()]
    wanted = "CMD ENTRYPOINT HEALTHCHECK EXPOSE USER COPY COPY LABEL ARG"
    assert said == wanted.split()


def test_redis_from_apt_drops_root_speaks_its_locale_and_keeps_its_data(workshop):
    with workshop.running("redis", "--volume=redis:/data") as container:
        workshop.until_healthy(container)
        assert workshop.docker("exec", container, "redis-cli", "set", "key", "value") == "OK\n"
        status = workshop.docker("exec", container, "cat", "/proc/1/status")
        assert re.search(r"^Uid:\t999\t999\t999\t999$", status, re.MULTILINE), status
        assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE), status
        assert workshop.stop(container) == 0
    # A user of the command line's choosing: nothing is to be dropped then.
    with workshop.running("redis", "--volume=redis:/data", "--user=redis") as container:
        workshop.until_healthy(container)
        assert workshop.docker("exec", container, "redis-cli", "get", "key") == "value\n"
        assert workshop.stop(container) == 0
    workshop.docker("volume", "rm", "redis")
    spoken = workshop.docker("run", "--rm", "redis", "date", "--date=2024-03-01", "+%A, %B")
    assert spoken == "Freitag, März\n"
    # What apt fetched stayed in the cache mounts.
    find = ("find", "/var/cache/apt", "/var/lib/apt", "-type", "f")
    assert workshop.docker("run", "--rm", "redis", *find) == ""


def test_apt_installs_in_a_running_container_with_its_own_user_in_charge(workshop):
    script = "apt-get update && apt-get install -y --no-install-recommends less && less --version"
    container = workshop.docker("create", "debian:stable-slim", "sh", "-c", script).strip()
    done = workshop.engine.cli("start", "--attach", container)
    workshop.docker("rm", container)
    assert done.returncode == 0, done
    assert b"\nless " in done.stdout
    assert b"W: " not in done.stdout + done.stderr


def test_python_runs_without_a_distribution(workshop):
    workshop.built("distroless")
    told = json.loads(workshop.docker("run", "--rm", "distroless", "Europe/Berlin"))
    assert told.pop("authorities") > 50
    assert told == {
        "user": "nonroot",
        "home": "/home/nonroot",
        "cwd": "/home/nonroot",
        "zone": "CEST +0200",
        "temporary": "/tmp",
        "shell": False,
        "programs": told["programs"],
    }
    assert all(program.startswith("python3") for program in told["programs"])
    refused = workshop.engine.cli("run", "--rm", "--entrypoint=sh", "distroless")
    assert refused.returncode == 127
    assert b'exec: "sh": executable file not found in $PATH' in refused.stderr


def test_triggers_of_a_base_make_a_filter_of_two_lines(workshop):
    built = workshop.built("markdown")
    assert "# Executing 3 build triggers" in built.text
    assert workshop.inspect("python:3-onbuild", "{{json .Config.OnBuild}}") == [
        "COPY requirements.txt ./",
        "RUN pip install --no-cache-dir --requirement requirements.txt",
        "COPY . .",
    ]
    text = "# Grüße\n\na | b\n--|--\n1 | 2\n".encode()
    html = workshop.docker("run", "--interactive", "--rm", "markdown", "tables", stdin=text)
    assert html.startswith("<h1>Grüße</h1>\n<table>")
