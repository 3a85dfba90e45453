"""Requests nobody wrote by hand: no answer is 500, nothing is left, the daemon goes on.

PINNACE_FUZZ_SECONDS gives the time for all of them together; PINNACE_FUZZ_SEED another start.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from msgspec import inspect as types
from tests.support import pinnaced
from tests.support.engine import remove_root
from tests.support.images import busybox_archive

from pinnace.api.routes import ROUTES
from pinnace.model.container import ContainerConfig, HostConfig
from pinnace.model.endpoint import EndpointSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.engine import Answer, Engine

pytestmark = pytest.mark.root

SECONDS = float(os.environ.get("PINNACE_FUZZ_SECONDS", "15"))
SEED = int(os.environ.get("PINNACE_FUZZ_SEED", "20130313"))
TARGETS = 5
DEADLINE_S = 30.0
PORTION = 20
SHOWN = 30
# fmt: off
SAFE_WORDS = st.sampled_from(
    [
        "", "a", "busybox", "0", "-1", "1:2", "none", "host", "bridge", "private",
        "container:a", "a=b", "=", "a:b:c", "/a", "/a/../b", "/", "..", "/vol", "v:/vol",
        "v:/vol:ro", "v:/a:z,ro", "80/tcp", "80", "0-65536/udp", "99999", "9-1/tcp",
        "SIGKILL", "RTMIN+99", "ALL", "CAP_X", "seccomp=unconfined", "seccomp={",
        "seccomp=" + '{"x":' * 50_000,
        "no-new-privileges", "label=disable", "apparmor=x", "size=1k",
        "size=9999999999999999999999k", "noexec,mode=99999", "10.0.0.1", "::1", "fe80::/99",
        "host-gateway", "a:host-gateway", "kernel.msgmax", "net.ipv4.x", "on-failure",
        "always", "c 1:3 rwm", "a *:* m", "/dev/null", "/dev/none:/x:rwm", "local",
        "json-file", "max-size", "\x00", "a\x00b", "\n", "\x1b[2J", "é", "🐋", "%s%n", "{{.}}",
        "x" * 300, "x" * 5000,
    ]
)
TEXTS = SAFE_WORDS | st.text(max_size=12).filter(lambda text: not text.startswith("/"))
NUMBERS = st.sampled_from(
    [
        0, 1, -1, 2, 9, 10, 1000, 1001, 1 << 20, (1 << 31) - 1, 1 << 31, -(1 << 31),
        (1 << 63) - 1, -(1 << 63), 1 << 63, 1 << 64, 1 << 80, 6 << 20,
    ]
) | st.integers(-(1 << 64), 1 << 64)
# fmt: on
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def values_of(kind: types.Type) -> st.SearchStrategy[Any]:
    """Values which a field of this type takes."""
    match kind:
        case types.StructType(cls=cls):
            return st.deferred(lambda: bodies_of(cls))
        case types.BoolType():
            return st.booleans()
        case types.IntType():
            return NUMBERS
        case types.StrType() | types.LiteralType():
            return TEXTS
        case types.ListType(item_type=item):
            return st.lists(values_of(item), max_size=3)
        case types.DictType(value_type=item):
            return st.dictionaries(TEXTS, values_of(item), max_size=3)
        case types.UnionType(types=several):
            return st.one_of([values_of(one) for one in several])
        case types.NoneType():
            return st.none()
    return ANYTHING


def bodies_of(cls: type, *, faults: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some fields of a record, now and then with a value of another type."""
    info = types.type_info(cls)
    assert isinstance(info, types.StructType)
    fields = {f.encode_name: values_of(f.type) for f in info.fields}

    @st.composite
    def drawn(draw: st.DrawFn) -> dict[str, Any]:
        chosen = draw(st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True))
        return {
            name: draw(ANYTHING if faults and draw(st.integers(0, 19)) == 0 else fields[name])
            for name in chosen
        }

    return drawn()


@st.composite
def creations(draw: st.DrawFn) -> Any:
    body: Any = draw(bodies_of(ContainerConfig))
    if draw(st.integers(0, 9)):
        body["Image"] = "busybox"
    if draw(st.integers(0, 4)):
        body["HostConfig"] = draw(bodies_of(HostConfig))
    if draw(st.integers(0, 4)) == 0:
        endpoints = st.dictionaries(TEXTS, bodies_of(EndpointSettings), max_size=2)
        body["NetworkingConfig"] = {"EndpointsConfig": draw(endpoints)}
    return body


