"""The options of tests/conftest.py: skips and leftovers fail a run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import leftovers

ROOT = Path(__file__).resolve().parents[2]

SKIPS = """
import pytest

def test_passes():
    pass

@pytest.mark.skip(reason="no such program")
def test_skipped():
    pass

@pytest.mark.xfail(strict=True)
def test_expected():
    assert False
"""


def run(directory: Path, text: str, *options: str) -> subprocess.CompletedProcess:
    (directory / "test_it.py").write_text(text)
    shutil.copy(ROOT / "tests/conftest.py", directory / "conftest.py")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, directory],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_skip_fails_the_run_when_skips_are_forbidden(tmp_path):
    assert run(tmp_path, SKIPS).returncode == 0
    strict = run(tmp_path, SKIPS, "--no-skips")
    assert strict.returncode == 1
    assert "1 passed, 1 xfailed, 1 error" in strict.stdout
    assert "no such program" in strict.stdout


def test_a_skipped_module_fails_the_run_too(tmp_path):
    text = "import pytest\npytest.importorskip('no_such_module')\n"
    assert run(tmp_path, text, "--no-skips").returncode != 0
    assert run(tmp_path, text).returncode in (0, pytest.ExitCode.NO_TESTS_COLLECTED)


def test_new_objects_are_leftovers_and_old_ones_are_not(monkeypatch):
    before = leftovers.Snapshot(frozenset({"link eth0"}))
    now = leftovers.Snapshot(frozenset({"link eth0", "link pnt0"}))
    monkeypatch.setattr(leftovers, "take", lambda: now)
    assert leftovers.wait_for_none(before, settle_s=0) == ["link pnt0"]
    assert leftovers.wait_for_none(now, settle_s=0) == []
