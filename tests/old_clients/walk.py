"""A walk through containers and images with an old docker-py; prints what it saw as JSON.

Runs in the library's own interpreter: `walk.py PORT VERSION REGISTRY WEB NAME`.
"""

import io
import json
import sys
import tarfile

import docker
from docker.errors import APIError

PORT, VERSION, REGISTRY, WEB, NAME = sys.argv[1:]
client = docker.Client(base_url="tcp://127.0.0.1:" + PORT, version=VERSION)
repository = REGISTRY + "/lib/" + NAME
seen = {"version": client.version()["Version"], "info": client.info()}
# From 1.0 to 1.3 the library looked for itself whether a registry speaks HTTPS.
insecure = {"insecure_registry": True} if docker.version.startswith("1.2") else {}
script = "echo out; echo err >&2; touch /new; exit 3"


def text(data):
    return data.decode() if isinstance(data, bytes) else data


def statuses(data):
    """The status words of a stream, whatever form the library gives it in."""
    if isinstance(data, str) and not data.strip().startswith("{"):
        return data.split("\r\n")[:-1]
    if isinstance(data, str):
        found = []
        while data.strip().startswith("{"):
            value, end = json.JSONDecoder().raw_decode(data.strip())
            found.append(value)
            data = data.strip()[end:]
        return [value.get("status") or value.get("error") or "" for value in found]
    return [str(piece) for piece in data]


def logged(name, **streams):
    """What was written; None from the last library, which reads frames that 2013 had not."""
    if docker.version.startswith("1.10"):
        return None
    return text(client.attach(name, logs=True, **streams) if streams else client.logs(name))


def echoed(line):
    """What a container that repeats its input answers to a line."""
    name = client.create_container("busybox", ["cat"], stdin_open=True, detach=False)["Id"]
    client.start(name)
    params = {"stdin": 1, "stdout": 1, "stream": 1}
    kept = client.attach_socket(name, params=params)
    taken = getattr(kept, "_sock", kept)
    taken.sendall(line)
    answer = b""
    while not answer.endswith(b"\n"):
        answer += taken.recv(100)
    client.kill(name)
    client.remove_container(name)
    return text(answer)


def refused(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except APIError as exc:
        return exc.response.status_code
    return None


# containers
container = client.create_container("busybox", ["sh", "-c", script])["Id"]
seen["id"] = container
client.start(container)
seen["code"] = client.wait(container)
seen["logs"] = logged(container)
seen["stdout"] = logged(container, stdout=True, stderr=False)
if docker.version.startswith("1.10"):
    seen["echoed"] = echoed(b"said\n")
seen["inspect"] = client.inspect_container(container)
seen["listed"] = [one["Id"] for one in client.containers(all=True)]
seen["diff"] = client.diff(container)
exported = client.export(container)
exported = exported.read() if hasattr(exported, "read") else exported.data
with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
    seen["exported"] = [name for name in archive.getnames() if name.strip("./") == "new"]
client.restart(container, timeout=1)
client.wait(container)
client.kill(container)
client.stop(container, timeout=1)
server = client.create_container("busybox", ["sleep", "600"], detach=True)["Id"]
client.start(server)
seen["running"] = [one["Id"][:12] for one in client.containers()]
client.kill(server)
client.remove_container(server)
seen["gone"] = refused(client.inspect_container, server)

# images
image = client.commit(
    container,
    repository=repository,
    tag="v1",
    message="said",
    author="Ada",
    conf={"Cmd": ["cat", "/new"], "PortSpecs": ["80"]},
)["Id"]
seen["image"] = client.inspect_image(repository + ":v1")
seen["committed"] = image
history = client.history(repository + ":v1")
seen["history"] = json.loads(history) if isinstance(history, str) else history
seen["tagged"] = client.tag(repository + ":v1", repository, "v2")
seen["images"] = [(one["Tag"], one["Id"]) for one in client.images(repository)]
dockerfile = "FROM busybox\nRUN touch /built\nCMD echo built\n"
built = client.build(fileobj=io.BytesIO(dockerfile.encode()), tag=repository + ":built", rm=True)
seen["build"] = "".join(str(piece) for piece in built)
image_id, run = client.inspect_image(repository + ":built")["id"], client.create_container
again = run(repository + ":built", None)["Id"]
client.start(again)
client.wait(again)
seen["built"] = logged(again)
seen["imported"] = statuses(client.import_image(src=WEB, repository=repository, tag="imported"))
seen["inserted"] = text(client.insert("busybox", WEB, "/in/here"))
seen["pushed"] = statuses(client.push(repository, **insecure))
client.remove_container(again)
client.remove_container(container)
for tag in ("v1", "v2", "built", "imported"):
    if any(one["Tag"] == tag for one in client.images(repository)):
        client.remove_image(repository + ":" + tag)
seen["left"] = client.images(repository)
seen["pulled"] = statuses(client.pull(repository, tag="v1", **insecure))
seen["back"] = client.inspect_image(repository + ":v1")["config"]["Cmd"]
client.remove_image(repository + ":v1")
seen["unknown"] = [
    refused(client.inspect_image, "nosuch"),
    refused(client.inspect_container, "nosuch"),
    refused(client.remove_image, "nosuch"),
    refused(client.start, "nosuch"),
    refused(client.create_container, "nosuch", "true"),
]
json.dump(seen, sys.stdout)
