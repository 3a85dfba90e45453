"""Images to and from real registries, with the programs that people use.

One docker-registry of each kind: plain, TLS with its own CA, passwords, tokens. The TLS one has
an address that is not loopback, since loopback is trusted without certificates.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import docker
import pytest
from tests.support import dockerd, images, pinnaced, registry
from tests.support.bad_proxy import BadProxy, CutRequest, Status
from tests.support.engine import remove_root, unmount_below

from pinnace.client.image_archive import Entry

pytestmark = pytest.mark.root

KINDS = ("plain", "tls", "basic", "token")
ADDRESS = "10.225.0.253"
PINNACE = str(Path(sys.executable).with_name("pinnace"))
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
# The host may not let anybody raise limits, which podman does by itself.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
CREDENTIALS = {"username": registry.USERNAME, "password": registry.PASSWORD}
CONFIG = {"Cmd": ["cat", "/greeting"], "Labels": {"kind": "test"}}


@pytest.fixture(scope="module")
def root():
    place = Path(tempfile.mkdtemp(prefix="pnt-reg-", dir="/var/tmp"))
    try:
        yield place
    finally:
        unmount_below(place)
        remove_root(place)


@pytest.fixture(scope="module")
def servers(root):
    """Registries by kind."""
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(registry.own_address(ADDRESS))
        started = {}
        for kind in KINDS:
            at = {"address": address} if kind == "tls" else {}
            server = registry.start(root / kind, kind=kind, **at)
            started[kind] = stack.enter_context(server)
        yield started


@pytest.fixture(scope="module")
def engine(root, servers):
    """Our daemon, with busybox and an image `greeting:1` of two layers on it."""
    trusted = f"--registry-certs-dir={servers['tls'].certs_d}"
    running = pinnaced.start(
        root / "p", bridge="pnt24", subnet="10.225.0.1/24", arguments=(trusted,)
    )
    with running:
        log_in(running, servers)
        running.load(greeting_archive())
        yield running


@pytest.fixture(scope="module")
def moby(root, servers):
    """Debian's dockerd."""
    insecure = f"--insecure-registry={servers['tls'].address}"
    with dockerd.start(root / "d", bridge=None, arguments=(insecure,)) as running:
        log_in(running, servers)
        yield running


@pytest.fixture
def repository(request):
    """A name of a repository that no other test uses."""
    return f"t{digest_of(request.node.name.encode())[7:17]}/app"


def log_in(engine, servers):
    """Give the Docker CLI of an engine, and our own, the passwords of all registries."""
    packed = base64.b64encode(f"{registry.USERNAME}:{registry.PASSWORD}".encode()).decode()
    auths = {server.address: {"auth": packed} for server in servers.values()}
    directory = engine.root / "docker-config"
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"auths": auths}))


def greeting_archive(tag="greeting:1", text=b"hello\n"):
    return images.tiny_image(tag, [Entry("greeting", data=text)], config=CONFIG)


def image_id(engine, name):
    answer = engine.request("GET", f"/images/{name}/json")
    assert answer.status == 200, answer.body
    return answer.json()["Id"]


def repo_digests(engine, name):
    return engine.request("GET", f"/images/{name}/json").json()["RepoDigests"]


def tag(engine, name, target):
    done = engine.cli("tag", name, target)
    assert done.returncode == 0, done.stderr


def forget(engine, *names):
    for name in names:
        assert engine.request("DELETE", f"/images/{name}", timeout=60).status in (200, 404)


