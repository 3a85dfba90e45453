"""The corpus of Dockerfiles: what we make of each, against what dockerd made of it.

The recording is made by `python -m tests.e2e.build_corpus.record`; a sample of it is made again
here, so that it stays what dockerd really does.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.build_corpus.build import as_json, build
from tests.e2e.build_corpus.cases import CASES, EXPECTED, RECORDED
from tests.support import dockerd, pinnaced
from tests.support.images import busybox_archive

if TYPE_CHECKING:
    from tests.e2e.build_corpus.model import Case, Outcome

pytestmark = pytest.mark.root

GOLDEN = json.loads((Path(__file__).parent / "build_corpus" / "golden.json").read_text())
BUILDABLE = [
    case
    for case in CASES
    if not (case.expected.error if case.expected else GOLDEN[case.name].get("error"))
]
SAMPLE = RECORDED[:: len(RECORDED) // 20]

# Where newer Docker says the same in other words, and where ours names the place besides.
_PREFIX = re.compile(
    r"^(?:dockerfile parse error (?:on )?line \d+: |failed to parse Dockerfile: )", re.IGNORECASE
)
_RUNTIME = re.compile(r"failed to create task for container: |\b(?:runc|crun) create failed: ")
_IDLE_CONTAINER = re.compile(
    r"^(Step \d+/\d+ : (?!RUN)\w+.*\n(?:Note: .*\n)?) ---> Running in <id>\n"
    r"(?:Removing intermediate container <id>\n)?",
    re.IGNORECASE | re.MULTILINE,
)
_TRIGGERS = re.compile(r"^# Executing .*\n(?: ---> Running.*\n|Removing.*\n)+", re.MULTILINE)
_CONTAINER = re.compile(r"^ ---> Running in <id>\nRemoving .*<id>\n", re.MULTILINE)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    with pinnaced.start(
        tmp_path_factory.mktemp("c"), bridge="pnt25", subnet="10.226.0.1/24"
    ) as engine:
        engine.load(busybox_archive())
        yield engine


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    with dockerd.start(
        tmp_path_factory.mktemp("d"), bridge="pnt25d", subnet="10.226.1.1/24"
    ) as engine:
        engine.load(busybox_archive())
        yield engine


def comparable(outcome: dict[str, Any]) -> dict[str, Any]:
    """Take out of an outcome what depends on the version of dockerd's words.

    dockerd makes a container, and says so, for steps that run nothing; we do not.
    """
    found = dict(outcome)
    if "output" in found:
        # What a command writes at once may come in pieces.
        found["output"] = found["output"].replace("\x1b[0m\x1b[91m", "")
        found["output"] = _IDLE_CONTAINER.sub(r"\1", found["output"])
        found["output"] = _TRIGGERS.sub(_without_containers, found["output"])
    if "error" in found:
        first = _RUNTIME.sub("", _PREFIX.sub("", found["error"].split("\n")[0]))
        found["error"] = first[:1].lower() + first[1:]
    return found


def _without_containers(found: re.Match[str]) -> str:
    return _CONTAINER.sub("", found[0])


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.name)
def test_a_dockerfile_becomes_what_dockerd_makes_of_it(ours, case: Case):
    found = comparable(as_json(build(ours, case)))
    wanted = comparable(GOLDEN[case.name])
    for member in case.differs:
        value = case.ours.get(member)
        if isinstance(value, str):
            assert value in found.get(member, "")
        else:
            assert found.get(member) == value
        found.pop(member, None)
        wanted.pop(member, None)
    assert found == wanted


@pytest.mark.parametrize("case", BUILDABLE[::3], ids=lambda case: case.name)
def test_a_cache_full_of_other_builds_changes_no_result(ours, case: Case):
    cached = dataclasses.replace(case, query={**case.query, "nocache": "0"})
    fresh = build(ours, case)
    first, second = (build(ours, cached, keep=True) for _ in range(2))
    for outcome in (first, second):
        for member in ("status", "error", "code", "config", "author", "history", "tree"):
            assert getattr(outcome, member) == getattr(fresh, member)
    # Bases are made anew for each build.
    if not case.bases and not case.query.get("q"):
        words = [word.upper() for word in re.findall(r"Step \d+/\d+ : (\w+)", second.output)]
        steps = [word for word in words[words.index("FROM") :] if word != "FROM"]
        assert second.output.count(" ---> Using cache\n") == len(steps)
        assert " ---> Running in" not in second.output


@pytest.mark.parametrize("case", EXPECTED, ids=lambda case: case.name)
def test_a_dockerfile_becomes_what_the_reference_says(ours, case: Case):
    outcome: Outcome = build(ours, case)
    expected = case.expected
    assert expected is not None
    if expected.error:
        assert expected.error in outcome.error
    else:
        assert outcome.error == ""
    if expected.tree is not None:
        assert outcome.tree == sorted(expected.tree)
    assert {key: outcome.config.get(key) for key in expected.config} == expected.config
    if expected.history is not None:
        assert tuple(outcome.history[-len(expected.history) :]) == expected.history
    for text in expected.output:
        assert text in outcome.output


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name)
def test_the_recording_is_what_dockerd_does(theirs, case: Case):
    assert as_json(build(theirs, case)) == GOLDEN[case.name]


def test_the_corpus_has_all_it_should():
    assert len(CASES) >= 150
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.name for case in RECORDED} == GOLDEN.keys()
