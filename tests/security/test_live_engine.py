"""Attacks replayed against a running daemon, through its API, as an attacker would."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import socket
import stat
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.security.test_archives import ATTACKS, hostile
from tests.support import pinnaced
from tests.support.archives import file, tar_of
from tests.support.engine import UnixConnection, remove_root
from tests.support.images import busybox_archive, tiny_image

from pinnace.client.image_archive import Entry, directory, symlink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.engine import Answer, Engine

pytestmark = pytest.mark.root

BRIDGE, ADDRESS = "pnt4", "10.217.0.1"
MIB = 1 << 20
DEADLINE_S = 60.0
TAR = {"Content-Type": "application/x-tar"}
# A setting whose change would do no harm, should an attack succeed.
SETTING, OTHER = Path("/proc/sys/kernel/printk_ratelimit_burst"), "77"


@pytest.fixture(scope="module")
def tcp_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, tcp_port: int) -> Iterator[Engine]:
    root = tmp_path_factory.mktemp("s")
    arguments = (f"--host=tcp://127.0.0.1:{tcp_port}",)
    subnet = f"{ADDRESS}/24"
    with pinnaced.start(root, bridge=BRIDGE, subnet=subnet, arguments=arguments) as started:
        started.load(busybox_archive())
        yield started
    remove_root(root)


@pytest.fixture(autouse=True)
def no_containers_left(engine: Engine) -> Iterator[None]:
    yield
    for one in engine.request("GET", "/containers/json", query={"all": "1"}).json():
        engine.request("DELETE", f"/containers/{one['Id']}", query={"force": "1", "v": "1"})


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a container: the answer to its start, its exit code, what it printed."""

    start: Answer
    code: int = -1
    printed: str = ""


def create(engine: Engine, *command: str, **config: Any) -> str:
    host = {"NetworkMode": "none", **config.pop("HostConfig", {})}
    body = {"Image": "busybox", "Cmd": list(command) or None, "Tty": True, **config}
    answer = engine.request("POST", "/containers/create", {**body, "HostConfig": host})
    assert answer.status == 201, answer.body
    return answer.json()["Id"]


def run(engine: Engine, *command: str, **config: Any) -> Ran:
    one = create(engine, *command, **config)
    started = engine.request("POST", f"/containers/{one}/start")
    if started.status != 204:
        return Ran(started)
    code = engine.request("POST", f"/containers/{one}/wait").json()["StatusCode"]
    logs = engine.request("GET", f"/containers/{one}/logs", query={"stdout": "1", "stderr": "1"})
    return Ran(started, code, logs.body.decode(errors="replace").replace("\r\n", "\n"))


def shell(engine: Engine, script: str, **config: Any) -> Ran:
    return run(engine, "sh", "-c", script, **config)


def sleeper(engine: Engine, **config: Any) -> str:
    one = create(engine, "sleep", "1000", **config)
    answer = engine.request("POST", f"/containers/{one}/start")
    assert answer.status == 204, answer.body
    return one


def exec_in(engine: Engine, one: str, *command: str, **config: Any) -> str:
    """Run a command in a container; return what it printed, or the refusal."""
    body = {
        "Cmd": list(command),
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": True,
        **config,
    }
    made = engine.request("POST", f"/containers/{one}/exec", body)
    if made.status != 201:
        return made.body.decode()
    path = f"/exec/{made.json()['Id']}/start"
    printed = engine.request("POST", path, {"Detach": False, "Tty": True}).body
    return printed.decode(errors="replace").replace("\r\n", "\n")


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host which must look the same after the attack."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "canary").write_text("of the host")
    yield place
    assert os.listdir(place) == ["canary"]
    assert (place / "canary").read_text() == "of the host"


