"""Published ports of a whole engine on this host: who reaches them, conflicts, crashes."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import pinnaced
from tests.support.engine import bridge_of, remove_link, remove_root
from tests.support.images import busybox_archive
from tests.support.netlab import SILENCE_S, TIMEOUT_S, Server, in_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.engine import Answer, Engine

pytestmark = pytest.mark.root

HERE = Path("/proc/self/ns/net")
LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    root = tmp_path_factory.mktemp("p")
    with pinnaced.start(root) as started:
        started.load(busybox_archive())
        yield started
    remove_root(root)


class Neighbour:
    """A machine on a wire of this host: a namespace behind a veth pair."""

    def __init__(self, root: Path) -> None:
        token = hashlib.sha256(str(root).encode()).digest()
        self.name = f"pntn{token.hex()[:6]}"
        self.host_address = f"10.217.{token[0]}.1"
        self.address = f"10.217.{token[0]}.2"
        self.namespace = Path("/run/netns") / self.name

    def build(self) -> None:
        inside = ("netns", "exec", self.name, "ip")
        for words in (
            ("netns", "add", self.name),
            ("link", "add", self.name, "type", "veth", "peer", "eth0", "netns", self.name),
            ("address", "add", f"{self.host_address}/24", "dev", self.name),
            ("link", "set", self.name, "up"),
            (*inside, "address", "add", f"{self.address}/24", "dev", "eth0"),
            (*inside, "link", "set", "eth0", "up"),
            (*inside, "link", "set", "lo", "up"),
            (*inside, "route", "add", "default", "via", self.host_address),
        ):
            subprocess.run(["ip", *words], check=True, capture_output=True)

    def remove(self) -> None:
        remove_link(self.name)
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)


@pytest.fixture(scope="module")
def neighbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbour]:
    made = Neighbour(tmp_path_factory.mktemp("n"))
    made.remove()
    try:
        made.build()
        yield made
    finally:
        made.remove()


class Container:
    """A running container with servers which tell their clients' addresses."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self.name = engine, name
        self.servers: list[Server] = []

    @property
    def shown(self) -> Any:
        return self._engine.request("GET", f"/containers/{self.name}/json").json()

    @property
    def namespace(self) -> Path:
        return Path(f"/proc/{self.shown['State']['Pid']}/ns/net")

    @property
    def address(self) -> str:
        return self.shown["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]

    def host_ports(self, port: str) -> list[tuple[str, int]]:
        bindings = self.shown["NetworkSettings"]["Ports"][port] or []
        return [(one["HostIp"], int(one["HostPort"])) for one in bindings]

    def host_port(self, port: str) -> int:
        return self.host_ports(port)[0][1]

    def serve(self, port: int, *, udp: bool = False) -> None:
        self.servers.append(Server(self.namespace, EVERYWHERE, port, udp=udp))


@pytest.fixture
def run(engine: Engine) -> Iterator[Callable[..., Container]]:
    made: list[Container] = []

    def start(
        bindings: dict[str, list[tuple[str, str]]],
        *,
        serve: tuple[str, ...] = (),
        config: dict[str, object] | None = None,
        **host: object,
    ) -> Container:
        name = f"web{len(made)}"
        made.append(Container(engine, name))
        answer = create(engine, name, bindings, config, **host)
        assert answer.status == 201, answer.body
        begun = engine.request("POST", f"/containers/{name}/start")
        if begun.status != 204:
            raise Refused(begun)
        for port in serve:
            number, _, proto = port.partition("/")
            made[-1].serve(int(number), udp=proto == "udp")
        return made[-1]

    yield start
    for container in made:
        for server in container.servers:
            server.close()
        with contextlib.suppress(OSError):
            engine.request("DELETE", f"/containers/{container.name}", query={"force": "1"})


class Refused(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.json()["message"])
        self.status = answer.status


def create(
    engine: Engine,
    name: str,
    bindings: dict[str, list[tuple[str, str]]],
    config: dict[str, object] | None = None,
    **host: object,
) -> Answer:
    wanted = {
        port: [{"HostIp": ip, "HostPort": number} for ip, number in places]
        for port, places in bindings.items()
    }
    body = {
        "Image": "busybox",
        "Cmd": ["sleep", "600"],
        "ExposedPorts": {port: {} for port in bindings},
        "HostConfig": {"PortBindings": wanted, **host},
        **(config or {}),
    }
    return engine.request("POST", "/containers/create", body, query={"name": name})


def ask(namespace: Path, address: str, port: int, *, udp: bool = False, wait_s=TIMEOUT_S) -> str:
    """Return the client's address as the server saw it; OSError if refused or silent."""
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    with in_namespace(namespace, lambda: socket.socket(socket.AF_INET, kind)) as client:
        client.settimeout(wait_s)
        client.connect((address, port))
        if udp:
            client.send(b"?")
        return client.recv(100).decode()


def cannot_reach(namespace: Path, address: str, port: int, *, udp: bool = False) -> bool:
    try:
        ask(namespace, address, port, udp=udp, wait_s=SILENCE_S)
    except OSError:
        return True
    return False


def own_addresses() -> list[str]:
    """Addresses of this host's wire, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.77", 9))  # sends nothing
        except OSError:
            return []
        return [probe.getsockname()[0]]


def free_port() -> int:
    return free_range(1)


def free_range(length: int) -> int:
    """Return the first of several ports in a row which nobody has, below the ephemeral ones."""
    for low in range(random.randrange(20000, 30000), 32000):
        with contextlib.ExitStack() as held:
            try:
                for port in range(low, low + length):
                    held.enter_context(socket.socket()).bind((EVERYWHERE, port))
            except OSError:
                continue
            return low
    raise AssertionError("no free ports")


def test_a_port_of_loopback_is_for_this_host_only(run, neighbour):
    web = run({"8080/tcp": [(LOOPBACK, "0")]}, serve=("8080/tcp",))
    port = web.host_port("8080/tcp")
    assert web.host_ports("8080/tcp") == [(LOOPBACK, port)]
    assert ask(HERE, LOOPBACK, port)
    for address in (neighbour.host_address, *own_addresses()):
        assert cannot_reach(HERE, address, port)
    assert cannot_reach(neighbour.namespace, neighbour.host_address, port)
    other = run({})
    gateway = other.shown["NetworkSettings"]["Networks"]["bridge"]["Gateway"]
    assert cannot_reach(other.namespace, gateway, port)
    assert ask(other.namespace, web.address, 8080) == other.address


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_port_of_every_address_is_for_everybody(run, neighbour, proto):
    udp = proto == "udp"
    web = run({f"8081/{proto}": [("", "0")]}, serve=(f"8081/{proto}",))
    port = web.host_port(f"8081/{proto}")
    assert web.host_ports(f"8081/{proto}")[0] == (EVERYWHERE, port)
    for address in (LOOPBACK, neighbour.host_address, *own_addresses()):
        assert ask(HERE, address, port, udp=udp)
    # A server can tell who its clients are.
    assert ask(neighbour.namespace, neighbour.host_address, port, udp=udp) == neighbour.address
    other = run({})
    gateway = other.shown["NetworkSettings"]["Networks"]["bridge"]["Gateway"]
    for address in (gateway, neighbour.host_address):
        assert ask(other.namespace, address, port, udp=udp)
    # Its own published port is reached by a container, too.
    assert ask(web.namespace, gateway, port, udp=udp)


def test_what_is_not_published_is_out_of_a_neighbours_reach(run, neighbour):
    web = run({"8080/tcp": [("", "0")]}, serve=("8080/tcp", "8082/tcp"))
    assert cannot_reach(neighbour.namespace, web.address, 8082)
    assert cannot_reach(neighbour.namespace, web.address, 8080)
    assert ask(HERE, web.address, 8082)


def test_the_docker_command_line_shows_the_ports(engine, run):
    fixed = str(free_port())
    run({"8080/tcp": [(LOOPBACK, fixed)], "8081/udp": [("", fixed)]})
    shown = engine.cli("port", "web0").stdout.decode().splitlines()
    assert shown == [f"8080/tcp -> {LOOPBACK}:{fixed}", f"8081/udp -> {EVERYWHERE}:{fixed}"]
    listed = engine.cli("ps", "--format", "{{.Ports}}").stdout.decode().strip()
    assert listed == f"{LOOPBACK}:{fixed}->8080/tcp, {EVERYWHERE}:{fixed}->8081/udp"


def test_two_containers_cannot_have_one_port_and_the_loser_leaves_nothing(engine, run):
    fixed = str(free_port())
    first = run({"8080/tcp": [("", fixed)]}, serve=("8080/tcp",))
    links, namespaces = links_of(engine), sandboxes_of(engine)
    with pytest.raises(Refused, match=f"{fixed} failed: port is already allocated"):
        run({"7000/tcp": [("", "0")], "8080/tcp": [(LOOPBACK, fixed)]})
    assert (links_of(engine), sandboxes_of(engine)) == (links, namespaces)
    lost = engine.request("GET", "/containers/web1/json").json()["State"]
    assert (lost["Status"], lost["ExitCode"]) == ("created", 128)
    assert "port is already allocated" in lost["Error"]
    assert ask(HERE, LOOPBACK, int(fixed))
    # Once the port is free, the same container starts.
    engine.request("POST", f"/containers/{first.name}/stop", query={"t": "0"})
    assert engine.request("POST", "/containers/web1/start").status == 204
    second = Container(engine, "web1")
    assert second.host_ports("8080/tcp") == [(LOOPBACK, int(fixed))]


def test_a_port_of_a_server_on_the_host_is_refused_in_its_words(run):
    with socket.socket() as server:
        server.bind((EVERYWHERE, 0))
        server.listen()
        taken = server.getsockname()[1]
        with pytest.raises(Refused, match=f"{taken}.* address already in use") as refused:
            run({"80/tcp": [("", str(taken))]})
    assert refused.value.status == 500


def test_a_range_gives_each_container_the_next_free_port(run):
    low = free_range(3)
    wanted = {"80/tcp": [("", f"{low}-{low + 2}")]}
    got = [run(wanted).host_port("80/tcp") for _ in range(3)]
    assert got == [low, low + 1, low + 2]
    with pytest.raises(Refused, match="port is already allocated"):
        run(wanted)


def test_every_exposed_port_is_published_on_request(run):
    exposed = {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}
    web = run({}, config=exposed, PublishAllPorts=True, serve=("80/tcp", "53/udp"))
    assert ask(HERE, LOOPBACK, web.host_port("80/tcp"))
    assert ask(HERE, LOOPBACK, web.host_port("53/udp"), udp=True)
    hidden = run({}, config=exposed)
    assert hidden.shown["NetworkSettings"]["Ports"] == {"80/tcp": None, "53/udp": None}


def test_ports_work_while_the_daemon_is_dead_and_are_given_back_afterwards(engine, run, neighbour):
    fixed = free_port()
    places = {"8080/tcp": [("", str(fixed))], "8081/udp": [(LOOPBACK, str(fixed))]}
    web = run(places, serve=("8080/tcp", "8081/udp"))
    engine.kill()
    try:
        assert ask(HERE, LOOPBACK, fixed)
        assert ask(HERE, LOOPBACK, fixed, udp=True)
        assert ask(neighbour.namespace, neighbour.host_address, fixed) == neighbour.address
    finally:
        engine.launch()
    assert ask(HERE, LOOPBACK, fixed)
    assert web.host_ports("8080/tcp") == [(EVERYWHERE, fixed)]
    with pytest.raises(Refused, match="port is already allocated"):
        run({"80/tcp": [("", str(fixed))]})
    engine.request("POST", f"/containers/{web.name}/stop", query={"t": "0"})
    assert cannot_reach(HERE, LOOPBACK, fixed)
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(type=kind) as mine:
            mine.bind((EVERYWHERE, fixed))
    assert engine.request("POST", "/containers/web1/start").status == 204


def test_ports_of_a_container_that_ended_while_the_daemon_was_dead_are_free(engine, run):
    fixed = free_port()
    web = run({"80/tcp": [("", str(fixed))]}, config={"Cmd": ["sleep", "600"]})
    pid = web.shown["State"]["Pid"]
    engine.kill()
    try:
        subprocess.run(["kill", "-KILL", str(pid)], check=True)
    finally:
        engine.launch()
    assert engine.request("POST", f"/containers/{web.name}/wait").json()["StatusCode"] == 137
    assert run({"80/tcp": [("", str(fixed))]}).host_port("80/tcp") == fixed


def test_a_static_address_and_hardware_address_on_the_default_bridge(engine, run):
    any_one = run({})
    base = any_one.address.rpartition(".")[0]
    options = ("--ip", f"{base}.77", "--mac-address", "92:d0:c6:0a:29:33")
    web = Container(engine, "still")
    try:
        done = engine.cli("run", "-d", "--name=still", *options, "busybox", "sleep", "600")
        assert done.returncode == 0, done.stderr
        for _ in range(2):
            shown = engine.cli("exec", "still", "ip", "-o", "address", "show", "eth0").stdout
            assert f" {base}.77/24 ".encode() in shown
            mac = engine.cli("exec", "still", "cat", "/sys/class/net/eth0/address").stdout
            assert mac == b"92:d0:c6:0a:29:33\n"
            engine.cli("restart", "-t", "0", "still")
        assert web.address == f"{base}.77"
        rival = engine.cli("run", "--rm", *options, "busybox", "true")
        assert rival.returncode == 125
        assert f"Address already in use: {base}.77: container still".encode() in rival.stderr
        outside = engine.cli("run", "--rm", "--ip", "203.0.113.9", "busybox", "true")
        assert b"no configured subnet contains IP address 203.0.113.9" in outside.stderr
    finally:
        engine.request("DELETE", "/containers/still", query={"force": "1"})


def links_of(engine: Engine) -> set[str]:
    """Links on the engine's bridge."""
    bridge = bridge_of(engine.root, pinnaced.BRIDGE_PREFIX)
    return {path.name for path in Path(f"/sys/class/net/{bridge}/brif").iterdir()}


def sandboxes_of(engine: Engine) -> set[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split()[4] for line in lines if str(engine.root) in line and "nsfs" in line}
