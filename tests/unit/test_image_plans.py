"""Pure parts of the image service: resolving, deleting, history, config changes."""

import pytest

from pinnace.contracts.image_store import ImageState
from pinnace.engine.images.catalog import Catalog
from pinnace.engine.images.changes import apply_changes
from pinnace.engine.images.deletion import DeletionPlanner
from pinnace.engine.images.listing import familiar_match, image_history, inspect_image
from pinnace.engine.images.records import container_config, format_time, parse_time
from pinnace.errors import Conflict, ImageNotFound, InvalidParameter
from pinnace.model.container import ContainerConfig
from pinnace.model.image import HistoryEntry, ImageLayer, ImageRecord
from pinnace.model.record import ImageId
from pinnace.oci.platform import Platform, host_platform, parse_platform

DIGEST = "sha256:" + "d" * 64


def image_id(letter):
    return ImageId("sha256:" + letter * 64)


def image(letter, *, parent="", **more):
    layer = ImageLayer(chain=f"sha256:{letter * 64}", diff_id=f"sha256:{letter * 64}", size=5)
    return ImageRecord(id=image_id(letter), parent=parent, layers=[layer], **more)


def catalog(*images, tags=(), digests=()):
    return Catalog(
        ImageState(
            {record.id: record for record in images},
            {f"docker.io/library/{name}": image_id(letter) for name, letter in tags},
            {f"docker.io/library/{name}": image_id(letter) for name, letter in digests},
        )
    )


def test_names_win_over_the_beginnings_of_ids():
    known = catalog(image("a"), image("b"), tags=[("aaaa:latest", "b")])
    assert known.resolve("aaaa").id == image_id("b")
    assert known.resolve("aaaaa").id == image_id("a")
    assert known.resolve("sha256:aaaa").id == image_id("a")


def test_an_ambiguous_beginning_is_refused():
    other = ImageRecord(id=ImageId("sha256:a" + "0" * 63))
    with pytest.raises(InvalidParameter, match="ambiguous"):
        catalog(image("a"), other).resolve("a")


def test_a_digest_reference_ignores_its_tag():
    known = catalog(image("a"), digests=[(f"x@{DIGEST}", "a")])
    assert known.resolve(f"x:whatever@{DIGEST}").id == image_id("a")
    with pytest.raises(ImageNotFound):
        known.resolve("x")


def plan(known, ref, *, users=None, force=False, prune=True):
    planner = DeletionPlanner(known, lambda found: (users or {}).get(found, ()))
    done = planner.plan(ref, force=force, prune=prune)
    return [item.untagged or item.deleted for item in done.items]


def test_the_last_tag_of_a_repository_takes_its_digests_with_it():
    known = catalog(image("a"), tags=[("x:1", "a")], digests=[(f"x@{DIGEST}", "a")])
    assert plan(known, "x:1") == ["x:1", f"x@{DIGEST}", image_id("a")]


def test_digests_of_another_repository_keep_the_image():
    known = catalog(image("a"), tags=[("x:1", "a")], digests=[(f"y@{DIGEST}", "a")])
    assert plan(known, "x:1") == ["x:1"]


def test_untagged_parents_go_too_unless_that_is_forbidden_or_they_are_needed():
    a, b = image("a"), image("b", parent=image_id("a"))
    assert plan(catalog(a, b), image_id("b")) == [image_id("b"), image_id("a")]
    assert plan(catalog(a, b), image_id("b"), prune=False) == [image_id("b")]
    assert plan(catalog(a, b, tags=[("keep:1", "a")]), image_id("b")) == [image_id("b")]
    in_use = {image_id("a"): [("c", False)]}
    assert plan(catalog(a, b), image_id("b"), users=in_use) == [image_id("b")]


def test_force_takes_all_references_but_not_from_a_running_container():
    known = catalog(image("a"), tags=[("x:1", "a"), ("y:1", "a")])
    assert plan(known, "a" * 12, force=True) == ["x:1", "y:1", image_id("a")]
    with pytest.raises(Conflict, match="cannot be forced"):
        plan(known, "a" * 12, force=True, users={image_id("a"): [("c", True)]})


def test_untagging_a_used_image_is_fine_while_another_name_remains():
    known = catalog(image("a"), tags=[("x:1", "a"), ("y:1", "a")])
    assert plan(known, "x:1", users={image_id("a"): [("c", True)]}) == ["x:1"]


def test_forcing_the_last_name_of_a_running_containers_image_only_untags():
    known = catalog(image("a"), tags=[("x:1", "a")])
    assert plan(known, "x:1", force=True, users={image_id("a"): [("c", True)]}) == ["x:1"]


def test_inspect_shows_the_comment_of_the_newest_step():
    steps = [HistoryEntry(comment="first"), HistoryEntry(comment="second")]
    found = inspect_image(catalog(), image("a", history=steps), driver="overlay2", paths={})
    assert found.comment == "second"