def test_class_1_an_image_that_runs_the_runtime_again_leaves_it_as_it_was(engine):
    """CVE-2019-5736."""
    program = Path("/usr/bin/crun")
    before = hashlib.sha256(program.read_bytes()).digest()
    engine.load(tiny_image("class1:1", [symlink("bin/again", "/proc/self/exe")]))
    run(engine, "/bin/again", "--version", Image="class1:1")
    overwrite = "for n in 1 2 3; do for p in /proc/[0-9]*/exe; do (echo evil >$p); done; done"
    attacker = create(engine, "sh", "-c", f"while :; do {overwrite}; done", Image="class1:1")
    engine.request("POST", f"/containers/{attacker}/start")
    for _ in range(5):
        exec_in(engine, attacker, "/bin/again", "--version")
    assert hashlib.sha256(program.read_bytes()).digest() == before
    assert run(engine, "true").code == 0


@pytest.mark.parametrize("number", range(3, 21))
def test_class_2_a_working_directory_behind_a_descriptor_lands_inside(engine, number, outside):
    """CVE-2024-21626, with `run` and with `exec`."""
    up = "../../../../../../../../../.."
    script = f"cat {up}{outside}/canary; echo done"
    ran = shell(engine, script, WorkingDir=f"/proc/self/fd/{number}")
    assert "of the host" not in ran.printed
    if number % 6 == 3:
        one = sleeper(engine)
        printed = exec_in(engine, one, "sh", "-c", script, WorkingDir=f"/proc/self/fd/{number}")
        assert "of the host" not in printed


def test_class_3_links_for_dev_null_and_below_proc_redirect_nothing(engine):
    """CVE-2025-31133, CVE-2025-52565, CVE-2025-52881."""
    before = SETTING.read_text()
    links = [directory("dev"), symlink("dev/null", str(SETTING)), symlink("dev/pts", "/proc")]
    links += [symlink("dev/console", str(SETTING)), directory("proc"), symlink("proc/bus", "/etc")]
    engine.load(tiny_image("class3:1", links))
    script = f"head -c 9 /proc/timer_list | wc -c; echo {OTHER} > {SETTING}; echo x >/dev/null"
    try:
        ran = shell(engine, script, Image="class3:1")
        now = SETTING.read_text()
    finally:
        SETTING.write_text(before)
    assert now == before
    if ran.start.status == 204:
        assert ran.printed.splitlines()[0].strip() == "0"
        assert "Read-only file system" in ran.printed


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
def test_class_4_a_root_whose_mount_point_is_a_link_is_refused_before_it_starts(engine, name):
    """CVE-2026-47766."""
    engine.load(tiny_image(f"class4:{name}", [symlink(name, "/tmp")]))
    one = create(engine, "true", Image=f"class4:{name}")
    answer = engine.request("POST", f"/containers/{one}/start")
    assert answer.status == 400, answer.body
    assert f"/{name}" in answer.json()["message"]
    assert engine.request("GET", f"/containers/{one}/json").json()["State"]["Status"] == "created"


PASSWD = (
    b"root:x:0:0::/:/bin/sh\nann:x:7:8::/:/bin/sh\n0day:x:0:0::/:/bin/sh\n99:x:0:0::/:/bin/sh\n"
)
GROUP = b"root:x:0:\nann:x:8:\nclub:x:44:ann\nnone:x:45:ann,\n"


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("ann", "7 8 8,44,45"),
        ("7", "7 8 8,44,45"),
        ("ann:club", "7 44 44"),
        ("ann:0", "7 0 0"),
        ("1234:5", "1234 5 5"),
        ("1234", "1234 0 0"),
    ],
)
def test_class_5_users_and_groups_are_those_of_the_images_files(engine, user, ids):
    """CVE-2026-30892, CVE-2022-36109."""
    files = [directory("etc"), Entry("etc/passwd", data=PASSWD), Entry("etc/group", data=GROUP)]
    engine.load(tiny_image("class5:1", files))
    script = (
        "set -- $(grep ^Uid: /proc/self/status); echo IDS $2; "
        "grep ^Gid: /proc/self/status; grep ^Groups: /proc/self/status"
    )
    uid, gid, groups = ids.split()

    def check(printed: str) -> None:
        words = printed.split()
        assert words[:2] == ["IDS", uid], printed
        assert words[3:7] == [gid] * 4, printed
        assert set(words[8:]) == set(groups.split(",")), printed

    check(shell(engine, script, Image="class5:1", User=user).printed)
    one = sleeper(engine, Image="class5:1")
    check(exec_in(engine, one, "sh", "-c", script, User=user))


