"""What steps of a build of 2013 have of the engine's builder, and what of their own time."""

from __future__ import annotations

import io
import json
import re
import tarfile
import threading

import pytest
from tests.support.archives import file, tar_of
from tests.support.images import BUSYBOX
from tests.support.remote import read_until, until
from tests.support.remote_build import FULL_ID, build, error_of, image_of

from pinnace.client.busybox import busybox_layer

pytestmark = [pytest.mark.root, pytest.mark.versions("1.2")]
ONCE = "cat /proc/sys/kernel/random/uuid >/once"


@pytest.fixture
def base(stock):
    """The full id of busybox without a run config, new to every test."""
    return stock.full(stock.imported(content=busybox_layer(BUSYBOX)))


@pytest.fixture(autouse=True)
def _steps_are_removed(newest, stock):
    """Builds of the time leave the containers of their steps."""
    yield
    for one in newest.get("/containers/json", query={"all": 1}).json():
        newest.delete(f"/containers/{one['Id']}", query={"force": 1, "v": 1})


@pytest.fixture
def committed(stock, containers, base):
    """Returns the full id of busybox with a run config."""

    def commit(config):
        container = containers.finish("true", image=base)
        return stock.full(stock.commit(container, config))

    return commit


def steps_of(reply):
    """Return the containers that a build ran."""
    return re.findall(f"^## ({FULL_ID})$", reply.text, re.MULTILINE)


def seen(newest, container):
    return newest.get(f"/containers/{container}/json").json()


def printed(newest, container, stream):
    reply = newest.get(f"/containers/{container}/logs", query={stream: 1})
    assert reply.status == 200
    return reply.body


def test_what_a_command_prints_is_in_the_log_of_its_container(api, newest, base):
    reply = build(api, f"FROM {base}\nRUN echo good\nRUN echo bad >&2; exit 4\n")
    assert error_of(reply).endswith("returned a non-zero code: 4")
    good, bad = steps_of(reply)
    assert b"good" not in reply.body.partition(b"## ")[2].partition(b"\n")[2].partition(b"RUN")[0]
    assert printed(newest, good, "stdout").endswith(b"good\n")
    assert printed(newest, bad, "stderr").endswith(b"bad\n")
    assert seen(newest, bad)["State"]["ExitCode"] == 4


def test_an_image_tells_of_the_container_it_was_made_in(api, stock, containers, base):
    reply = build(api, f"FROM {base}\nENV A b\nRUN touch /a\nCMD x\n")
    (container,) = steps_of(reply)
    image = stock.inspect(stock.history(image_of(reply))[1]["Id"])
    assert image["container"] == container
    told = image["container_config"]
    assert told["Hostname"] == container[:12]
    assert (told["Cmd"], told["Env"]) == (["/bin/sh", "-c", "touch /a"], ["A=b"])
    ran = containers.inspect(container)["Config"]
    for name in ("Hostname", "Cmd", "Env", "Image", "User", "Memory", "PortSpecs", "Tty"):
        assert told[name] == ran[name], name
    assert image["config"]["Hostname"] == ""


def test_clients_find_the_steps_of_a_build_by_their_config(api, stock, base):
    image = image_of(build(api, f"FROM {base}\nRUN touch /a\n"))
    wanted = {"Id": base, "Cmd": ["/bin/sh", "-c", "touch /a"]}
    assert api.post("/images/getCache", wanted).json() == {"Id": image}


def test_a_step_that_a_client_committed_is_not_run_again(api, stock, containers, base):
    container = containers.finish("/bin/sh", "-c", "touch /a", image=base)
    committed = stock.full(stock.commit(container))
    reply = build(api, f"FROM {base}\nRUN touch /a\n")
    assert (image_of(reply), steps_of(reply)) == (committed, [])


def test_a_step_is_run_again_when_the_image_adds_to_its_config(api, committed):
    image = committed({"Env": ["A=1"]})
    lines = f"FROM {image}\nRUN {ONCE}\n"
    first, second = build(api, lines), build(api, lines)
    assert len(steps_of(first)) == len(steps_of(second)) == 1
    assert image_of(first) != image_of(second)
    own = f"FROM {image}\nENV B 2\nRUN {ONCE}\n"
    first, second = build(api, own), build(api, own)
    assert (len(steps_of(first)), len(steps_of(second))) == (1, 0)
    assert image_of(first) == image_of(second)


def test_added_files_are_copied_anew_each_time(api, base):
    context = tar_of(file("f", b"x"))
    first, second = (build(api, f"FROM {base}\nADD f /f\n", context) for _ in range(2))
    assert image_of(first) != image_of(second)


