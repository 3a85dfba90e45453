"""Every field of everything that a cache key could cover changes it, or is listed with its reason.

A field that is added to one of these classes fails the test until it stands in one of the tables.
"""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from pinnace.contracts.build_files import CopyJob, DirectoryJob, Origin, Selection, SourceEntry
from pinnace.engine.builds.graph import Built, Copying, Execution, Making, StepMount, Vertex
from pinnace.engine.builds.keys import cache_key
from pinnace.engine.builds.sources import content_digest
from pinnace.model.build import StepLimits
from pinnace.model.container import ContainerConfig, HealthConfig, Ulimit
from pinnace.model.image import ImageRecord
from pinnace.model.record import ImageId
from pinnace.oci.platform import Platform

A, B = (ImageRecord(id=ImageId("sha256:" + letter * 64)) for letter in "ab")
PLATFORM = Platform("linux", "arm", "v7")
CONFIG = ContainerConfig(env=["A=b"])
ENTRY = SourceEntry("d/f", "file", sum="s", xattrs={"user.a": b"b"})
SELECTION = Selection("", "d", is_directory=True, entries=[ENTRY])
JOB = CopyJob(origin=Origin("context"), selections=[SELECTION], target="/t/")
DIRECTORY = DirectoryJob("/w")
MOUNT = StepMount(type="bind", target="/m", digest="d")
LIMITS = StepLimits()
EXECUTION = Execution(words=("x",), config=CONFIG, mounts=(MOUNT,), limits=LIMITS)
COPYING = Copying((JOB,), "digest")
MAKING = Making(DIRECTORY)
VERTEX = Vertex(
    parent=Built(A, b"{}", PLATFORM), operation=EXECUTION, config=CONFIG, created_by="x"
)

# By class: the fields that count, each with another value.
COUNT = {
    Vertex: {
        "parent": Built(B, b"{}", PLATFORM), "operation": None, "config": ContainerConfig(),
        "created_by": "y", "author": "Ada", "comment": "c", "created_ns": 1,
        "further": {"PortSpecs": ["1"]}, "container_config": {},
    },
    Built: {"record": B, "platform": Platform("linux", "arm", "v8")},
    Platform: {"os": "x", "architecture": "x", "variant": "x"},
    Execution: {
        "words": ("y",), "config": ContainerConfig(user="1"), "recorded": {"A": "1"},
        "mounts": (), "network": "none", "limits": StepLimits(network_mode="none"),
    },
    StepLimits: {"network_mode": "none", "extra_hosts": ("a:1.2.3.4",)},
    StepMount: {
        "type": "cache", "target": "/n", "read_only": True, "source": "s", "digest": "e",
        "id": "i", "size_bytes": 1,
    },
    Copying: {"jobs": (dataclasses.replace(JOB, target="/t"),), "digest": "other"},
    CopyJob: {
        "target": "/t", "owner": "1", "mode": "700", "unpack": True, "mtime_ns": 1, "link": True,
    },
    Making: {"job": DirectoryJob("/v")},
    DirectoryJob: {"target": "/v", "owner": "1"},
    Selection: {
        "name": "n", "is_directory": False, "entries": [ENTRY, ENTRY],
    },
    SourceEntry: {
        "path": "d/g", "kind": "fifo", "mode": 0o600, "uid": 1, "gid": 1, "size": 1, "link": "l",
        "device": (1, 3), "xattrs": {}, "sum": "t", "inode": 1,
    },
    ContainerConfig: {
        "hostname": "x", "domainname": "x", "user": "x", "attach_stdin": True,
        "attach_stdout": True, "attach_stderr": True, "exposed_ports": {"1/tcp": {}}, "tty": True,
        "open_stdin": True, "stdin_once": True, "env": ["A=c"], "cmd": ["x"],
        "healthcheck": HealthConfig(test=["NONE"]), "args_escaped": True, "image": "x",
        "volumes": {"/v": {}}, "working_dir": "/x", "entrypoint": ["x"],
        "network_disabled": True, "on_build": ["RUN x"], "labels": {"a": "b"},
        "stop_signal": "9", "stop_timeout": 1, "shell": ["x"],
    },
}  # fmt: skip

_ROOM = "how much room a command has does not change what it makes"
_FIRST = "only what a cache directory is like at its beginning, which may be long ago"

