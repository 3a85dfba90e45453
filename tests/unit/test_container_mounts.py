import pytest
from tests.support.specs import a_record

from pinnace.engine.containers.mounts import clean_path, parse_bind, wanted_mounts
from pinnace.errors import InvalidParameter
from pinnace.model.container import (
    BindOptions,
    ContainerConfig,
    HostConfig,
    ImageOptions,
    Mount,
    MountRecord,
    TmpfsOptions,
    VolumeOptions,
)


def wanted(config=None, lookup=None, **host):
    return wanted_mounts(config or ContainerConfig(), HostConfig(**host), lookup=lookup)


def test_a_bind_is_private_and_writable_unless_said_otherwise():
    mount = parse_bind("/src:/dst")
    assert (mount.type, mount.source, mount.destination) == ("bind", "/src", "/dst")
    assert (mount.rw, mount.propagation) == (True, "rprivate")


def test_mode_words_are_understood():
    mount = parse_bind("/src/../s:/d/./e:ro,rslave,z")
    assert (mount.source, mount.destination, mount.rw) == ("/s", "/d/e", False)
    assert mount.propagation == "rslave"


def test_a_source_that_is_no_path_names_a_volume():
    mount = parse_bind("data:/d:nocopy")
    assert (mount.type, mount.name, mount.copy_up) == ("volume", "data", False)


def test_a_lone_path_is_an_anonymous_volume():
    assert parse_bind("/d").anonymous


@pytest.mark.parametrize(
    "spec", [":/d", "/s:", "a:b:c:d", "", "/s:d", "/s:/", "/s:/d:rx", "/s:/d:ro,rw", "v:/d:rslave"]
)
def test_bad_specifications_are_refused(spec):
    with pytest.raises(InvalidParameter):
        parse_bind(spec)


def test_mounts_of_every_source_come_as_one_list_by_depth():
    found = wanted(
        ContainerConfig(volumes={"/v": {}}),
        binds=["/h:/a/b"],
        mounts=[Mount(type="volume", source="x", target="/a")],
        tmpfs={"/t": "size=1m"},
    )
    assert [mount.destination for mount in found] == ["/a", "/t", "/v", "/a/b"]
    assert [mount.type for mount in found] == ["volume", "tmpfs", "volume", "bind"]


def test_two_mounts_at_one_place_are_refused():
    with pytest.raises(InvalidParameter, match="Duplicate mount point: /a"):
        wanted(binds=["/x:/a"], mounts=[Mount(type="bind", source="/y", target="/a/")])


def test_an_images_volume_gives_way_to_the_users_mount():
    found = wanted(ContainerConfig(volumes={"/a": {}}), binds=["/x:/a"])
    assert [mount.type for mount in found] == ["bind"]


def test_volumes_of_another_container_are_taken_over_without_copying_again():
    other = a_record(
        mounts=[
            MountRecord(
                type="volume",
                name="v",
                source="/s",
                destination="/v",
                copy_up=True,
                anonymous=True,
            ),
            MountRecord(type="tmpfs", destination="/t"),
        ]
    )
    (mount,) = wanted(lookup=lambda _ref: other, volumes_from=["other:ro"])
    assert (mount.name, mount.rw, mount.copy_up, mount.anonymous) == ("v", False, False, False)


@pytest.mark.parametrize(
    ("mount", "text"),
    [
        (Mount(type="x", source="/s", target="/t"), "mount type unknown"),
        (Mount(type="bind", source="/s"), "field Target must not be empty"),
        (Mount(type="bind", target="/t"), "field Source must not be empty"),
        (Mount(type="bind", source="s", target="/t"), "mount path must be absolute"),
        (Mount(type="bind", source="/s", target="/"), "destination can't be '/'"),
        (Mount(type="tmpfs", source="/s", target="/t"), "field Source must not be specified"),
        (
            Mount(type="bind", source="/s", target="/t", volume_options=VolumeOptions()),
            "field VolumeOptions must not be specified",
        ),
        (
            Mount(
                type="bind", source="/s", target="/t", bind_options=BindOptions(propagation="x")
            ),
            "invalid propagation mode: x",
        ),
        (
            Mount(type="tmpfs", target="/t", tmpfs_options=TmpfsOptions(size_bytes=-1)),
            "size must be positive",
        ),
    ],
)
def test_mounts_that_cannot_be_meant_are_refused(mount, text):
    with pytest.raises(InvalidParameter, match=text):
        wanted(mounts=[mount])


def test_read_only_is_recursive_unless_the_client_is_old_or_says_otherwise():
    recursive = wanted(binds=["/s:/d:ro"])[0]
    assert recursive.read_only_recursive
    old = wanted_mounts(
        ContainerConfig(),
        HostConfig(binds=["/s:/d:ro"]),
        lookup=None,
        read_only_non_recursive=True,
    )[0]
    assert not old.read_only_recursive


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [("/a/../../b", "/b"), ("//a//b/", "/a/b"), ("/.", "/"), ("/a/./b", "/a/b")],
)
def test_container_paths_are_cleaned_inside_the_root(path, cleaned):
    assert clean_path(path) == cleaned


def test_a_missing_source_is_made_for_dash_v_and_where_it_is_asked_for():
    asked = [
        Mount(type="bind", source="/s", target="/a"),
        Mount(
            type="bind",
            source="/s",
            target="/b",
            bind_options=BindOptions(create_mountpoint=True),
        ),
    ]
    found = wanted(binds=["/s:/c"], mounts=asked)
    made = {mount.destination: mount.create_source for mount in found}
    assert made == {"/a": False, "/b": True, "/c": True}


def test_an_image_mount_is_read_only_and_remembers_what_was_asked_for():
    options = ImageOptions(subpath="etc")
    [found] = wanted(
        mounts=[Mount(type="image", source="busybox", target="/i", image_options=options)]
    )
    assert (found.type, found.name, found.destination) == ("image", "busybox", "/i")
    assert (found.rw, found.subpath, found.asked) == (False, "etc", True)


def test_an_image_mount_needs_a_source():
    with pytest.raises(InvalidParameter, match="field Source must not be empty"):
        wanted(mounts=[Mount(type="image", target="/i")])
