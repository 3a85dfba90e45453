"""Contexts in memory, sources in them, plans, mount points left over, modes of --chmod."""

from __future__ import annotations

import pytest

from pinnace.contracts.build_files import SourceEntry
from pinnace.contracts.snapshots import Change
from pinnace.engine.builds.context import ContextTree
from pinnace.engine.builds.dockerfile import parse
from pinnace.engine.builds.mounting import find_stubs
from pinnace.engine.builds.plan import make_plan
from pinnace.engine.builds.scope import GlobalScope
from pinnace.engine.builds.sources import SourceRules, select
from pinnace.errors import InvalidParameter
from pinnace.host.builds.modes import changed_mode


def file(path: str, **more: object) -> SourceEntry:
    return SourceEntry(path, "file", mode=0o644, sum=f"sum of {path}", **more)


def link(path: str, target: str) -> SourceEntry:
    return SourceEntry(path, "symlink", link=target)


TREE = ContextTree(
    [
        file("a.txt"),
        file("d/one.txt"),
        file("d/two.go"),
        file("d/sub/three.txt"),
        link("to-d", "d"),
        link("absolute", "/d/one.txt"),
        link("out", "../../etc/passwd"),
        link("loop", "loop"),
        SourceEntry("hard", "hardlink", link="a.txt"),
        file("[x]"),
    ]
)


def names(spec: str, **rules: object) -> list[str]:
    found = select(TREE, spec, SourceRules(**rules))
    return sorted(entry.path for one in found for entry in one.entries)


def test_directories_are_there_although_the_archive_names_none():
    assert list(TREE.children("d")) == ["one.txt", "sub", "two.go"]


def test_a_later_member_replaces_an_earlier_one_with_what_was_below_it():
    tree = ContextTree([file("x/y/z"), file("x/y"), file("x/w")])
    assert [entry.path for entry in tree.walk("")] == ["x", "x/w", "x/y"]


def test_a_file_is_no_directory():
    with pytest.raises(InvalidParameter, match="not a directory"):
        ContextTree([file("x"), file("x/y")])


def test_hard_links_are_names_of_one_file():
    first, second = TREE.entry("a.txt"), TREE.entry("hard")
    assert first.inode == second.inode > 0
    with pytest.raises(InvalidParameter, match="hardlink"):
        ContextTree([SourceEntry("x", "hardlink", link="nothing")])


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("to-d/one.txt", "d/one.txt"),
        ("absolute", "d/one.txt"),
        ("d/../a.txt", "a.txt"),
        ("../../a.txt", "a.txt"),
        ("out", None),
        ("loop", None),
        ("d/nothing", None),
        ("", ""),
    ],
)
def test_links_are_followed_inside_the_context_only(path, found):
    assert TREE.resolve(path) == found


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("a.txt", ["a.txt"]),
        ("/a.txt", ["a.txt"]),
        ("d", ["d/one.txt", "d/sub", "d/sub/three.txt", "d/two.go"]),
        ("d/*.txt", ["d/one.txt"]),
        ("*/*.go", ["d/two.go"]),
        ("d/t?o.g[a-z]", ["d/two.go"]),
        ("nothing*", []),
        ("[[]x[\\]]", ["[x]"]),
    ],
)
def test_sources_name_files_directories_and_patterns(spec, found):
    assert names(spec) == found


@pytest.mark.parametrize("spec", ["nothing", "out", "loop", "../a.txt", "d/../../x"])
def test_sources_outside_or_missing_are_refused(spec):
    with pytest.raises(InvalidParameter):
        names(spec)


def plan(text: str, target: str = "") -> tuple[list[int], int]:
    dockerfile = parse(text.encode())
    scope = GlobalScope.of_file(dockerfile, {}, {})
    made = make_plan(dockerfile, scope, target=target, labels={})
    return [stage.index for stage in made.stages], made.total


GRAPH = """ARG BASE=one
FROM a AS one
FROM $BASE AS two
FROM c AS three
RUN --mount=type=bind,from=two,target=/x true
FROM d AS four
COPY --from=2 /x /y
FROM e AS five
"""


@pytest.mark.parametrize(
    ("target", "stages", "total"),
    [("", [4], 2), ("five", [4], 2), ("four", [0, 1, 2, 3], 7), ("TWO", [0, 1], 3), ("0", [0], 2)],
)
def test_only_what_the_target_needs_is_planned(target, stages, total):
    assert plan(GRAPH, target) == (stages, total)


def test_targets_and_names_are_checked():
    with pytest.raises(InvalidParameter, match="failed to reach build target no in Dockerfile"):
        plan(GRAPH, "no")
    with pytest.raises(InvalidParameter, match="a stage name already used"):
        plan("FROM x AS a\nFROM y AS a\n")


def test_mount_points_are_stubs_when_nothing_else_came_with_them():
    added = [Change(path, 1) for path in ("/c", "/new", "/new/deep", "/kept", "/kept/f")]
    changes = [*added, Change("/old", 0), Change("/old/in", 1)]
    targets = ["/c", "/new/deep", "/kept", "/old", "/old/in"]
    assert sorted(find_stubs(changes, targets)) == ["/c", "/new", "/new/deep", "/old/in"]


@pytest.mark.parametrize(
    ("mode", "change", "directory", "wanted"),
    [
        (0o644, "755", False, 0o755),
        (0o644, "4755", False, 0o4755),
        (0o644, "u+x", False, 0o744),
        (0o644, "+x", False, 0o755),
        (0o777, "go-w", False, 0o755),
        (0o644, "a=r", False, 0o444),
        (0o600, "g=u", False, 0o660),
        (0o644, "u=rwX,go=rX", True, 0o755),
        (0o644, "u=rwX,go=rX", False, 0o644),
    ],
)
def test_modes_are_numbers_or_words(mode, change, directory, wanted):
    assert changed_mode(mode, change, is_directory=directory) == wanted


@pytest.mark.parametrize("change", ["", "9", "u~x", "rwx", "77777"])
def test_what_is_no_mode_is_refused(change):
    with pytest.raises(InvalidParameter, match="invalid chmod parameter"):
        changed_mode(0o644, change, is_directory=False)