@pytest.mark.parametrize(
    "user", ["-1", "4294967296", "nobody-here", "0x0", "+0", "ann:-1", "7:no"]
)
def test_class_5_users_that_do_not_exist_are_refused_not_root(engine, user):
    ran = run(engine, "id", User=user)
    assert ran.start.status in (400, 404), ran
    answer = exec_in(engine, sleeper(engine), "id", User=user)
    assert "uid=" not in answer


def capabilities(printed: str) -> dict[str, str]:
    return dict(re.findall(r"^(Cap\w+):\s*(\w+)", printed, re.MULTILINE))


@pytest.mark.parametrize("options", [{}, {"CapAdd": ["NET_ADMIN"]}, {"Privileged": True}])
def test_class_6_nothing_is_inheritable_or_ambient(engine, options):
    """CVE-2022-27649."""
    show = ("cat", "/proc/self/status")
    one = sleeper(engine, HostConfig=options)
    seen = [
        run(engine, *show, HostConfig=options).printed,
        run(engine, *show, HostConfig=options, User="9").printed,
        exec_in(engine, one, *show),
        exec_in(engine, one, *show, User="9"),
        exec_in(engine, one, *show, Privileged=True),
    ]
    for printed in seen:
        found = capabilities(printed)
        assert found["CapInh"] == found["CapAmb"] == "0" * 16, printed
    for printed in (seen[1], seen[3]):
        assert capabilities(printed)["CapEff"] == "0" * 16


SWAP = (
    "mkdir -p /swap; while :; do mv /swap /aside; ln -s {0} /swap; rm /swap; mv /aside /swap; done"
)


def test_class_7_copying_beside_a_renaming_container_stays_inside(engine, outside):
    """CVE-2018-15664, both directions, the container running."""
    one = create(engine, "sh", "-c", SWAP.format(outside))
    assert engine.request("POST", f"/containers/{one}/start").status == 204
    owned = tar_of(file("canary", b"owned"), file("owned", b"owned"))
    for _ in range(40):
        query = {"path": "/swap"}
        put = engine.request("PUT", f"/containers/{one}/archive", owned, query=query, headers=TAR)
        assert put.status in (200, 400, 404), put.body
        got = engine.request("GET", f"/containers/{one}/archive", query={"path": "/swap/canary"})
        assert b"of the host" not in got.body
        assert got.status in (200, 400, 404), got.body


def test_class_7_absolute_links_lead_inside(engine):
    links = [directory("run"), directory("var"), symlink("var/run", "/run")]
    engine.load(tiny_image("class7:1", links))
    one = create(engine, "true", Image="class7:1")
    query = {"path": "/var/run"}
    content = tar_of(file("pid", b"12"))
    put = engine.request("PUT", f"/containers/{one}/archive", content, query=query, headers=TAR)
    assert put.status == 200, put.body
    got = engine.request("GET", f"/containers/{one}/archive", query={"path": "/run/pid"})
    assert got.status == 200
    assert b"12" in got.body