# By class: the fields that do not, each with another value and the reason.
DO_NOT_COUNT = {
    Vertex: {"cached": (False, "whether there is a key at all")},
    Built: {"config": (b"{ }", "the id of the image is its digest")},
    Execution: {
        "arguments": ({"HTTP_PROXY": "x"}, "those that count are in `recorded`"),
    },
    StepLimits: {
        "shm_size": (1, _ROOM), "memory": (1, _ROOM), "memory_swap": (1, _ROOM),
        "cpu_shares": (1, _ROOM), "cpu_period": (1, _ROOM), "cpu_quota": (1, _ROOM),
        "cpuset_cpus": ("0", _ROOM), "cpuset_mems": ("0", _ROOM), "cgroup_parent": ("x", _ROOM),
        "ulimits": ((Ulimit(name="nofile", soft=1, hard=1),), _ROOM),
        "security_opt": (("seccomp=unconfined",), "what is forbidden fails, or is not done"),
        "dns": (("1.1.1.1",), "who answers is as little known as what the network answers"),
    },
    StepMount: {
        "chain": ("sha256:" + "c" * 64, "`digest` has the image"),
        "job": (JOB, "`digest` has the content"),
        "sharing": ("locked", "who waits for whom"),
        "mode": (0o700, _FIRST), "uid": (1, _FIRST), "gid": (1, _FIRST),
    },
    CopyJob: {
        "origin": (Origin("other"), "`Copying.digest` has the content, wherever it came from"),
        "selections": ([], "`Copying.digest` has them"),
    },
    Selection: {
        "base": ("e", "the paths below it count, not where it is"),
        "sum": ("other", "for the history; the directory itself is not copied"),
    },
    SourceEntry: {
        "mtime_ns": (1, "times do not count, as in Docker"),
        "start": (512, "where it is in the archive"),
    },
}  # fmt: skip


def with_entry(entry):
    return with_selection(dataclasses.replace(SELECTION, entries=[entry]))


def with_selection(selection):
    return of(dataclasses.replace(COPYING, digest=content_digest([selection])))


def of(operation):
    return dataclasses.replace(VERTEX, operation=operation)


# By class: an object, and the vertex that has it in it.
HOLDERS = {
    Vertex: (VERTEX, lambda one: one),
    Built: (VERTEX.parent, lambda one: dataclasses.replace(VERTEX, parent=one)),
    Platform: (
        PLATFORM,
        lambda one: dataclasses.replace(
            VERTEX, parent=dataclasses.replace(VERTEX.parent, platform=one)
        ),
    ),
    Execution: (EXECUTION, of),
    StepLimits: (LIMITS, lambda one: of(dataclasses.replace(EXECUTION, limits=one))),
    StepMount: (MOUNT, lambda one: of(dataclasses.replace(EXECUTION, mounts=(one,)))),
    Copying: (COPYING, of),
    CopyJob: (JOB, lambda one: of(dataclasses.replace(COPYING, jobs=(one,)))),
    Making: (MAKING, of),
    DirectoryJob: (DIRECTORY, lambda one: of(Making(one))),
    Selection: (SELECTION, with_selection),
    SourceEntry: (ENTRY, with_entry),
    ContainerConfig: (CONFIG, lambda one: dataclasses.replace(VERTEX, config=one)),
}


def fields_of(kind) -> set[str]:
    if dataclasses.is_dataclass(kind):
        return {one.name for one in dataclasses.fields(kind)}
    return {one.name for one in msgspec.structs.fields(kind)}


def changed(kind, field, value):
    one, _ = HOLDERS[kind]
    change = dataclasses.replace if dataclasses.is_dataclass(kind) else msgspec.structs.replace
    assert getattr(one, field) != value
    return change(one, **{field: value})


def key_of(kind, one) -> str:
    return cache_key(HOLDERS[kind][1](one))


@pytest.mark.parametrize("kind", HOLDERS, ids=lambda kind: kind.__name__)
def test_every_field_is_in_one_of_the_tables(kind):
    counting, others = COUNT[kind].keys(), DO_NOT_COUNT.get(kind, {}).keys()
    assert counting | others == fields_of(kind)
    assert not counting & others


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [(kind, field, value) for kind, fields in COUNT.items() for field, value in fields.items()],
)
def test_a_field_that_counts_changes_the_key(kind, field, value):
    assert key_of(kind, changed(kind, field, value)) != key_of(kind, HOLDERS[kind][0])


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (kind, field, value)
        for kind, fields in DO_NOT_COUNT.items()
        for field, (value, _) in fields.items()
    ],
)
def test_a_field_that_does_not_count_leaves_the_key(kind, field, value):
    assert key_of(kind, changed(kind, field, value)) == key_of(kind, HOLDERS[kind][0])
