"""The API over an engine that only remembers what it was asked; bytes in, bytes out."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from pinnace.api.dispatch import ApiSettings, make_app
from pinnace.api.http.access import AccessPolicy
from pinnace.api.http.listeners import ListenSpec, listen
from pinnace.contracts.registry import Login, SearchHit
from pinnace.contracts.snapshots import Change
from pinnace.engine.builds.upkeep import Pruned
from pinnace.engine.containers.archive import PathStat
from pinnace.engine.containers.logs import LogStream
from pinnace.engine.containers.waiters import WaitResult
from pinnace.engine.events import EventLog
from pinnace.errors import ContainerNotFound, ImageNotFound, NotModified
from pinnace.model.container import (
    ContainerConfig,
    ContainerInspect,
    ContainerState,
    ContainerSummary,
    DriverData,
    HostConfig,
    MountPoint,
    NetworkSettings,
    PortSummary,
    SummaryHealth,
    SummaryHostConfig,
    SummaryNetworks,
)
from pinnace.model.endpoint import EndpointSettings, PortBinding
from pinnace.model.exec import ExecInspect, ExecProcess
from pinnace.model.image import (
    DeleteItem,
    GraphDriver,
    HistoryItem,
    ImageConfig,
    ImageInspect,
    ImageMetadata,
    ImagePruneReport,
    ImageRootFs,
    ImageSummary,
)
from pinnace.model.network import Network, NetworkInspect, NetworkStatus
from pinnace.model.volume import PruneReport, Volume, VolumeList

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pinnace.engine.containers.attach import AttachParams

CONTAINER = "377c97f9027f29f5caab021f80ee63d43e185962e0f6b02aeeef7f569d917d96"
IMAGE = "sha256:3df1c69ff7c29a5c21b82fc6d053d6e1d3964e075548f78b010dddb3c9b0e55c"
EXEC = "4f60ba79cba832dbc098dc5c13aac548152b6ccb60d75ab80f7dff2d91a4cdc3"
NETWORK = "979b56314fcecf79c638d4059a80f7f9a43147854aadd3be9bd0444e8bf7aad6"

ENDPOINT = EndpointSettings(
    network_id=NETWORK,
    endpoint_id=EXEC,
    gateway="172.17.0.1",
    ip_address="172.17.0.2",
    ip_prefix_len=16,
    mac_address="02:42:ac:11:00:02",
    dns_names=["web"],
)


def a_summary(**fields) -> ContainerSummary:
    return ContainerSummary(
        **{
            "id": CONTAINER,
            "names": ["/web"],
            "image": "acme/web:latest",
            "image_id": IMAGE,
            "command": "env",
            "created": 1371201164,
            "ports": [
                PortSummary(ip="0.0.0.0", private_port=80, public_port=49153, type="tcp"),
                PortSummary(private_port=443, type="tcp"),
            ],
            "labels": {"a": "b"},
            "state": "exited",
            "status": "Exited (0) 3 minutes ago",
            "health": SummaryHealth(status="none", failing_streak=0),
            "host_config": SummaryHostConfig(network_mode="bridge", annotations={"x": "y"}),
            "network_settings": SummaryNetworks(networks={"bridge": ENDPOINT}),
            "mounts": [],
        }
        | fields
    )


def an_inspect(**fields) -> ContainerInspect:
    return ContainerInspect(
        **{
            "id": CONTAINER,
            "created": "2013-06-14T09:12:44.318907Z",
            "path": "env",
            "args": [],
            "state": ContainerState(status="running", running=True, pid=7),
            "image": IMAGE,
            "resolv_conf_path": "/etc/resolv.conf",
            "hostname_path": "",
            "hosts_path": "",
            "log_path": "",
            "name": "/web",
            "restart_count": 0,
            "driver": "overlay2",
            "platform": "linux",
            "host_config": HostConfig(network_mode="bridge", memory=1 << 20),
            "graph_driver": DriverData(name="overlay2"),
            "mounts": [
                MountPoint(
                    type="bind",
                    source="/srv",
                    destination="/data",
                    mode="",
                    rw=True,
                    propagation="rprivate",
                )
            ],
            "config": ContainerConfig(hostname="web", cmd=["env"], image="acme/web"),
            "network_settings": NetworkSettings(
                ports={"80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="49153")]},
                networks={"bridge": ENDPOINT},
            ),
        }
        | fields
    )


@dataclass
class Asked:
    """One call of the engine."""

    verb: str
    args: tuple
    kwargs: dict


class Recorder:
    """A service whose methods remember their arguments and return what was set.

    `answers[verb]` is a value, an exception to raise, or a callable taking the arguments.
    """

    def __init__(self, asked: list[Asked], name: str, answers: dict) -> None:
        self._asked, self._name, self._answers = asked, name, answers

    def __getattr__(self, verb: str):
        key = f"{self._name}.{verb}"

        async def method(*args, **kwargs):
            self._asked.append(Asked(key, args, kwargs))
            answer = self._answers.get(key)
            if isinstance(answer, BaseException):
                raise answer
            answer = answer(*args, **kwargs) if callable(answer) else answer
            return await answer if asyncio.iscoroutine(answer) else answer

        return method


class Streams(Recorder):
    """A service whose methods return asynchronous iterators."""

    def __getattr__(self, verb: str):
        key = f"{self._name}.{verb}"

        async def method(*args, **kwargs):
            if args and hasattr(args[0], "__anext__"):
                args = (b"".join([chunk async for chunk in args[0]]), *args[1:])
            self._asked.append(Asked(key, args, kwargs))
            answer = self._answers.get(key)
            if isinstance(answer, BaseException):
                raise answer
            for item in answer or ():
                if isinstance(item, BaseException):
                    raise item
                yield item

        return method


class EchoPlan:
    """Serves a hijacked client by sending everything back, until it half-closes."""

    def __init__(self, *, framed: bool) -> None:
        self.content_framed = framed
        self.is_running = True

    async def run(self, client_fd: int, early: bytes = b"") -> None:
        import socket

        loop = asyncio.get_running_loop()
        client = socket.socket(fileno=socket.dup(client_fd))
        with client:
            client.setblocking(False)
            if early:
                await loop.sock_sendall(client, early)
            while data := await loop.sock_recv(client, 4096):
                await loop.sock_sendall(client, data)
            client.shutdown(socket.SHUT_WR)


class FakeEngine:
    """All services; `asked` in order, `answers` by `service.verb`."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: dict = default_answers()
        for name in ("containers", "execs", "attach", "logs", "archive", "top"):
            setattr(self, name, Recorder(self.asked, name, self.answers))
        for name in ("volumes", "networks", "system", "registries", "builds"):
            setattr(self, name, Recorder(self.asked, name, self.answers))
        streams = Streams(self.asked, "images", self.answers)
        self.images = Recorder(self.asked, "images", self.answers)
        self.images.load, self.images.save = streams.load, streams.save
        self.images.import_tar, self.images.pull = streams.import_tar, streams.pull
        self.images.lineage = Recorder(self.asked, "images.lineage", self.answers)
        self.stats = Streams(self.asked, "stats", self.answers)
        self.events = EventLog()

    def last(self, verb: str) -> Asked:
        return next(asked for asked in reversed(self.asked) if asked.verb == verb)


