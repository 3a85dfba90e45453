"""Every class of attack that touches the engine has a test which replays it."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CLASSES = [*range(1, 19), *range(20, 28)]
TEST_NAME = re.compile(r"^(?:async )?def test_class_0?(\d+)_", re.MULTILINE)


@pytest.mark.parametrize("number", CLASSES)
def test_every_class_of_attack_is_replayed(number):
    modules = HERE.glob("test_*.py")
    tested = {int(found) for path in modules for found in TEST_NAME.findall(path.read_text())}
    assert number in tested