def digest_of(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def run(engine, name):
    """Return what the image prints."""
    done = engine.cli("run", "--rm", "--network", "none", name)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- clients ------------------------------------------------------------------------------------


def cli(program):
    def act(engine, verb, name, *options):
        # The Docker CLI wants its credentials where it looks for them, as ours does.
        done = engine.cli(verb, *options, name, program=program)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout.decode()

    return act


def docker_py(engine, verb, name, *options):
    assert not options
    with contextlib.closing(docker.APIClient(base_url=engine.host, timeout=60)) as api:
        repository, _, label = name.rpartition(":")
        call = api.push if verb == "push" else api.pull
        messages = call(repository, tag=label, stream=True, decode=True, auth_config=CREDENTIALS)
        told = list(messages)
    assert not any("error" in message for message in told), told
    return "\n".join(message.get("status", "") for message in told)


CLIENTS = {"docker": cli("docker"), "docker-py": docker_py, "pinnace": cli(PINNACE)}
docker_cli = CLIENTS["docker"]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_pushed_comes_back_the_same(engine, servers, repository, kind, client):
    server, act = servers[kind], CLIENTS[client]
    name = f"{server.address}/{repository}:1"
    tag(engine, "greeting:1", name)
    image = image_id(engine, name)
    server.forget_requests()
    said = act(engine, "push", name)
    assert server.count("PUT", "/manifests/1", status=201) == 1
    digest = digest_of(server.get_manifest(repository, "1")[0])
    assert digest in said
    assert f"{server.address}/{repository}@{digest}" in repo_digests(engine, name)

    server.forget_requests()
    act(engine, "push", name)
    assert not [one for one in server.requests() if one.method in ("POST", "PATCH")]
    assert server.count("PUT", "/blobs/") == 0

    forget(engine, name)
    act(engine, "pull", name)
    assert image_id(engine, name) == image
    assert repo_digests(engine, name) == [f"{server.address}/{repository}@{digest}"]
    forget(engine, name)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_is_gone_comes_back_whole_and_runs(engine, servers, repository, kind):
    server = servers[kind]
    name, text = f"{server.address}/{repository}:1", f"{kind}\n".encode()
    engine.load(greeting_archive(name, text))
    image = image_id(engine, name)
    docker_cli(engine, "push", name)
    digest = repo_digests(engine, name)[0].partition("@")[2]
    forget(engine, name)
    assert engine.request("GET", f"/images/{image}/json").status == 404
    docker_cli(engine, "pull", name)
    assert image_id(engine, name) == image
    assert run(engine, name) == text
    # What was pulled goes elsewhere byte for byte.
    other = f"{servers['plain'].address}/copy/{repository}:1"
    tag(engine, name, other)
    assert digest in docker_cli(engine, "push", other)
    assert servers["plain"].get_manifest(f"copy/{repository}", "1") == server.get_manifest(
        repository, "1"
    )
    forget(engine, name, other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_of_a_neighbour_repository_is_not_sent(engine, servers, repository, kind):
    server = servers[kind]
    first, second = (f"{server.address}/{repository}{end}:1" for end in ("", "2"))
    for name in (first, second):
        tag(engine, "greeting:1", name)
    docker_cli(engine, "push", first)
    server.forget_requests()
    said = docker_cli(engine, "push", second)
    assert said.count(f"Mounted from {repository}") == 2
    assert server.count("POST", "/blobs/uploads/?mount=", status=201) == 2
    assert server.count("PATCH", "/blobs/") == 0
    assert server.count("PUT", "/blobs/") <= 1  # the config
    forget(engine, first, second)


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_without_a_password_nothing_is_pushed_or_pulled(engine, servers, repository, kind):
    server = servers[kind]
    name = f"{server.address}/{repository}"
    tag(engine, "greeting:1", f"{name}:1")
    anonymous = {"X-Registry-Auth": "e30="}
    wrong = base64.urlsafe_b64encode(json.dumps({**CREDENTIALS, "password": "x"}).encode())
    for headers in (anonymous, {"X-Registry-Auth": wrong.decode()}):
        answer = engine.request("POST", f"/images/{name}/push?tag=1", b"", headers=headers)
        assert answer.status == 200
        error = json.loads(answer.body.splitlines()[-1])["error"]
        assert any(word in error for word in ("unauthorized", "denied", "no basic auth")), error
        assert registry.PASSWORD not in error
    forget(engine, f"{name}:1")
    answer = engine.request(
        "POST", f"/images/create?fromImage={name}&tag=1", b"", headers=anonymous
    )
    assert answer.status >= 400 or b"errorDetail" in answer.body


def test_all_tags_go_and_come(engine, servers, repository):
    name = f"{servers['plain'].address}/{repository}"
    engine.load(greeting_archive(f"{name}:a", b"a\n"))
    engine.load(greeting_archive(f"{name}:b", b"b\n"))
    tag(engine, f"{name}:b", f"{name}:c")
    ids = [image_id(engine, f"{name}:{label}") for label in "abc"]
    docker_cli(engine, "push", name, "--all-tags")
    tags = servers["plain"].request("GET", f"/v2/{repository}/tags/list")[2]
    assert sorted(json.loads(tags)["tags"]) == ["a", "b", "c"]
    forget(engine, *(f"{name}:{label}" for label in "abc"))
    docker_cli(engine, "pull", name, "--all-tags")
    assert [image_id(engine, f"{name}:{label}") for label in "abc"] == ids
    forget(engine, *(f"{name}:{label}" for label in "abc"))


def test_an_image_is_pulled_by_its_digest(engine, servers, repository):
    name = f"{servers['plain'].address}/{repository}"
    engine.load(greeting_archive(f"{name}:1", b"by digest\n"))
    image = image_id(engine, f"{name}:1")
    docker_cli(engine, "push", f"{name}:1")
    by_digest = repo_digests(engine, f"{name}:1")[0]
    forget(engine, f"{name}:1")
    docker_cli(engine, "pull", by_digest)
    assert image_id(engine, by_digest) == image
    assert run(engine, by_digest) == b"by digest\n"
    forget(engine, by_digest)


@dataclasses.dataclass
class Platforms:
    """An index of two platforms in a registry."""

    name: str
    index: bytes
    digest: str
    manifests: dict[str, str]


@pytest.fixture
def platforms(engine, servers, repository):
    """An index of the image `greeting` for amd64 and arm64, made from what we pushed."""
    server = servers["plain"]
    name = f"{server.address}/{repository}"
    tag(engine, "greeting:1", f"{name}:amd64")
    docker_cli(engine, "push", f"{name}:amd64")
    forget(engine, f"{name}:amd64")
    content, kind = server.get_manifest(repository, "amd64")
    manifest = json.loads(content)
    layers = [
        server.request("GET", f"/v2/{repository}/blobs/{layer['digest']}")[2]
        for layer in manifest["layers"]
    ]
    digest = digest_of(content)
    other = server.put_image(repository, "arm64", layers=layers, architecture="arm64")
    size = len(server.get_manifest(repository, "arm64")[0])
    manifests = {"amd64": (digest, len(content)), "arm64": (other, size)}
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_LIST,
            "manifests": [
                {
                    "mediaType": kind,
                    "digest": digest,
                    "size": size,
                    "platform": {"os": "linux", "architecture": architecture},
                }
                for architecture, (digest, size) in manifests.items()
            ],
        }
    ).encode()
    digest = server.put_manifest(repository, "multi", index, DOCKER_LIST)
    return Platforms(name, index, digest, {key: one for key, (one, _) in manifests.items()})