async def _chunks(*items):
    for item in items:
        yield item


class Ticket:
    def __init__(self, result: WaitResult) -> None:
        self._result = result
        self.released = asyncio.Event()
        self.released.set()

    async def result(self) -> WaitResult:
        await self.released.wait()
        return self._result


MOTD = PathStat(name="motd", size=3, mode=420, mtime="2013-06-14T09:12:44Z")


def default_answers() -> dict:
    def find(ref: str) -> None:
        if ref == "nosuch":
            raise ContainerNotFound(ref)

    def inspect(ref, **_):
        find(ref)
        return an_inspect()

    def plan(ref, params: AttachParams):
        find(ref)
        return EchoPlan(framed=params.framed)

    def image(ref, **_):
        if ref == "nosuch":
            raise ImageNotFound(ref)
        return an_image()

    return {
        "containers.list": lambda _params: [a_summary()],
        "containers.inspect": inspect,
        "containers.create": (CONTAINER, []),
        "containers.start": lambda ref, **_: find(ref),
        "containers.stop": lambda ref, **_: find(ref),
        "containers.wait": lambda ref, _condition: find(ref) or Ticket(WaitResult(3)),
        "containers.changes": [Change("/test", 1)],
        "containers.update": [],
        "containers.prune": PruneReport(containers_deleted=[CONTAINER], space_reclaimed=7),
        "containers.commit": IMAGE,
        "execs.create": EXEC,
        "execs.start": lambda _id, params: (
            None if params.detach else EchoPlan(framed=params.framed and not params.tty)
        ),
        "execs.inspect": an_exec(),
        "attach.attach": plan,
        "logs.open": lambda ref, _params: (
            find(ref) or LogStream(False, _chunks((1, b"out\n"), (2, b"err\n")))
        ),
        "top.top": SimpleNamespace(titles=["PID", "TTY", "CMD"], processes=[["7", "?", "env"]]),
        "archive.stat": MOTD,
        "archive.get": lambda *_: (MOTD, _chunks(b"tar", b"bytes")),
        "archive.put": put,
        "archive.export": lambda _ref: _chunks(b"tar", b"bytes"),
        "stats.stream": [{"os_type": "linux", "networks": {"eth0": {"rx_bytes": 5}}}],
        "images.list": lambda _filters, **_: [an_image_summary()],
        "images.inspect": image,
        "images.history": [
            HistoryItem(id=IMAGE, created=1, created_by="sh -c x", tags=None, size=0, comment="")
        ],
        "images.lineage.list": [an_image_summary()],
        "images.lineage.inspect": image,
        "images.lineage.history": [
            HistoryItem(id=IMAGE, created=1, created_by="sh -c x", tags=None, size=0, comment="")
        ],
        "images.lineage.delete": [DeleteItem(untagged=IMAGE), DeleteItem(deleted=IMAGE)],
        "images.delete": [DeleteItem(untagged="acme/web:latest"), DeleteItem(deleted=IMAGE)],
        "images.prune": ImagePruneReport(images_deleted=None, space_reclaimed=0),
        "images.load": [{"stream": "Loaded image: acme/web:latest\n"}],
        "images.save": [b"tar", b"bytes"],
        "images.import_tar": [{"status": IMAGE}],
        "images.pull": [{"status": "Pulling from acme/web", "id": "1"}],
        "builds.prune": Pruned(["abc"], 7),
        "registries.login": Login("Login Succeeded"),
        "registries.search": [SearchHit("acme/web")],
        "volumes.list": VolumeList(volumes=[]),
        "volumes.create": a_volume(),
        "volumes.inspect": a_volume(),
        "volumes.prune": PruneReport(volumes_deleted=[], space_reclaimed=0),
        "networks.list": [a_network()],
        "networks.inspect": NetworkInspect(
            name="bridge", id=NETWORK, created="", driver="bridge", status=NetworkStatus()
        ),
        "networks.prune": [],
        "system.info": lambda: dict(INFO),
        "system.version": lambda: dict(VERSION),
        "system.df": lambda *_args, **_kwargs: {
            "ImageUsage": {"TotalCount": 1, "TotalSize": 5, "Items": [an_image_summary()]},
            "VolumeUsage": {"TotalCount": 0, "TotalSize": 0},
        },
    }


