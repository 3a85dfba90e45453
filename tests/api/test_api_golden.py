import pytest
from tests.support.api import served
from tests.support.golden import GOLDEN, NEWEST_FIRST, PAIRS, an_engine, answer, expected


@pytest.mark.parametrize("operation", sorted(PAIRS))
async def test_every_version_answers_as_recorded(tmp_path, operation):
    async with served(an_engine(), tmp_path) as client:
        for version in NEWEST_FIRST:
            found = await answer(client, version, operation)
            assert found == expected(version, operation), version.text


def test_recorded_folders_are_versions_and_files_operations():
    folders = {f"v{version.text}" for version in NEWEST_FIRST}
    for path in GOLDEN.glob("*/*.json"):
        assert path.parent.name in folders
        assert path.stem in PAIRS


def test_the_newest_version_has_every_pair():
    recorded = {path.stem for path in (GOLDEN / f"v{NEWEST_FIRST[0].text}").glob("*.json")}
    assert recorded == set(PAIRS)