def test_class_8_no_program_of_the_image_unpacks_what_is_copied_in(engine):
    script = b"#!/bin/sh\necho ran > /EVIL\ncat\n"
    names = ("xz", "unxz", "gzip", "gunzip", "bzip2", "zstd", "tar", "unpigz")
    folders = [directory("usr"), directory("usr/bin"), directory("usr/local")]
    folders.append(directory("usr/local/bin"))
    evil = [
        Entry(f"{place}/{name}", mode=0o755, data=script)
        for place in ("bin", "usr/bin", "usr/local/bin")
        for name in names
    ]
    engine.load(tiny_image("class8:1", [*folders, *evil]))
    one = sleeper(engine, Image="class8:1")
    plain = tar_of(file("inside", b"copied"))
    for program in ("gzip", "xz", "bzip2"):
        packed = subprocess.run([program, "-c"], input=plain, capture_output=True, check=True)
        query = {"path": "/"}
        body = packed.stdout
        put = engine.request("PUT", f"/containers/{one}/archive", body, query=query, headers=TAR)
        assert put.status == 200, (program, put.body)
    assert exec_in(engine, one, "ls", "/EVIL", "/inside").count("/EVIL: No such file") == 1
    assert "copied" in exec_in(engine, one, "cat", "/inside")


def layered(name: str, layer: bytes) -> bytes:
    """An image archive whose only layer is hostile."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }
    encoded = json.dumps(config).encode()
    digest = hashlib.sha256(encoded).hexdigest()
    manifest = [{"Config": f"{digest}.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    return tar_of(
        file(f"{digest}.json", encoded),
        file("layer.tar", layer),
        file("manifest.json", json.dumps(manifest).encode()),
    )


def test_class_9_the_corpus_of_attacks_stays_inside_through_every_door(engine, outside):
    """The attacks through load, import and cp; then what arrived is exported again."""
    assert len(ATTACKS) >= 40
    one = create(engine, "true")
    bad = []
    for number, (name, attack) in enumerate(ATTACKS.items()):
        evil = hostile(attack, outside)
        answers = [
            engine.request("POST", "/images/load", evil, headers=TAR),
            engine.request("POST", "/images/load", layered(f"c9:{number}", evil), headers=TAR),
            engine.request(
                "POST",
                "/images/create",
                evil,
                query={"fromSrc": "-", "repo": f"i9:{number}"},
                headers=TAR,
            ),
            engine.request(
                "PUT", f"/containers/{one}/archive", evil, query={"path": "/tmp"}, headers=TAR
            ),
            engine.request(
                "PUT", f"/containers/{one}/archive", evil, query={"path": "/"}, headers=TAR
            ),
        ]
        bad += [(name, a.status, a.body[:200]) for a in answers if a.status >= 500]
    exported = engine.request("GET", f"/containers/{one}/export")
    assert exported.status == 200
    assert b"of the host" not in exported.body
    assert not bad
    assert not list(Path("/tmp").glob("owned*"))
    remove_images(engine, "c9:", "i9:")


def remove_images(engine: Engine, *prefixes: str) -> None:
    """Remove what was loaded, trees of any depth included; nothing of it may remain."""
    for one in engine.request("GET", "/containers/json", query={"all": "1"}).json():
        engine.request("DELETE", f"/containers/{one['Id']}", query={"force": "1"})
    for image in engine.request("GET", "/images/json").json():
        for tag in image["RepoTags"] or []:
            if tag.startswith(prefixes):
                gone = engine.request("DELETE", f"/images/{tag}", query={"force": "1"})
                assert gone.status == 200, (tag, gone.body)


@pytest.mark.parametrize("kind", ["fifo", "huge", "link"])
def test_class_10_a_strange_passwd_neither_hangs_nor_fills_the_daemon(engine, kind, outside):
    """CVE-2024-9676."""
    entry = {
        "fifo": Entry("etc/passwd", tarfile.FIFOTYPE),
        "huge": Entry("etc/passwd", data=b"a:x:1:1::/:\n" * (3 * MIB)),
        "link": symlink("etc/passwd", str(outside / "canary")),
    }[kind]
    engine.load(tiny_image(f"class10:{kind}", [directory("etc"), entry]))
    before = resident(engine.pid)
    ran = run(engine, "true", Image=f"class10:{kind}", User="somebody")
    assert ran.start.status in (400, 404), ran
    assert "of the host" not in ran.start.body.decode()
    assert run(engine, "true", Image=f"class10:{kind}", User="5:6").code in (0, -1)
    assert resident(engine.pid) - before < 128 * MIB


def resident(pid: int) -> int:
    """Bytes of memory a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def chunked(engine: Engine, target: str, body: bytes) -> tuple[int, bytes]:
    connection = UnixConnection(engine.socket)
    try:
        headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
        pieces = (body[i : i + 4096] for i in range(0, len(body), 4096))
        connection.request("POST", target, pieces, headers, encode_chunked=True)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


