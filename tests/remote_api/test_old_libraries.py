"""Client libraries of 2014 to 2016 that still can speak the versions of 2013."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import old_clients
from tests.support.remote import VERSIONS
from tests.support.remote_images import Images, root_tar

pytestmark = pytest.mark.root
WALK = Path(__file__).parents[1] / "old_clients" / "walk.py"


@pytest.fixture
def swept(newest):
    """New images are removed; the walk removes its containers itself."""
    made = Images(newest, newest)
    yield
    made.remove()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("library", old_clients.LIBRARIES)
@pytest.mark.usefixtures("swept")
def test_docker_py_walks_through_containers_and_images(library, version, served, registry, web):
    name = f"{library.replace('.', '')}-{version.replace('.', '')}"
    url = web.put("/base", root_tar())
    seen = old_clients.run(library, WALK, str(served[1]), version, registry.address, url, name)
    assert seen["code"] == 3
    # The last of them reads frames from every attach; it can hold a connection, though.
    reads_frames = library == "docker-py-1.10.6"
    assert seen["logs"] == (None if reads_frames else "out\nerr\n")
    assert seen["stdout"] == (None if reads_frames else "out\n")
    assert seen.get("echoed") == ("said\n" if reads_frames else None)
    assert seen["inspect"]["State"]["ExitCode"] == 3
    assert seen["inspect"]["ID"] in seen["listed"]
    assert seen["inspect"]["ID"].startswith(seen["id"])
    assert {"Path": "/new", "Kind": 1} in seen["diff"]
    assert len(seen["exported"]) == 1
    assert len(seen["running"]) == 1
    assert seen["gone"] == 404
    image = seen["image"]
    assert image["id"].startswith(seen["committed"])
    assert (image["author"], image["comment"]) == ("Ada", "said")
    assert (image["config"]["Cmd"], image["config"]["PortSpecs"]) == (["cat", "/new"], ["80"])
    assert [one["Id"] for one in seen["history"]] == [image["id"][:12], image["parent"][:12]]
    assert seen["tagged"] is True
    assert dict(map(tuple, seen["images"])) == {"v1": image["id"], "v2": image["id"]}
    assert "Build successful." in seen["build"]
    assert seen["built"] == (None if reads_frames else "built\n")
    assert len(seen["imported"][-1].strip()) == 12
    assert '"Id":' in seen["inserted"]
    assert "The push refers to a repository" in seen["pushed"][0]
    assert seen["left"] == []
    assert seen["pulled"][0].startswith("Pulling repository")
    assert seen["back"] == ["cat", "/new"]
    assert seen["unknown"] == [404] * 5