JSON_BODIES = {
    "/containers/fuzzed/exec": (
        "AttachStdin AttachStdout AttachStderr Tty Privileged Cmd Env User WorkingDir DetachKeys "
        "ConsoleSize"
    ),
    "/containers/fuzzed/update": (
        "Memory MemorySwap MemoryReservation CpuShares CpuQuota CpuPeriod CpusetCpus CpusetMems "
        "BlkioWeight PidsLimit RestartPolicy NanoCpus CpuRealtimeRuntime KernelMemory"
    ),
    "/volumes/create": "Name Driver DriverOpts Labels ClusterVolumeSpec",
    "/networks/create": (
        "Name Driver CheckDuplicate Internal Attachable Ingress Scope IPAM EnableIPv6 EnableIPv4 "
        "Options Labels ConfigFrom ConfigOnly"
    ),
    "/networks/bridge/connect": "Container EndpointConfig",
    "/networks/bridge/disconnect": "Container Force",
    "/commit": "Cmd Env ExposedPorts Volumes Labels User Healthcheck OnBuild WorkingDir",
    "/containers/fuzzed/start": "Binds PortBindings Dns",
    "/containers/fuzzed/copy": "Resource",
}
SHAPES = ANYTHING | st.lists(TEXTS, max_size=3) | st.dictionaries(TEXTS, TEXTS, max_size=3)


@st.composite
def json_requests(draw: st.DrawFn) -> tuple[str, str, Any]:
    path = draw(st.sampled_from(sorted(JSON_BODIES)))
    names = JSON_BODIES[path].split()
    chosen = draw(st.lists(st.sampled_from(names), max_size=5, unique=True))
    body = {name: draw(SHAPES) for name in chosen}
    if draw(st.integers(0, 9)) == 0:
        body = draw(ANYTHING)
    version = draw(st.sampled_from(["", "/v1.12", "/v1.22", "/v1.24", "/v1.40", "/v1.44"]))
    if path == "/commit":
        path = "/commit?container=fuzzed"
    return "POST", version + path, body


QUERY_NAMES = (
    "all limit size filters name force v t signal stdout stderr since until timestamps tail "
    "follow stream logs detachKeys h w condition ps_args path noOverwriteDirNonDir copyUIDGID "
    "platform container repo tag comment author pause changes fromSrc fromImage message digests "
    "noprune names type verbose scope one-shot quiet dangling shared-size manifests checkpoint "
    "link"
).split()
# Neither do they end by themselves, nor is what they do meant to be taken back.
ENDLESS = {"SystemEvents", "ContainerWait", "Session", "Grpc"}
# fmt: off
FILTERS = st.sampled_from(
    [
        '{"label":["a=b"]}', '{"status":["x"]}', "{", "[]", '{"a":1}', '{"until":["x"]}',
        '{"before":["nosuch"]}', '{"exited":["x"]}', '{"dangling":["maybe"]}',
        '{"id":{"a":true}}', '{"publish":["99999999"]}', '{"ancestor":["::"]}',
        '{"name":["("]}', '{"since":[""]}', "[" * 9000, '{"a":' * 9000, "9" * 5000,
    ]
)
CHANGES = st.sampled_from(
    [
        "ENV a", 'CMD ["\\ud800"]', "CMD " + "[" * 9000, 'CMD ["', "FROM x", "EXPOSE 99999",
        "USER", "HEALTHCHECK --interval=x CMD a",
        "LABEL =", "VOLUME [", "WORKDIR", "STOPSIGNAL 99", "ONBUILD ONBUILD", "ENTRYPOINT {}",
        "\\", "ENV a='",
    ]
)
# fmt: on


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, str, Any]:
    route = draw(st.sampled_from([r for r in ROUTES if r.operation not in ENDLESS]))
    names = draw(st.lists(st.sampled_from(QUERY_NAMES), max_size=4))
    pairs = []
    for name in names:
        of = {"filters": FILTERS, "changes": CHANGES}.get(name, TEXTS | NUMBERS.map(str))
        pairs.append((name, draw(of)))
    if route.operation in ("ContainerStats", "ContainerLogs"):
        pairs = [("stream", "0"), ("follow", "0")] + [
            pair for pair in pairs if pair[0] not in ("stream", "follow")
        ]
    text = draw(st.sampled_from(["fuzzed", "fuzzed", "nosuch"]) | TEXTS)
    target = route.path.replace("{name}", quote(text) or "-")
    version = draw(st.sampled_from(["", "/v1.24", "/v1.41", "/v1.44"]))
    query = urlencode(pairs, errors="replace")
    return route.method, f"{version}{target}?{query}", None


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    root = tmp_path_factory.mktemp("f")
    nowhere = "--default-registry-url=http://127.0.0.1:9"
    with pinnaced.start(
        root, bridge="pnt4f", subnet="10.217.1.1/24", arguments=(nowhere,)
    ) as started:
        started.load(busybox_archive())
        yield started
    remove_root(root)


@pytest.fixture
def fuzzed(engine: Engine) -> Iterator[None]:
    """A container to ask things of; afterwards the engine must hold nothing and still work."""
    restore(engine)
    yield
    remove_everything(engine)
    # Files follow in the background.
    below = engine.root / "data" / "containers"
    end = time.monotonic() + DEADLINE_S
    while below.exists() and (left := list(below.iterdir())):
        assert time.monotonic() < end, left
        time.sleep(0.05)
    log = engine.log.read_text(errors="replace")
    assert "Traceback" not in log, engine.log_end(60)
    restore(engine)
    assert engine.request("POST", "/containers/fuzzed/start").status in (204, 304)
    remove_everything(engine)