def test_an_image_that_was_loaded_is_no_step(api, stock, newest, base):
    """CVE-2024-24557: what an image from elsewhere says of its origin is not believed."""
    mine = newest.get(f"/images/{base}/get").body
    with tarfile.open(fileobj=io.BytesIO(mine)) as archive:
        members = {one.name: archive.extractfile(one) for one in archive if one.isfile()}
        contents = {name: found.read() for name, found in members.items() if found}
    (entry,) = json.loads(contents["manifest.json"])
    document = json.loads(contents[entry["Config"]])
    document["container_config"] = {"Cmd": ["/bin/sh", "-c", "touch /a"]}
    document["config"] = {"Env": ["EVIL=1"]}
    document["history"].append({"created_by": "/bin/sh -c touch /a", "empty_layer": True})
    contents["forged.json"] = json.dumps(document).encode()
    contents["manifest.json"] = json.dumps([{**entry, "Config": "forged.json"}]).encode()
    for index in ("index.json", "oci-layout", "repositories"):
        contents.pop(index, None)
    forged = tar_of(*(file(name, content) for name, content in contents.items()))
    reply = newest.post("/images/load", forged)
    assert reply.status == 200, reply.sent
    evil = re.search(f"sha256:({FULL_ID})", reply.text)[1]
    assert stock.exists(evil)
    reply = build(api, f"FROM {base}\nRUN touch /a\n")
    assert image_of(reply) != evil
    assert len(steps_of(reply)) == 1


def test_equal_commands_of_two_builds_run_once(api, base, newest):
    lines = f"FROM {base}\nRUN {ONCE}; sleep 1\n"
    replies = []

    def work():
        replies.append(build(api, lines))

    builds = [threading.Thread(target=work) for _ in range(2)]
    for one in builds:
        one.start()
    for one in builds:
        one.join()
    assert len({image_of(reply) for reply in replies}) == 1
    assert sum(len(steps_of(reply)) for reply in replies) == 1


def test_an_equal_command_goes_on_when_the_first_client_leaves(api, base, newest):
    dockerfile = f"FROM {base}\nRUN sleep 2; {ONCE}\n"
    body = dockerfile.encode()
    head = f"POST {api.target('/build')} HTTP/1.1\r\nHost: localhost\r\n"
    replies = []
    with api.connect() as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        read_until(connection, b"## ")
        second = threading.Thread(target=lambda: replies.append(build(api, dockerfile)))
        second.start()
        until(lambda: newest.get("/containers/json").json(), "the start of the command")
    second.join()
    assert image_of(replies[0])
    assert len(steps_of(replies[0])) == 1
    states = {one["State"] for one in newest.get("/containers/json", query={"all": 1}).json()}
    assert states == {"exited"}


def test_a_command_runs_with_what_the_image_says_of_containers(api, newest, committed):
    config = {
        "Hostname": "under_score",
        "User": "1000",
        "Memory": 64 << 20,
        "MemorySwap": -1,
        "CpuShares": 1,
        "Dns": ["10.9.8.7"],
        "Env": ["A=1", "B"],
        "PortSpecs": ["80"],
        "Volumes": {"/v": {}},
    }
    image = committed(config)
    check = 'test $(id -u) = 1000 && test "$A-$B-$(hostname)" = 1--under_score'
    reply = build(api, f"FROM {image}\nRUN {check} && grep -q 10.9.8.7 /etc/resolv.conf\n")
    assert image_of(reply)
    (container,) = steps_of(reply)
    host = seen(newest, container)["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["CpuShares"]) == (64 << 20, -1, 2)
    assert (host["Dns"], host["PortBindings"] or {}) == (["10.9.8.7"], {})
    assert seen(newest, container)["Mounts"] == []


def test_a_command_has_its_own_environment_as_a_whole(api, stock, committed):
    image = committed({"Env": ["A=1"]})
    reply = build(api, f"FROM {image}\nENV B 2\nRUN test -z $A && test $B = 2\n")
    assert stock.inspect(image_of(reply))["config"]["Env"] == ["B=2"]


@pytest.mark.parametrize("said", ["Tty", "OpenStdin"])
def test_a_terminal_or_an_input_of_the_image_is_no_obstacle(api, stock, committed, said):
    image = committed({said: True})
    reply = build(api, f"FROM {image}\nRUN echo some output; touch /a\n")
    assert stock.exists(image_of(reply))


def test_an_entrypoint_of_the_image_is_not_put_before_commands(api, newest, stock, base):
    text = f'FROM sha256:{base}\nENTRYPOINT ["/bin/false"]\n'.encode()
    reply = newest.post("/build", tar_of(file("Dockerfile", text)), query={"q": 1})
    image = re.search(f"sha256:({FULL_ID})", reply.text)[1]
    assert image_of(build(api, f"FROM {image}\nRUN touch /a\n"))


def test_a_step_of_2013_is_none_of_today(api, newest, stock, base):
    """Their images differ: one says nothing of containers, the other all that a line set."""
    early = image_of(build(api, f"FROM {base}\nRUN touch /a\n"))
    text = f"FROM sha256:{base}\nRUN touch /a\n".encode()
    reply = newest.post("/build", tar_of(file("Dockerfile", text)), query={"q": 1})
    assert reply.status == 200
    assert early not in reply.text


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("git@example.org", "/x"),
        ("github.com/a/b", "/x"),
        ("./f", "/x/../y"),
        ("f", "relative/place"),
    ],
)
def test_sources_that_look_like_repositories_are_files(api, stock, base, source, target):
    context = tar_of(file(source.removeprefix("./"), b"content"))
    assert stock.exists(image_of(build(api, f"FROM {base}\nADD {source} {target}\n", context)))