async def put(_ref, _path, stream, **_options):
    async for _ in stream:
        pass


INFO = {
    "ID": "x",
    "Containers": 3,
    "Images": 12,
    "Debug": False,
    "MemoryLimit": True,
    "SwapLimit": True,
    "IPv4Forwarding": True,
    "ServerVersion": "0.1.0",
    "KernelVersion": "",
    "OperatingSystem": "Debian",
    "NRI": {},
    "FirewallBackend": {},
    "Containerd": {},
    "DiscoveredDevices": [],
    "RuncCommit": {"ID": "c"},
    "Runtimes": {"crun": {"path": "crun", "status": {}}},
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
}
VERSION = {
    "Version": "0.1.0",
    "ApiVersion": "1.56",
    "MinAPIVersion": "1.0",
    "GitCommit": "",
    "GoVersion": "",
    "Experimental": False,
    "Components": [],
    "Platform": {"Name": "Pinnace"},
}


def an_exec() -> ExecInspect:
    return ExecInspect(
        id=EXEC,
        running=False,
        exit_code=0,
        process_config=ExecProcess(arguments=[], entrypoint="true", privileged=False, tty=False),
        open_stdin=False,
        open_stderr=True,
        open_stdout=True,
        can_remove=True,
        container_id=CONTAINER,
        pid=0,
    )