def restore(engine: Engine) -> None:
    """Make the image and the container again if an earlier request removed them."""
    if engine.request("GET", "/containers/fuzzed/json").status == 200:
        return
    if engine.request("GET", "/images/busybox/json").status != 200:
        engine.load(busybox_archive())
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    made = engine.request("POST", "/containers/create", body, query={"name": "fuzzed"})
    assert made.status == 201, made.body


def remove_everything(engine: Engine) -> None:
    for one in engine.request("GET", "/containers/json", query={"all": "1"}).json():
        path = f"/containers/{one['Id']}"
        gone = engine.request("DELETE", path, query={"force": "1", "v": "1"})
        assert gone.status == 204, gone.body
    for one in engine.request("GET", "/volumes").json()["Volumes"] or []:
        gone = engine.request("DELETE", f"/volumes/{quote(one['Name'])}")
        assert gone.status == 204, gone.body
    for one in engine.request("GET", "/networks").json():
        if one["Name"] not in ("bridge", "host", "none"):
            gone = engine.request("DELETE", f"/networks/{one['Id']}")
            assert gone.status == 204, gone.body


def check(answer: Answer, asked: object) -> None:
    """Refuse answers that say the engine did not expect what it was given.

    501 and 503 are answers; so are the texts below, which are 500 as Docker sends them.
    """
    if answer.status == 500:
        known = (
            b" is not paused",
            b"invalid reference format\n",
            b"cannot remove the default link name",
            b"dial tcp",  # a registry or another server that is not there
        )
        assert any(text in answer.body for text in known), (answer.body, asked)


def fuzz(strategy: st.SearchStrategy[Any], attempt: Callable[[Any], None], share: float) -> int:
    """Try examples until the share of the time is over; fail with all that went wrong."""
    end = time.monotonic() + share
    tried = 0
    wrong: list[str] = []

    def limited(example: Any) -> None:
        nonlocal tried
        if time.monotonic() > end:
            return
        tried += 1
        try:
            attempt(example)
        except AssertionError as error:
            wrong.append(str(error)[:600])

    # In portions, because making examples takes time too.
    portion = settings(
        max_examples=PORTION,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )(given(strategy)(limited))
    number = SEED
    while time.monotonic() < end:
        seeded(number)(portion)()
        number += 1
    assert not wrong, f"{len(wrong)} of {tried}:\n" + "\n".join(wrong[:SHOWN])
    return tried


def descriptors(engine: Engine) -> int:
    return len(os.listdir(f"/proc/{engine.pid}/fd"))


def test_class_17_no_body_of_create_makes_the_engine_fail_or_leak(engine, fuzzed):
    def attempt(body: Any) -> None:
        answer = engine.request("POST", "/containers/create", body)
        check(answer, body)
        if answer.status == 201:
            one = answer.json()["Id"]
            shown = engine.request("GET", f"/containers/{one}/json")
            assert shown.status == 200, shown.body
            query = {"force": "1", "v": "1"}
            check(engine.request("DELETE", f"/containers/{one}", query=query), body)

    before = descriptors(engine)
    assert fuzz(creations(), attempt, SECONDS * 2 / TARGETS) > 5
    assert descriptors(engine) < before + 20


def test_class_17_no_other_json_body_makes_the_engine_fail(engine, fuzzed):
    def attempt(request: tuple[str, str, Any]) -> None:
        method, target, body = request
        restore(engine)
        check(engine.request(method, target, body), request)

    assert fuzz(json_requests(), attempt, SECONDS * 2 / TARGETS) > 5


def test_class_17_no_query_makes_the_engine_fail(engine, fuzzed):
    def attempt(request: tuple[str, str, Any]) -> None:
        method, target, body = request
        restore(engine)
        check(engine.request(method, target, body), request)

    assert fuzz(queries(), attempt, SECONDS / TARGETS) > 5


def test_class_17_bytes_that_are_hardly_json_are_refused(engine, fuzzed):
    numbers = random.Random(SEED)
    whole = b'{"Image":"busybox","HostConfig":{"Memory":6291456,"Binds":["a:/a"]},"Env":["a=b"]}'
    odd = [
        b"[" * 100_000,
        b'{"a":' * 5000,
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"Image":"\\ud800"}',
    ]
    odd += [b"1e999", b'{"HostConfig":{"Memory":1e999}}', b'{"Image":"busybox","StopTimeout":1.5}']
    for _ in range(100):
        broken = bytearray(whole)
        for _ in range(numbers.randint(1, 3)):
            broken[numbers.randrange(len(broken))] = numbers.randrange(256)
        odd.append(bytes(broken))
    for body in odd:
        sent = {"Content-Type": "application/json"}
        check(engine.request("POST", "/containers/create", body, headers=sent), body[:200])
