"""The page docs/api/remote-api-1.0-1.2.md: every line of the contract, its test and the result.

`python -m tests.remote_api.page` (as root) runs the tests and writes the page. What it says of
tests comes from their names, what it says of versions and results from that run.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "api" / "remote-api-1.0-1.2.md"
LAST = 348
SECTIONS = (
    ("Routing and transport", 1),
    ("Booleans and integers", 35),
    ("JSON", 48),
    ("CORS", 58),
    ("Container list", 66),
    ("Create", 92),
    ("Inspect", 109),
    ("Start, stop, restart, kill, wait, remove", 126),
    ("Changes, export, resize", 157),
    ("Attach", 173),
    ("Images: list, inspect, history, graph, search", 193),
    ("Pull and import", 216),
    ("Push, insert", 240),
    ("Tag", 253),
    ("Delete image", 264),
    ("getCache", 279),
    ("Commit", 283),
    ("Build", 300),
    ("Auth, info, version", 334),
)
# The versions that lines hold for, where not for all three.
_NARROW = {
    "1.0": "216 217 225 243 263 348",
    "1.0 1.1": "242 264 265 306 334 335 337 342",
    "1.1 1.2": "218 219 220 221 222 223 224 237 244 245 247 260",
    "1.2": "2 22 105 131 240 241 267 268 269 270 271 272 273 274 275 276 277 278 307 311 312 313"
    " 316 329 336 338",
    "any": "3 4 5 6 7 8 9 11",
}
REQUIRED = {int(number): text.split() for text, ids in _NARROW.items() for number in ids.split()}
ALL = ["1.0", "1.1", "1.2"]
# What has to be said of a line beside its test: where it meets what this engine is.
REMARKS = {
    2: "The list is compared with the one behind `/v1.2`; other paths are compared line by line.",
    62: "API 1.3 exists here (C3), so `/v1.3/version` is 200, not an empty 404. Its answer carries"
    " the origin, as that of a version that does not exist does.",
    98: "Also for an empty object and for `null`; an empty body is C51.",
    105: "A tag goes before the beginning of an id, so that no id can hide a tag.",
    205: "Images from elsewhere have an id for each step of their history, made of what was done.",
    226: "The index is `https://index.docker.io/v1` for a name without a registry, else that"
    " registry's host.",
    249: "No container is left behind.",
    265: "A container of a forgotten image keeps its files and goes on.",
    333: "Without a tag it is `latest` that is pulled.",
}
_NAME = re.compile(r"test_c([0-9]+)_(.+)")
_ROW = re.compile(r"\| C([0-9]+) \| ([^|]*) \| [^|]* \| [^|]* \| ([a-z]+) \|")

HEAD = """# API 1.0, 1.1 and 1.2

What clients of May and June 2013 can rely on, line by line. Each line of the contract has a test
that asks a running daemon with real containers, images and registries, in the versions named;
`bare` is a path without prefix on a TCP listener, which means 1.2 where 1.2 has the operation.

This page is written by `python -m tests.remote_api.page`, which runs the tests in
`tests/remote_api/`; a unit test fails when it is not what they are.
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A test of a line: its file, its name and the sentence in it."""

    file: str
    name: str
    sentence: str


@dataclass(slots=True)
class Result:
    """What a run said of a line: the versions asked, and whether all went well."""

    versions: set[str] = field(default_factory=set)
    outcome: str = "passed"


def scan(directory: Path = HERE) -> dict[int, list[Found]]:
    """Return the tests of every line, in the order of files and of lines in them."""
    found: dict[int, list[Found]] = {}
    for path in sorted(directory.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            match = _NAME.fullmatch(node.name) if isinstance(node, ast.FunctionDef) else None
            if match:
                words = re.sub(r"(?<=[0-9]) (?=[0-9])", ".", match[2].replace("_", " "))
                sentence = words[0].upper() + words[1:]
                found.setdefault(int(match[1]), []).append(Found(path.name, match[0], sentence))
    return found


def render(tests: Mapping[int, list[Found]], results: Mapping[int, Result]) -> str:
    """Return the whole page."""
    parts = [HEAD]
    starts = [first for _, first in SECTIONS[1:]] + [LAST + 1]
    for (title, first), end in zip(SECTIONS, starts, strict=True):
        parts.append(f"\n## {title}\n")
        parts.append("| line | versions | what is so | tests | result |")
        parts.append("| --- | --- | --- | --- | --- |")
        parts += [_row(line, tests.get(line, []), results) for line in range(first, end)]
        remarks = [f"C{line}: {REMARKS[line]}" for line in range(first, end) if line in REMARKS]
        if remarks:
            parts += ["", *(f"- {remark}" for remark in remarks)]
    return "\n".join(parts) + "\n"


def _row(line: int, tests: list[Found], results: Mapping[int, Result]) -> str:
    result = results.get(line, Result(outcome="untested"))
    told = ". ".join(test.sentence for test in tests)
    names = ", ".join(
        f"`{test.file.removeprefix('test_').removesuffix('.py')}`" for test in _by_file(tests)
    )
    versions = " ".join(sorted(result.versions))
    return f"| C{line} | {versions} | {told} | {names} | {result.outcome} |"


def _by_file(tests: list[Found]) -> list[Found]:
    return list({test.file: test for test in tests}.values())


def read(text: str) -> dict[int, Result]:
    """Return the results that a page tells."""
    return {
        int(row[1]): Result(set(row[2].split()), row[3])
        for row in (_ROW.fullmatch(line) for line in text.splitlines())
        if row
    }


def required(line: int) -> set[str]:
    """Return the versions that have to be asked for a line."""
    return set(REQUIRED.get(line, ALL))


class Recorder:
    """A pytest plugin that remembers how the tests of each line ended, and in which versions."""

    def __init__(self) -> None:
        self.results: dict[int, Result] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item):
        report = yield
        match = _NAME.fullmatch(getattr(item, "originalname", ""))
        if match and (report.when == "call" or not report.passed):
            result = self.results.setdefault(int(match[1]), Result())
            result.versions |= _versions(item)
            if not report.passed:
                result.outcome = report.outcome
        return report


def _versions(item: pytest.Item) -> set[str]:
    asked = item.callspec.params.get("api") if hasattr(item, "callspec") else None
    if asked is not None:
        return {asked}
    marker = item.get_closest_marker("versions")
    return set(marker.args if marker else ALL)


def main() -> int:
    """Run the tests and write the page; the status is pytest's."""
    recorder = Recorder()
    status = pytest.main(["-q", str(HERE)], plugins=[recorder])
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(scan(), recorder.results))
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
