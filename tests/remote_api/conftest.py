"""One daemon for all tests of API 1.0, 1.1 and 1.2, asked behind each prefix and bare.

A test that takes `api` runs once per version: 1.0, 1.1, 1.2 and a bare path on TCP, which is 1.2.
`@pytest.mark.versions("1.1", "1.2")` narrows that; bare goes with 1.2. `api` narrows `containers`
and everything else built on it, so a test speaks one version throughout.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import git_server, images
from tests.support import registry as registries
from tests.support.archives import file, tar_of
from tests.support.remote import BARE, VERSIONS, Remote, started
from tests.support.remote_images import Images, WebServer, web_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.engine import Engine
    from tests.support.git_server import GitServer
    from tests.support.registry import Registry

# Of this process alone, so that two runs on one machine are in nobody's way.
BRIDGE = f"pnt27x{os.getpid() % 4096:03x}"
GATEWAY = f"10.228.{os.getpid() % 256}.1"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "versions(*numbers): API versions a test holds for")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "api" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("versions")
    numbers = list(marker.args if marker else VERSIONS)
    if "1.2" in numbers:
        numbers.append(BARE)
    metafunc.parametrize("api", numbers, indirect=True)


@pytest.fixture(scope="package")
def served() -> Iterator[tuple[Engine, int]]:
    """The daemon of the whole directory, with busybox:latest, and its TCP port."""
    with started("rem", bridge=BRIDGE, subnet=f"{GATEWAY}/24") as (engine, port):
        engine.load(images.busybox_archive())
        yield engine, port


@pytest.fixture(scope="session")
def bridge() -> tuple[str, str]:
    """Name and address of the daemon's default bridge."""
    return BRIDGE, GATEWAY


@pytest.fixture(scope="package")
def engine(served: tuple[Engine, int]) -> Engine:
    """The daemon, for its unix socket, its log and its paths."""
    return served[0]


@pytest.fixture(scope="package")
def newest(engine: Engine) -> Remote:
    """The newest API on the unix socket, to arrange and to compare."""
    return Remote(BARE, engine.socket)


@pytest.fixture(scope="package")
def tcp(served: tuple[Engine, int]) -> Remote:
    """Bare paths on the TCP listener; `at` gives another version."""
    return Remote(BARE, served[1])


@pytest.fixture
def api(request: pytest.FixtureRequest, tcp: Remote) -> Remote:
    """The API in one version, over TCP."""
    return tcp.at(request.param)


class Containers:
    """Makes containers through the API under test and removes them at the end."""

    def __init__(self, api: Remote, newest: Remote) -> None:
        self._api, self._newest = api, newest
        self._made: list[str] = []

    def create(self, *command: str, image: str = "busybox", **settings: Any) -> str:
        """Create a container and return its short id; `settings` go into the body."""
        body = {"Image": image, "Cmd": list(command) or None, **settings}
        reply = self._api.post("/containers/create", body)
        assert reply.status == 201, reply.sent
        self._made.append(reply.json()["Id"])
        return self._made[-1]

    def adopt(self, container: str) -> str:
        """Have a container removed at the end that the test made by itself."""
        self._made.append(container)
        return container

    def start(self, container: str) -> str:
        """Start a container; returns its id."""
        reply = self._api.post(f"/containers/{container}/start")
        assert reply.status == 204, reply.sent
        return container

    def run(self, *command: str, **settings: Any) -> str:
        """Create and start a container; returns its short id."""
        return self.start(self.create(*command, **settings))

    def finish(self, *command: str, **settings: Any) -> str:
        """Run a container to its end; returns its short id."""
        container = self.run(*command, **settings)
        assert self._api.post(f"/containers/{container}/wait").status == 200
        return container

    def sleeper(self, **settings: Any) -> str:
        """Run a container that stays until it is told to end, and then ends at once."""
        return self.run("sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait", **settings)

    def inspect(self, container: str) -> dict[str, Any]:
        """Return what the API under test says of a container."""
        reply = self._api.get(f"/containers/{container}/json")
        assert reply.status == 200, reply.sent
        return reply.json()

    def touch(self, container: str, name: str) -> None:
        """Make an empty file in the root of a container, running or not."""
        query = {"path": "/"}
        reply = self._newest.call(
            "PUT", f"/containers/{container}/archive", tar_of(file(name)), query=query
        )
        assert reply.status == 200, reply.sent

    def remove(self) -> None:
        """Remove everything made; what a test removed itself is no failure."""
        for container in reversed(self._made):
            self._newest.delete(f"/containers/{container}", query={"force": 1, "v": 1})
        self._made.clear()


@pytest.fixture
def containers(api: Remote, newest: Remote) -> Iterator[Containers]:
    """Containers made through `api` and removed after the test."""
    made = Containers(api, newest)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def shared(tcp: Remote, newest: Remote) -> Iterator[Containers]:
    """Containers, made by 1.2, that the tests of a module share and only look at."""
    made = Containers(tcp.at("1.2"), newest)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def stock(api: Remote, newest: Remote, containers: Containers) -> Iterator[Images]:
    """Images made through `api`; what is new is removed, after the containers."""
    made = Images(api, newest)
    try:
        yield made
    finally:
        containers.remove()
        made.remove()


@pytest.fixture(scope="package")
def web() -> Iterator[WebServer]:
    """A web server on loopback."""
    with web_server() as server:
        yield server


@pytest.fixture(scope="package")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry on loopback that asks nobody who they are."""
    with registries.start(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="package")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry on loopback that asks for a name and a password."""
    with registries.start(tmp_path_factory.mktemp("index"), kind="basic") as server:
        yield server


@pytest.fixture(scope="package")
def indexed(index: Registry) -> Iterator[tuple[Engine, int]]:
    """A daemon for which `index` stands in for Docker's registry, and its TCP port."""
    where = f"--default-registry-url={index.url}"
    bridge, subnet = f"pnt28x{os.getpid() % 4096:03x}", f"10.229.{os.getpid() % 256}.1/24"
    with started("idx", where, bridge=bridge, subnet=subnet) as (engine, port):
        engine.load(images.busybox_archive())
        yield engine, port


@pytest.fixture(scope="package")
def git(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """A Git server on loopback."""
    with git_server.serve(tmp_path_factory.mktemp("git")) as server:
        yield server