YES, NO = b'"Privileged":true', b'"privileged":false'
BODIES_17 = {
    "two spellings": b'{"Image":"busybox","HostConfig":{' + NO + b"," + YES + b"}}",
    "two spellings, reversed": b'{"Image":"busybox","HostConfig":{' + YES + b"," + NO + b"}}",
    "twice": b'{"Image":"busybox","HostConfig":{' + YES + b',"Privileged":false}}',
    "two objects": b'{"HostConfig":{' + YES + b'},"Image":"busybox","hostconfig":{"Binds":null}}',
    "late": b'{"Image":"busybox","Labels":{"a":"%s"},"HostConfig":{%s}}' % (b"x" * 2 * MIB, YES),
}


@pytest.mark.parametrize("name", BODIES_17)
@pytest.mark.parametrize("transfer", ["length", "chunks"])
def test_class_17_what_is_shown_is_what_runs(engine, name, transfer):
    """CVE-2024-41110, CVE-2026-34040."""
    body = BODIES_17[name].replace(
        b'"Image"', b'"Tty":true,"Cmd":["cat","/proc/self/status"],"Image"'
    )
    if transfer == "chunks":
        status_code, answer = chunked(engine, "/containers/create", body)
    else:
        sent = {"Content-Type": "application/json"}
        reply = engine.request("POST", "/containers/create", body, headers=sent)
        status_code, answer = reply.status, reply.body
    assert status_code == 201, answer
    one = json.loads(answer)["Id"]
    shown = engine.request("GET", f"/containers/{one}/json").json()["HostConfig"]["Privileged"]
    assert engine.request("POST", f"/containers/{one}/start").status == 204
    engine.request("POST", f"/containers/{one}/wait")
    logs = engine.request("GET", f"/containers/{one}/logs", query={"stdout": "1"}).body.decode()
    assert (capabilities(logs)["CapEff"] != "00000000a80425fb") is shown


def test_class_17_an_empty_body_makes_nothing(engine):
    for body in (b"", b"null", b"{}", b"[]", b'""'):
        sent = {"Content-Type": "application/json"}
        answer = engine.request("POST", "/containers/create", body, headers=sent)
        assert answer.status == 400, (body, answer.body)
    assert chunked(engine, "/containers/create", b"")[0] == 400
    assert engine.request("GET", "/containers/json", query={"all": "1"}).json() == []


def test_class_18_every_way_to_ask_for_a_mount_ends_in_one_list(engine, outside):
    """CVE-2026-6406: a judge of the list must see the mounts of all fields."""
    source = str(outside)
    other = create(engine, "true", HostConfig={"Binds": [f"{source}:/d:ro"]})
    host = {
        "Binds": [f"{source}:/a:ro"],
        "Mounts": [{"Type": "bind", "Source": source, "Target": "/b", "ReadOnly": True}],
        "VolumesFrom": [f"{other}:ro"],
    }
    one = create(engine, "cat", "/proc/self/mountinfo", Volumes={"/c": {}}, HostConfig=host)
    listed = engine.request("GET", f"/containers/{one}/json").json()["Mounts"]
    assert {m["Destination"] for m in listed} == {"/a", "/b", "/c", "/d"}
    assert {m["Source"] for m in listed if m["Type"] == "bind"} == {source}
    engine.request("POST", f"/containers/{one}/start")
    engine.request("POST", f"/containers/{one}/wait")
    logs = engine.request("GET", f"/containers/{one}/logs", query={"stdout": "1"}).body.decode()
    points = {line.split()[4] for line in logs.splitlines() if len(line.split()) > 5}
    assert points >= {"/a", "/b", "/c", "/d"}


