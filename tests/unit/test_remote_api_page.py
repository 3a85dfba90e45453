"""The page of API 1.0 to 1.2 names every line of the contract, and is what its tests are."""

from __future__ import annotations

import pytest
from tests.remote_api import page

LINES = range(1, page.LAST + 1)


@pytest.fixture(scope="module")
def written():
    return page.PAGE.read_text()


def test_every_line_of_the_contract_has_a_test():
    found = page.scan()
    assert [line for line in LINES if line not in found] == []
    assert sorted(set(found) - set(LINES)) == []


def test_the_page_is_what_the_tests_are_called(written):
    assert written == page.render(page.scan(), page.read(written)), (
        "run python -m tests.remote_api.page"
    )


def test_every_line_was_seen_to_hold(written):
    results = page.read(written)
    assert [line for line in LINES if results[line].outcome != "passed"] == []


def test_every_line_was_asked_in_every_version_it_holds_for(written):
    results = page.read(written)
    lacking = {line: page.required(line) - results[line].versions for line in LINES}
    assert {line: versions for line, versions in lacking.items() if versions} == {}