def test_history_gives_ids_only_to_steps_that_are_images():
    steps = [HistoryEntry(created_by="one", layer=0), HistoryEntry(created_by="two")]
    a = image("a", history=steps[:1])
    b = image("b", parent=image_id("a"), history=steps)
    found = image_history(catalog(a, b, tags=[("x:1", "b")]), b)
    assert [(i.id, i.created_by, i.size, i.tags) for i in found] == [
        (image_id("b"), "two", 0, ["x:1"]),
        (image_id("a"), "one", 5, None),
    ]
    missing = image_history(catalog(b), b)
    assert missing[1].id == "<missing>"


@pytest.mark.parametrize(
    ("pattern", "reference", "matches"),
    [("busybox", "busybox:1", True), ("busy*", "busybox:1", True), ("*", "a/b:1", False),
     ("*/*", "a/b:1", True), ("busybox:?", "busybox:1", True),
     ("busybox:[a-c]", "busybox:b", True),
     ("b?sybox:1", "busybox:1", True), ("box", "busybox:1", False)],
)  # fmt: skip
def test_reference_patterns_match_as_gos_path_match(pattern, reference, matches):
    assert familiar_match(pattern, reference) is matches


def test_changes_are_applied_in_order():
    config = apply_changes(
        ContainerConfig(env=["A=1", "B=2"], cmd=["old"], labels={"x": "y"}),
        ['ENV A=3 C="four five"', "LABEL k=v", 'ENTRYPOINT ["/e"]', "CMD run it", "USER 5:6",
         "WORKDIR /w", "WORKDIR sub", "EXPOSE 80 90-91/udp", 'VOLUME ["/v"]', "VOLUME /a /b",
         "STOPSIGNAL SIGINT", "ONBUILD RUN x", "ENV old style value",
         "HEALTHCHECK --interval=5s --retries=2 CMD test -f /ok"],
    )  # fmt: skip
    assert config.env == ["A=3", "B=2", "C=four five", "old=style value"]
    assert config.labels == {"x": "y", "k": "v"}
    assert config.entrypoint == ["/e"]
    assert config.cmd == ["/bin/sh", "-c", "run it"]
    assert config.user == "5:6"
    assert config.working_dir == "/w/sub"
    assert set(config.exposed_ports) == {"80/tcp", "90/udp", "91/udp"}
    assert set(config.volumes) == {"/v", "/a", "/b"}
    assert config.stop_signal == "SIGINT"
    assert config.on_build == ["RUN x"]
    assert config.healthcheck.test == ["CMD-SHELL", "test -f /ok"]
    assert (config.healthcheck.interval, config.healthcheck.retries) == (5_000_000_000, 2)


@pytest.mark.parametrize(
    "change",
    ["RUN x", "FROM y", "", "ENV", "ENV novalue", "EXPOSE x", "EXPOSE 99999", "SHELL sh",
     "ONBUILD FROM x", "HEALTHCHECK what", "HEALTHCHECK --retries=x CMD y", 'ENV a="b'],
)  # fmt: skip
def test_what_is_no_change_is_refused(change):
    with pytest.raises(InvalidParameter):
        apply_changes(ContainerConfig(), [change])


def test_null_fields_of_a_config_are_absent_and_null_sets_count():
    config = container_config(
        {
            "Cmd": None,
            "User": None,
            "ExposedPorts": {"80/tcp": None},
            "Unknown": 1,
            "Healthcheck": {"Test": ["NONE"], "Interval": None},
        }
    )
    assert config.cmd is None
    assert config.user == ""
    assert config.exposed_ports == {"80/tcp": {}}
    with pytest.raises(InvalidParameter):
        container_config({"Cmd": "sh"})


def test_times_keep_their_nanoseconds():
    assert parse_time("2024-05-06T07:08:09.123456789Z") == 1714979289123456789
    assert parse_time("2024-05-06T09:08:09.5+02:00") == 1714979289500000000
    assert parse_time("never") == parse_time(None) == 0
    assert format_time(1714979289120000000) == "2024-05-06T07:08:09.12Z"
    assert format_time(1714979289000000000) == "2024-05-06T07:08:09Z"


def test_platforms_are_named_as_go_names_them():
    host = host_platform("x86_64")
    assert host == Platform("linux", "amd64", "")
    assert parse_platform("linux/aarch64", host) == Platform("linux", "arm64", "")
    assert parse_platform("arm64", host).text() == "linux/arm64"
    assert parse_platform("linux", host) == host
    assert host_platform("aarch64").runs(Platform("linux", "arm64", "v8"))
    assert not host.runs(Platform("linux", "arm64", ""))
    for bad in ("", "a/b/c/d", "linux/", "!"):
        with pytest.raises(InvalidParameter):
            parse_platform(bad, host)