@pytest.mark.parametrize("second", ["/a", "/a/", "/x/../a", "//a", "/./a"])
def test_class_18_two_mounts_at_one_place_are_refused_however_they_are_spelt(
    engine, outside, second
):
    host = {
        "Binds": [f"{outside}:/a:ro"],
        "Mounts": [{"Type": "bind", "Source": str(outside), "Target": second}],
    }
    body = {"Image": "busybox", "HostConfig": host}
    answer = engine.request("POST", "/containers/create", body)
    assert answer.status == 400, answer.body
    assert "Duplicate mount point" in answer.json()["message"]


WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example", **WEBSOCKET},
    ],
)
def test_class_20_pages_of_other_sites_are_refused_on_the_tcp_listener(engine, tcp_port, headers):
    one = sleeper(engine)
    upgraded = "Upgrade" in headers
    target = f"/containers/{one}/attach/ws?stream=1" if upgraded else f"/containers/{one}/json"
    connection = http.client.HTTPConnection("127.0.0.1", tcp_port, timeout=DEADLINE_S)
    try:
        connection.request("GET", target, headers=headers)
        assert connection.getresponse().status == 403
    finally:
        connection.close()


def test_class_21_a_container_reaches_the_api_at_no_address_of_the_host(engine, tcp_port):
    """CVE-2025-9074."""
    shown = subprocess.run(["ip", "-o", "-4", "addr"], capture_output=True, check=True).stdout
    addresses = re.findall(r"inet ([\d.]+)", shown.decode())
    assert {"127.0.0.1", ADDRESS} <= set(addresses)
    tries = "; ".join(
        f"wget -q -T 3 -O - http://{a}:{port}/_ping && echo REACHED {a}:{port}"
        for a in addresses
        for port in (tcp_port, 2375)
    )
    ran = shell(engine, f"{tries}; echo done", HostConfig={"NetworkMode": "bridge"})
    assert "REACHED" not in ran.printed
    assert "done" in ran.printed


def test_class_22_a_client_that_says_nothing_keeps_nobody_waiting(engine):
    held = []
    try:
        for _ in range(20):
            one = socket.socket(socket.AF_UNIX)
            one.connect(str(engine.socket))
            one.sendall(
                b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"
            )
            held.append(one)
        assert engine.request("GET", "/containers/json").status == 200
    finally:
        for one in held:
            one.close()


WALK = """
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for top in sys.argv[1:]:
    for here, names, files in os.walk(top):
        for name in files:
            try: open(os.path.join(here, name), "rb").close()
            except OSError: continue
            print("READ", os.path.join(here, name))
        if names or files: print("LIST", here)
"""


def test_class_23_an_unprivileged_walk_finds_nothing(engine):
    sleeper(engine, HostConfig={"NetworkMode": "bridge"})
    tops = [engine.root / "data", engine.root / "exec"]
    opened = [
        p for p in [engine.root, *engine.root.parents] if not p.stat().st_mode & stat.S_IXOTH
    ]
    modes = {path: path.stat().st_mode for path in opened}
    try:
        for path, mode in modes.items():
            path.chmod(mode | stat.S_IXOTH)
        done = subprocess.run(
            [sys.executable, "-I", "-c", WALK, *map(str, tops)], capture_output=True, check=True
        )
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert done.stdout == b""
    assert tops[0].stat().st_mode & 0o777 <= 0o710
    assert tops[1].stat().st_mode & 0o777 <= 0o711
    assert engine.socket.stat().st_mode & 0o007 == 0


