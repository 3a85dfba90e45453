"""Cache keys of build steps change exactly when something changes that the result depends on."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from pinnace.contracts.build_files import CopyJob, DirectoryJob, Origin, Selection, SourceEntry
from pinnace.engine.builds.graph import Built, Copying, Execution, Making, StepMount, Vertex
from pinnace.engine.builds.keys import cache_key
from pinnace.engine.builds.sources import content_digest, shown_sum
from pinnace.model.build import StepLimits
from pinnace.model.container import ContainerConfig, HealthConfig
from pinnace.model.image import ImageRecord
from pinnace.model.record import ImageId
from pinnace.oci.platform import Platform

AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")


def image(digit: str, platform: Platform = AMD) -> Built:
    return Built(ImageRecord(id=ImageId(f"sha256:{digit * 64}")), b"{}", platform)


CONFIG = ContainerConfig(env=["A=b"], user="1", working_dir="/w", labels={"k": "v"})
MOUNT = StepMount(type="bind", target="/m", source="s", digest="d")
RUN = Execution(
    words=("sh", "-c", "x"), config=CONFIG, recorded={"ARG": "1"}, mounts=(MOUNT,), network="none"
)
VERTEX = Vertex(parent=image("a"), operation=RUN, config=CONFIG, created_by="x", author="Ada")
ENTRY = SourceEntry(
    "d/f", "file", mode=0o644, uid=1, gid=2, size=3, mtime_ns=4, xattrs={"user.a": b"b"}, sum="s"
)
SELECTION = Selection("", "d", is_directory=True, entries=[ENTRY])
JOB = CopyJob(origin=Origin(context="c"), selections=[SELECTION], target="/t/", owner="1:1")


def run(**changes: object) -> Vertex:
    return replace(VERTEX, operation=replace(RUN, **changes))


def copying(job: CopyJob = JOB, digest: str = "d") -> Vertex:
    return replace(VERTEX, operation=Copying((job,), digest))


@pytest.mark.parametrize(
    "other",
    [
        replace(VERTEX, parent=image("b")),
        replace(VERTEX, parent=image("a", ARM)),
        replace(VERTEX, parent=Built(None, b"", AMD)),
        replace(VERTEX, parent=Built(None, b"", ARM)),
        replace(VERTEX, operation=None),
        replace(VERTEX, operation=Making(DirectoryJob("/w"))),
        replace(VERTEX, operation=Making(DirectoryJob("/x"))),
        replace(VERTEX, operation=Making(DirectoryJob("/w", "1"))),
        replace(VERTEX, created_by="y"),
        replace(VERTEX, author="Bob"),
        replace(VERTEX, created_ns=1),
        replace(VERTEX, config=None),
        replace(VERTEX, comment="x"),
        replace(VERTEX, further={"PortSpecs": ["80"]}),
        replace(VERTEX, container_config={}),
        replace(VERTEX, container_config={"Memory": 1}),
        run(words=("sh", "-c", "y")),
        run(words=("sh", "-c x")),
        run(recorded={"ARG": "2"}),
        run(recorded={"ARG": "1", "B": ""}),
        run(network="host"),
        run(limits=StepLimits(extra_hosts=("a:1.2.3.4",))),
        run(config=msgspec.structs.replace(CONFIG, user="2")),
        run(mounts=()),
        run(mounts=(MOUNT, MOUNT)),
        *[
            run(mounts=(replace(MOUNT, **change),))
            for change in (
                {"type": "cache"}, {"target": "/n"}, {"source": "t"}, {"digest": "e"},
                {"read_only": True}, {"id": "i"}, {"size_bytes": 1},
            )
        ],
        *[
            replace(VERTEX, config=msgspec.structs.replace(CONFIG, **change))
            for change in (
                {"env": ["A=c"]}, {"user": "2"}, {"working_dir": "/v"}, {"labels": {"k": "w"}},
                {"cmd": ["x"]}, {"entrypoint": ["x"]}, {"volumes": {"/v": {}}},
                {"exposed_ports": {"1/tcp": {}}}, {"stop_signal": "9"}, {"shell": ["s"]},
                {"on_build": ["ENV a=b"]}, {"healthcheck": HealthConfig(test=["NONE"])},
            )
        ],
        copying(),
        copying(digest="e"),
        copying(replace(JOB, target="/t")),
        copying(replace(JOB, owner="")),
        copying(replace(JOB, owner=None)),
        copying(replace(JOB, mode="700")),
        copying(replace(JOB, unpack=True)),
        copying(replace(JOB, mtime_ns=1)),
    ],
)  # fmt: skip
def test_another_input_is_another_key(other):
    assert cache_key(other) != cache_key(VERTEX)


def test_no_two_of_the_variants_share_a_key():
    variants = [copying(), copying(digest="e"), copying(replace(JOB, mode="700")), VERTEX]
    assert len({cache_key(one) for one in variants}) == len(variants)


def test_what_does_not_change_the_result_does_not_change_the_key():
    assert cache_key(run(arguments={"HTTP_PROXY": "x"})) == cache_key(VERTEX)
    assert cache_key(run(limits=StepLimits(memory=1 << 20))) == cache_key(VERTEX)
    elsewhere = replace(JOB, origin=Origin(context="other"))
    assert cache_key(copying(elsewhere)) == cache_key(copying())


@pytest.mark.parametrize(
    "change",
    [
        {"path": "d/g"}, {"kind": "symlink"}, {"mode": 0o600}, {"uid": 0}, {"gid": 0}, {"size": 4},
        {"link": "x"}, {"device": (1, 3)}, {"xattrs": {}}, {"xattrs": {"user.a": b"c"}},
        {"sum": "t"}, {"inode": 7},
    ],
)  # fmt: skip
def test_every_attribute_of_a_file_counts(change):
    other = replace(SELECTION, entries=[msgspec.structs.replace(ENTRY, **change)])
    assert content_digest([other]) != content_digest([SELECTION])


def test_times_and_places_in_archives_do_not_count():
    moved = msgspec.structs.replace(ENTRY, mtime_ns=9, start=512)
    assert content_digest([replace(SELECTION, entries=[moved])]) == content_digest([SELECTION])


def test_sources_do_not_run_into_each_other():
    one = Selection("a", "a", is_directory=False, entries=[ENTRY])
    assert content_digest([one, one]) != content_digest([one])
    assert content_digest([one]) != content_digest([replace(one, name="b")])
    assert shown_sum([one]) == "file:s"
    assert shown_sum([one, one]).startswith("multi:")
    assert shown_sum([SELECTION]).startswith("dir:")