def an_image() -> ImageInspect:
    return ImageInspect(
        id=IMAGE,
        repo_tags=["acme/web:latest"],
        repo_digests=[],
        config=ImageConfig(cmd=["env"]),
        architecture="amd64",
        os="linux",
        size=5,
        graph_driver=GraphDriver(name="overlay2"),
        root_fs=ImageRootFs(layers=[]),
        metadata=ImageMetadata(),
    )


def an_image_summary(**fields) -> ImageSummary:
    return ImageSummary(
        **{
            "id": IMAGE,
            "parent_id": "",
            "repo_tags": ["acme/web:latest", "acme/web:1"],
            "repo_digests": [],
            "created": 1371201001,
            "size": 5,
            "labels": None,
            "containers": 2,
        }
        | fields
    )


def a_volume() -> Volume:
    return Volume(created_at="2013-06-14T09:12:44Z", mountpoint="/srv", name="data")


def a_network() -> Network:
    return Network(name="bridge", id=NETWORK, created="", driver="bridge")


@dataclass
class Reply:
    """A parsed answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    head: bytes

    def json(self):
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return self.json()["message"]


class Client:
    """Sends raw requests, one connection each."""

    def __init__(self, path: Path | None, port: int | None = None) -> None:
        self._path, self._port = path, port

    async def open(self):
        if self._path is not None:
            return await asyncio.open_unix_connection(str(self._path))
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes | dict | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        fields = {"Host": "localhost", "Connection": "close"} | (headers or {})
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            fields.setdefault("Content-Type", "application/json")
        if body is not None:
            fields["Content-Length"] = str(len(body))
        head = f"{method} {target} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        reader, writer = await self.open()
        try:
            writer.write(head.encode() + b"\r\n" + (body or b""))
            raw = await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()
        return parse_reply(raw)

    async def get(self, target: str, **kwargs) -> Reply:
        return await self.ask("GET", target, **kwargs)

    async def post(self, target: str, body: bytes | dict | None = None, **kwargs) -> Reply:
        return await self.ask("POST", target, body, **kwargs)


def parse_reply(raw: bytes) -> Reply:
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = dechunk(body)
    return Reply(int(status.split()[1]), headers, body, head)


def dechunk(raw: bytes) -> bytes:
    whole = b""
    while raw:
        size, _, rest = raw.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            break
        whole += rest[:length]
        raw = rest[length + 2 :]
    return whole


@asynccontextmanager
async def served(
    engine: FakeEngine, directory: Path, *, tcp: bool = False, policy: AccessPolicy | None = None
) -> AsyncIterator[Client]:
    """Serve the API on a socket in `directory`, or on a loopback port."""
    policy = policy or AccessPolicy()
    app = make_app(engine, ApiSettings(engine_version="0.1.0", cors=policy.cors_headers))
    path = directory / "api.sock"
    address = "tcp://127.0.0.1:0" if tcp else f"unix://{path}"
    listener = await listen(ListenSpec(address, policy=policy), app)
    try:
        yield Client(None, listener_port(listener)) if tcp else Client(path)
    finally:
        await listener.close(grace_s=1)


def listener_port(listener) -> int:
    return listener.addresses[0][1]


NOT_MODIFIED = NotModified("container already started")
