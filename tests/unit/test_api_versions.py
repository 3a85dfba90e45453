"""Versions, their summaries, the files of changes and the page agree."""

import importlib
import pkgutil
from pathlib import Path

import pytest

from pinnace.api import changes
from pinnace.api.changes import CHANGES, page, plan_for
from pinnace.api.changes.change import EVERY_OPERATION
from pinnace.api.routes import ROUTES
from pinnace.api.versions import NEWEST, OLDEST, SUMMARIES, Version, parse_version

DOCUMENT = Path(__file__).parents[2] / "docs" / "api-versions.md"
FILES = sorted(
    name for _, name, _ in pkgutil.iter_modules(changes.__path__) if name.startswith("v1_")
)


def test_every_version_from_1_0_on_has_a_summary_of_one_line():
    assert list(SUMMARIES) == [Version(1, minor) for minor in range(NEWEST.minor + 1)]
    assert (OLDEST, NEWEST) == ((1, 0), (1, 56))
    for summary in SUMMARIES.values():
        assert summary.endswith(".")
        assert "\n" not in summary


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_changes_holds_the_changes_of_its_version_only(name):
    module = importlib.import_module(f"pinnace.api.changes.{name}")
    version = Version(1, int(name.removeprefix("v1_")))
    assert module.CHANGES
    assert {change.version for change in module.CHANGES} == {version}
    assert [change for change in CHANGES if change.version == version] == list(module.CHANGES)


def test_changes_are_listed_oldest_first():
    versions = [change.version for change in CHANGES]
    assert versions == sorted(versions)


def test_changes_name_operations_of_the_table():
    known = {route.operation for route in ROUTES} | {EVERY_OPERATION}
    for change in CHANGES:
        assert set(change.operations) <= known, change.summary


def test_the_page_is_what_the_code_says():
    assert DOCUMENT.read_text() == page.render(), "run python -m pinnace.api.changes.page"


@pytest.mark.parametrize("operation", sorted({route.operation for route in ROUTES}))
def test_a_current_client_meets_no_change(operation):
    plan = plan_for(operation, NEWEST)
    assert not (plan.queries)
    assert not (plan.bodies)
    assert not (plan.answers)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.0", (1, 0)),
        ("1.56", (1, 56)),
        ("1.000000", (1, 0)),
        ("0.9", (0, 9)),
        ("2.0", (2, 0)),
        ("1", None),
        ("1.2.3", None),
        (".", None),
        ("1.", None),
        ("latest", None),
        ("1.-2", None),
        ("1.٣", None),
    ],
)
def test_a_version_is_two_numbers(text, version):
    assert parse_version(text) == version


def test_versions_compare_by_parts():
    assert Version(1, 9) < Version(1, 10)