def test_a_platform_comes_out_of_an_index_and_the_index_goes_back(
    engine, servers, repository, platforms
):
    server, name = servers["plain"], platforms.name
    for architecture in ("arm64", "amd64"):
        docker_cli(engine, "pull", f"{name}:multi", "--platform", f"linux/{architecture}")
        found = engine.request("GET", f"/images/{name}:multi/json").json()
        assert found["Architecture"] == architecture
    assert repo_digests(engine, f"{name}:multi") == [f"{name}@{platforms.digest}"]
    tag(engine, f"{name}:multi", f"{name}:again")
    assert platforms.digest in docker_cli(engine, "push", f"{name}:again")
    assert server.get_manifest(repository, "again")[0] == platforms.index
    neighbour = f"{server.address}/{repository}2:multi"
    tag(engine, f"{name}:multi", neighbour)
    docker_cli(engine, "push", neighbour)
    assert server.get_manifest(f"{repository}2", "multi")[0] == platforms.index
    done = engine.cli("pull", "--platform", "linux/s390x", f"{name}:multi")
    assert done.returncode != 0
    assert b"no matching manifest for linux/s390x" in done.stderr
    forget(engine, f"{name}:multi", f"{name}:again", neighbour)


def test_elsewhere_only_the_platform_of_an_index_goes(engine, servers, repository, platforms):
    docker_cli(engine, "pull", f"{platforms.name}:multi", "--platform", "linux/amd64")
    other = f"{servers['basic'].address}/{repository}:multi"
    tag(engine, f"{platforms.name}:multi", other)
    assert platforms.manifests["amd64"] in docker_cli(engine, "push", other)
    forget(engine, f"{platforms.name}:multi", other)