NEIGHBOUR, NEIGHBOUR_ADDRESS, WIRE_ADDRESS = "pnt4n", "10.217.9.2", "10.217.9.1"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def neighbour() -> Iterator[None]:
    """A machine on a wire to the host, which sends what is for containers to the host."""
    ip("netns", "add", NEIGHBOUR)
    try:
        ip("link", "add", "pnt4w", "type", "veth", "peer", "name", "eth0", "netns", NEIGHBOUR)
        ip("address", "add", f"{WIRE_ADDRESS}/24", "dev", "pnt4w")
        ip("link", "set", "pnt4w", "up")
        inside = ("-n", NEIGHBOUR)
        ip(*inside, "address", "add", f"{NEIGHBOUR_ADDRESS}/24", "dev", "eth0")
        ip(*inside, "link", "set", "lo", "up")
        ip(*inside, "link", "set", "eth0", "up")
        ip(*inside, "route", "add", "default", "via", WIRE_ADDRESS)
        yield
    finally:
        ip("netns", "delete", NEIGHBOUR)


CONNECT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])) as one:
    print(one.recv(1000))
"""


def connect_from_neighbour(address: str, port: int, timeout_s: float) -> bool:
    """Whether a service answered the neighbour."""
    words = [sys.executable, "-I", "-c", CONNECT, address, str(port), str(timeout_s)]
    command = ["ip", "netns", "exec", NEIGHBOUR, *words]
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode == 0 and b"hello" in done.stdout


def listening(engine: Engine, **bindings: list[dict[str, str]]) -> tuple[str, str, dict[str, Any]]:
    """Start a container that listens on 80 and 81; return its id, its address, its ports."""
    script = (
        "for p in 80 81; do "
        "nc -ll -p $p -e sh -c 'echo hello; cat /proc/net/tcp* >> /peers' & done; wait"
    )
    ports = {name.replace("_", "/"): value for name, value in bindings.items()}
    host = {"NetworkMode": "bridge", "PortBindings": ports}
    exposed: dict[str, Any] = {name: {} for name in ports}
    one = create(engine, "sh", "-c", script, ExposedPorts=exposed, HostConfig=host)
    assert engine.request("POST", f"/containers/{one}/start").status == 204
    settings = engine.request("GET", f"/containers/{one}/json").json()["NetworkSettings"]
    return (
        one,
        settings["Networks"]["bridge"]["IPAddress"],
        settings["Ports"],
    )


def wait_until_answered(address: str, port: int) -> None:
    end = time.monotonic() + DEADLINE_S
    while not connect_from_neighbour(address, port, 5):
        assert time.monotonic() < end, "the published port does not answer"
        time.sleep(0.1)


def test_class_24_a_published_service_sees_the_neighbours_own_address(engine, neighbour):
    """CVE-2021-20199."""
    one, _, ports = listening(engine, **{"80_tcp": [{"HostIp": "", "HostPort": ""}]})
    wait_until_answered(WIRE_ADDRESS, int(ports["80/tcp"][0]["HostPort"]))
    seen = exec_in(engine, one, "cat", "/peers")
    peer = socket.inet_aton(NEIGHBOUR_ADDRESS)[::-1].hex().upper()
    assert f"{peer}:" in seen
    assert "0100007F:" not in seen


def test_class_25_neighbours_reach_what_is_published_to_them_and_nothing_else(engine, neighbour):
    bindings = {
        "80_tcp": [{"HostIp": "", "HostPort": ""}],
        "81_tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
    }
    _, address, ports = listening(engine, **bindings)
    wait_until_answered(WIRE_ADDRESS, int(ports["80/tcp"][0]["HostPort"]))
    private = int(ports["81/tcp"][0]["HostPort"])
    # What is not published, through the host; and what is published to the host alone.
    for target, port in ((address, 81), (WIRE_ADDRESS, private), (WIRE_ADDRESS, 81)):
        assert not connect_from_neighbour(target, port, 2), (target, port)
    ip("-n", NEIGHBOUR, "address", "delete", "127.0.0.1/8", "dev", "lo")
    ip("-n", NEIGHBOUR, "route", "add", "127.0.0.0/8", "via", WIRE_ADDRESS)
    ip("netns", "exec", NEIGHBOUR, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    assert not connect_from_neighbour("127.0.0.1", private, 2)


ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[31m"


def test_class_26_control_characters_do_not_reach_a_persons_terminal(engine):
    one = create(engine, "sleep", f"1000{ESCAPES}\r\nforged", Labels={"a": ESCAPES})
    pinnace = str(Path(sys.executable).with_name("pinnace"))
    for words in (("ps", "-a"), ("ps", "-a", "--no-trunc"), ("inspect", one)):
        done = engine.cli(*words, program=pinnace)
        assert done.returncode == 0, done.stderr
        assert b"\x1b" not in done.stdout
        assert b"\x07" not in done.stdout
        assert b"\nforged" not in done.stdout


def test_class_26_what_clients_say_forges_no_line_in_the_daemons_log(engine):
    evil = f"x{ESCAPES}\nlevel=info FORGED"
    for body in ({"Image": evil}, {"Image": "busybox", "User": evil, "Hostname": evil}):
        engine.request("POST", "/containers/create", body)
    engine.request("GET", "/containers/%1b%5b2J%0aFORGED/json")
    engine.request("POST", "/containers/create?name=%1b%0aFORGED", {"Image": "busybox"})
    ran = run(engine, f"/no/such/{evil}", User="5")
    assert ran.start.status != 204
    log = engine.log.read_bytes()
    assert b"\x1b" not in log
    assert not re.search(rb"^(level=info )?FORGED", log, re.MULTILINE)


def test_class_26_a_line_without_end_costs_no_memory(engine):
    before = resident(engine.pid)
    size = 64 * MIB
    script = f"head -c {size} /dev/zero | tr '\\0' x"
    one = create(engine, "sh", "-c", script, Tty=False)
    assert engine.request("POST", f"/containers/{one}/start").status == 204
    engine.request("POST", f"/containers/{one}/wait", timeout=120)
    connection = UnixConnection(engine.socket)
    received = 0
    peak = 0
    try:
        connection.request("GET", f"/containers/{one}/logs?stdout=1")
        answer = connection.getresponse()
        while piece := answer.read(MIB):
            received += len(piece)
            peak = max(peak, resident(engine.pid))
    finally:
        connection.close()
    assert received >= size
    assert peak - before < 48 * MIB


MASKED = "acpi asound interrupts kcore keys latency_stats sched_debug scsi timer_list timer_stats"
MASKED_PATHS = [f"/proc/{name}" for name in MASKED.split()]
MASKED_PATHS += ["/sys/devices/virtual/powercap", "/sys/firmware"]


def test_class_27_every_masked_path_shows_nothing(engine):
    """A snapshot of all that uid 0 of an ordinary container sees there."""
    cpu = "/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle"
    script = f"""for p in {" ".join(MASKED_PATHS)} {cpu}; do
        if [ -d $p ]; then echo "$p $(ls -A $p | wc -l)"
        elif [ -e $p ]; then echo "$p $(head -c 64 $p | wc -c)"; fi; done; echo end"""
    lines = shell(engine, script).printed.splitlines()
    assert lines[-1] == "end"
    assert all(line.endswith(" 0") for line in lines[:-1]), lines
    present = [path for path in MASKED_PATHS if Path(path).exists()]
    assert [line.split()[0] for line in lines[:-1] if "/cpu/" not in line] == present


def test_class_27_what_must_not_be_written_is_not(engine):
    paths = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
    present = [path for path in paths if Path(path).exists()]
    script = "; ".join(f"grep -c ' {path} ro' /proc/self/mountinfo" for path in present)
    assert shell(engine, script).printed.split() == ["1"] * len(present)
