"""Images as a forest of steps, and deleting by its branches."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.contracts.image_store import ImageState
from pinnace.engine.images.ancestry import Forest
from pinnace.engine.images.branches import BranchDeletion, find_node
from pinnace.engine.images.catalog import Catalog
from pinnace.engine.images.origin import same_command
from pinnace.errors import Conflict, ImageNotFound
from pinnace.model.image import HistoryEntry, ImageLayer, ImageRecord
from pinnace.oci.reference import parse_reference


def image_id(name):
    return "sha256:" + hashlib.sha256(name.encode()).hexdigest()


def image(name, *steps, parent=""):
    """An image whose layers are `steps`; a step in capitals made none."""
    history, layers = [], []
    for step in steps:
        filled = not step.isupper()
        history.append(HistoryEntry(created_by=step, layer=len(layers) if filled else -1))
        if filled:
            layers.append(ImageLayer(chain=image_id(f"chain {step}"), diff_id=step, size=1))
    return ImageRecord(
        id=image_id(name), parent=parent and image_id(parent), history=history, layers=layers
    )


def catalog(*records, **tags):
    """Tags: name=image or name="image image…" is told by `tags={"repo:tag": "image"}`."""
    names = {parse_reference(ref).normalized(): image_id(of) for ref, of in tags.items()}
    return Catalog(ImageState(images={one.id: one for one in records}, tags=names))


def tree():
    """base <- left <- leaf, base <- right; base and right are named."""
    return (
        image("base", "a"),
        image("left", "a", "b", parent="base"),
        image("leaf", "a", "b", "c", parent="left"),
        image("right", "a", "d", parent="base"),
    )


def deleted(found, ref):
    plan = BranchDeletion(found, Forest(found.images)).plan(ref)
    names = {image_id(name): name for name in ("base", "left", "leaf", "right", "top")}
    done = []
    for item in plan.items:
        kind = "untagged" if isinstance(item.untagged, str) else "deleted"
        value = item.untagged if kind == "untagged" else item.deleted
        done.append((kind, names.get(value, "a step")))
    assert {names[record.id] for record in plan.delete} == {
        name for kind, name in done if kind == "deleted" and name != "a step"
    }
    return done


def test_an_image_made_here_stands_on_its_parent():
    forest = Forest({one.id: one for one in tree()})
    lineage = [node.id for node in forest.lineage(image_id("leaf"))]
    assert lineage == [image_id("leaf"), image_id("left"), image_id("base")]


def test_an_image_from_elsewhere_has_a_step_for_each_line_of_its_history():
    top = image("top", "a", "CMD", "b")
    forest = Forest({top.id: top})
    lineage = forest.lineage(top.id)
    assert [node.step.created_by for node in lineage] == ["b", "CMD", "a"]
    assert [node.record for node in lineage] == [top, None, None]
    assert [node.size for node in lineage] == [1, 0, 1]
    assert all(len(node.id) == len(top.id) for node in lineage)


def test_images_from_elsewhere_share_the_steps_they_have_in_common():
    one, two = image("one", "a", "b", "c"), image("two", "a", "b", "d")
    forest = Forest({one.id: one, two.id: two})
    assert len(forest.nodes) == 4
    assert forest.lineage(one.id)[1:] == forest.lineage(two.id)[1:]


def test_a_step_that_is_an_image_here_is_that_image():
    base, top = image("base", "a", "b"), image("top", "a", "b", "c", "d")
    forest = Forest({base.id: base, top.id: top})
    assert [node.record for node in forest.lineage(top.id)] == [top, None, base, None]


def test_an_image_whose_history_tells_nothing_has_a_step_per_layer():
    record = image("top", "a", "b")
    record = ImageRecord(id=record.id, layers=record.layers)
    assert len(Forest({record.id: record}).lineage(record.id)) == 2


def test_images_that_claim_to_be_made_from_each_other_end_the_walk():
    one, two = image("one", "a", "b", parent="two"), image("two", "a", "c", parent="one")
    forest = Forest({one.id: one, two.id: two})
    assert len(forest.lineage(one.id)) == 2


@pytest.mark.parametrize(
    ("tags", "ref", "done"),
    [
        ({"a:1": "leaf", "b:1": "leaf"}, "a:1", [("untagged", "leaf")]),
        ({"base:1": "base", "l:1": "left", "x:1": "leaf"}, "l:1", [("untagged", "left")]),
        (
            {"base:1": "base", "r:1": "right", "x:1": "leaf"},
            "x:1",
            [("untagged", "leaf"), ("deleted", "leaf"), ("deleted", "left")],
        ),
        (
            {"x:1": "leaf"},
            "x:1",
            [("untagged", "leaf")]
            + [("deleted", name) for name in ("leaf", "left", "right", "base")],
        ),
        ({"base:1": "base"}, image_id("leaf"), [("deleted", "leaf"), ("deleted", "left")]),
        ({"base:1": "base"}, image_id("left"), [("deleted", "leaf"), ("deleted", "left")]),
    ],
)
def test_deleting_follows_the_branches_up_to_what_is_named(tags, ref, done):
    assert deleted(catalog(*tree(), **tags), ref.removeprefix("sha256:")) == done


@pytest.mark.parametrize(
    ("tags", "ref"),
    [
        ({"base:1": "base"}, image_id("base")[7:20]),
        ({"x:1": "leaf"}, image_id("left")[7:20]),
    ],
)
def test_what_is_named_or_bears_a_name_is_not_deleted_by_id(tags, ref):
    found = catalog(*tree(), **tags)
    with pytest.raises(Conflict, match=f"Conflict, {ref} wasn't deleted"):
        deleted(found, ref)


def test_a_bare_name_is_its_latest_alone():
    found = catalog(*tree(), **{"x:latest": "leaf", "x:1": "leaf", "y:1": "base"})
    assert deleted(found, "x") == [("untagged", "leaf")]
    with pytest.raises(ImageNotFound, match="No such image: y"):
        deleted(found, "y")


def test_steps_of_an_image_from_elsewhere_go_with_it():
    found = catalog(image("top", "a", "b"), **{"x:1": "top"})
    assert deleted(found, "x:1") == [
        ("untagged", "top"),
        ("deleted", "top"),
        ("deleted", "a step"),
    ]


def test_a_step_is_found_by_the_start_of_its_id():
    found = catalog(image("top", "a", "b"), **{"x:1": "top"})
    forest = Forest(found.images)
    step = forest.lineage(image_id("top"))[1]
    assert find_node(found, forest, step.id[7:19]) == step
    for ref in ("", "nosuch", "sha256:", "x:2"):
        with pytest.raises(ImageNotFound):
            find_node(found, forest, ref)


shapes = st.lists(st.integers(-1, 30), min_size=1, max_size=30)


@given(shapes, st.sets(st.integers(0, 29)), st.integers(0, 29))
def test_what_is_deleted_is_unnamed_and_nothing_named_loses_its_ground(shape, named, chosen):
    records, names = [], {}
    for number, below in enumerate(shape):
        parent = f"i{below % number}" if number and below >= 0 else ""
        steps = [f"s{number}"]
        if parent:
            steps = [entry.created_by for entry in records[below % number].history] + steps
        records.append(image(f"i{number}", *steps, parent=parent))
        if number in named:
            names[f"n{number}:1"] = f"i{number}"
    found = catalog(*records, **names)
    target = records[chosen % len(records)]
    forest = Forest(found.images)
    try:
        plan = BranchDeletion(found, forest).plan(target.id[7:])
    except Conflict:
        return
    gone = [record.id for record in plan.delete]
    assert len(set(gone)) == len(gone)
    assert not any(found.tags_of(one) for one in gone)
    for kept in set(found.images) - set(gone):
        assert not {node.id for node in forest.lineage(kept)} & set(gone)
    order = {one: place for place, one in enumerate(gone)}
    for one in gone:
        assert all(order[one] > order[child] for child in forest.children.get(one, ()))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"Hostname": "h", "Image": "i", "AttachStdin": True, "StdinOnce": True}, True),
        ({"Volumes": {"/v": {}}, "VolumesFrom": "c"}, True),
        ({"PortSpecs": ["80:80"]}, True),
        ({"MemorySwap": 5}, True),
        ({"MemorySwap": -1}, False),
        ({"OpenStdin": True}, False),
        ({"AttachStdout": True}, False),
        ({"AttachStderr": True}, False),
        ({"Tty": True}, False),
        ({"User": "u"}, False),
        ({"Memory": 7}, False),
        ({"CpuShares": 7}, False),
        ({"Cmd": ["b"]}, False),
        ({"Dns": ["8.8.8.8"]}, False),
        ({"Env": ["B=1", "A=1"]}, False),
        ({"PortSpecs": ["80"]}, False),
    ],
)
def test_container_configs_are_the_same_by_what_the_cache_of_2013_compared(change, same):
    config = {"Cmd": ["a"], "Env": ["A=1", "B=1"], "PortSpecs": [":80"], "Dns": None}
    assert same_command(config, config | change) == same
    assert same_command(config | change, config) == same