# --- others -------------------------------------------------------------------------------------


def skopeo(*arguments):
    done = subprocess.run(["skopeo", *arguments], capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Podman:
    """Podman with all of its storage below one directory."""

    def __init__(self, root):
        place = [
            "--root",
            str(root / "store"),
            "--runroot",
            str(root / "run"),
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
        ]
        self._head = ["podman", *place]

    def __call__(self, *arguments):
        done = subprocess.run(
            [*self._head, *arguments], capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def test_dockerd_takes_what_we_push_and_we_what_it_pushes(engine, moby, servers, repository):
    server = servers["tls"]
    name, text = f"{server.address}/{repository}", b"from pinnace\n"
    engine.load(greeting_archive(f"{name}:ours", text))
    docker_cli(engine, "push", f"{name}:ours")
    docker_cli(moby, "pull", f"{name}:ours")
    assert image_id(moby, f"{name}:ours") == image_id(engine, f"{name}:ours")
    assert repo_digests(moby, f"{name}:ours") == repo_digests(engine, f"{name}:ours")
    assert run(moby, f"{name}:ours") == text

    moby.load(greeting_archive(f"{name}:theirs", b"from dockerd\n"))
    docker_cli(moby, "push", f"{name}:theirs")
    docker_cli(engine, "pull", f"{name}:theirs")
    assert run(engine, f"{name}:theirs") == b"from dockerd\n"
    assert repo_digests(engine, f"{name}:theirs") == repo_digests(moby, f"{name}:theirs")
    copy = f"{servers['token'].address}/{repository}:theirs"
    tag(engine, f"{name}:theirs", copy)
    docker_cli(engine, "push", copy)
    assert servers["token"].get_manifest(repository, "theirs") == server.get_manifest(
        repository, "theirs"
    )
    forget(engine, f"{name}:ours", f"{name}:theirs", copy)


@pytest.mark.parametrize("form", ["v2s2", "oci"])
def test_podman_takes_what_we_push_and_we_what_it_pushes(engine, servers, repository, root, form):
    server = servers["plain"]
    name, podman = f"{server.address}/{repository}", Podman(root / f"podman-{form}")
    engine.load(greeting_archive(f"{name}:ours", b"from pinnace\n"))
    docker_cli(engine, "push", f"{name}:ours")
    podman("pull", "--tls-verify=false", f"{name}:ours")
    found = json.loads(podman("image", "inspect", f"{name}:ours"))[0]
    assert f"sha256:{found['Id']}" == image_id(engine, f"{name}:ours")
    assert repo_digests(engine, f"{name}:ours")[0].endswith(found["Digest"])
    assert podman("run", "--rm", "--network=none", *LIMITS, f"{name}:ours") == b"from pinnace\n"

    podman("tag", f"{name}:ours", f"{name}:theirs")
    podman("push", "--tls-verify=false", "--format", form, f"{name}:theirs")
    forget(engine, f"{name}:ours")
    docker_cli(engine, "pull", f"{name}:theirs")
    assert run(engine, f"{name}:theirs") == b"from pinnace\n"
    copy = f"{servers['basic'].address}/{repository}:theirs"
    tag(engine, f"{name}:theirs", copy)
    docker_cli(engine, "push", copy)
    assert servers["basic"].get_manifest(repository, "theirs") == server.get_manifest(
        repository, "theirs"
    )
    forget(engine, f"{name}:theirs", copy)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_skopeo_carries_images_between_registries_and_engine(
    engine, servers, repository, root, compression
):
    server = servers["tls"]
    name = f"{server.address}/{repository}"
    trusted = str(server.certs_d / server.address)
    engine.load(greeting_archive(f"{name}:ours", b"from pinnace\n"))
    docker_cli(engine, "push", f"{name}:ours")
    directory = root / f"skopeo-{compression}"
    source = f"docker://{name}:ours"
    skopeo(
        "copy", "-q", "--preserve-digests", "--src-cert-dir", trusted, source, f"dir:{directory}"
    )
    manifest = (directory / "manifest.json").read_bytes()
    assert manifest == server.get_manifest(repository, "ours")[0]

    plain = f"{servers['plain'].address}/{repository}"
    options = ["--format", "oci", "--dest-compress-format", compression, "--dest-tls-verify=false"]
    skopeo("copy", "-q", *options, f"dir:{directory}", f"docker://{plain}:theirs")
    forget(engine, f"{name}:ours")
    docker_cli(engine, "pull", f"{plain}:theirs")
    assert run(engine, f"{plain}:theirs") == b"from pinnace\n"
    copy = f"{name}:back"
    tag(engine, f"{plain}:theirs", copy)
    docker_cli(engine, "push", copy)
    assert server.get_manifest(repository, "back") == servers["plain"].get_manifest(
        repository, "theirs"
    )
    forget(engine, f"{plain}:theirs", copy)


def test_a_client_that_leaves_ends_its_push(engine, servers, repository):
    """Raw, since every client waits for the end of its own push."""
    server = servers["plain"]
    name = f"{server.address}/{repository}"
    tag(engine, "greeting:1", f"{name}:1")
    server.process.send_signal(signal.SIGSTOP)  # the registry hangs
    try:
        with contextlib.suppress(TimeoutError):
            engine.request("POST", f"/images/{name}/push?tag=1", b"", timeout=1.5)
        end = time.monotonic() + 30
        while engine.request("DELETE", f"/images/{name}:1").status != 200:
            assert time.monotonic() < end
    finally:
        server.process.send_signal(signal.SIGCONT)
    events = engine.request("GET", f"/events?since=0&until={time.time():.0f}").body
    assert name.encode() not in b"".join(line for line in events.splitlines() if b'"push"' in line)


def test_a_push_gets_through_a_registry_that_cuts_and_fails(engine, servers, repository):
    server = servers["plain"]
    layer = Entry("noise", data=random.Random(repository).randbytes(5 << 20))
    with BadProxy(server.address) as proxy:
        name = f"{proxy.address}/{repository}:1"
        engine.load(images.tiny_image(name, [layer]))
        proxy.fail(CutRequest(after=2 << 20), method="PATCH")
        proxy.fail(Status(500), method="PUT", path="/manifests/")
        proxy.fail(Status(429, {"Retry-After": "0"}), method="HEAD", path="/blobs/")
        digest = repo_digest_told(docker_cli(engine, "push", name))
        assert proxy.count("PATCH", "/blobs/") >= 2
    assert digest_of(server.get_manifest(repository, "1")[0]) == digest
    forget(engine, name)


def repo_digest_told(said):
    """Return the digest that the last line of a push names."""
    return said.split("digest: ")[1].split()[0]


def test_a_daemon_killed_in_mid_push_leaves_nothing_and_pushes_later(engine, servers, repository):
    server = servers["plain"]
    name = f"{server.address}/{repository}:1"
    layer = Entry("noise", data=random.Random(repository).randbytes(8 << 20))
    engine.load(images.tiny_image(name, [layer]))
    incoming = engine.root / "data/content/incoming"
    server.process.send_signal(signal.SIGSTOP)
    try:
        with contextlib.suppress(TimeoutError):
            engine.request("POST", f"/images/{name.removesuffix(':1')}/push?tag=1", b"", timeout=1)
        engine.kill()
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert list(incoming.iterdir()) == []
    engine.launch()
    docker_cli(engine, "push", name)
    assert server.get_manifest(repository, "1")
    forget(engine, name)
