"""`./dev` and the lock files: what can be said of them without installing anything."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["requirements.lock", "requirements-dev.lock"]


def locked(name: str) -> dict[str, str]:
    """Map each package of a lock file to its block of lines."""
    text = (ROOT / name).read_text()
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    return {re.match(r"[a-z0-9._-]+", block)[0]: block for block in blocks}


def wanted(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_one_version_and_hashes(name):
    for package, block in locked(name).items():
        assert re.match(rf"{re.escape(package)}==[0-9][^ ]* ", block), package
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), package


@pytest.mark.parametrize("name", LOCKS)
def test_lock_files_name_no_host(name):
    assert "://" not in (ROOT / name).read_text()
    assert "--index-url" not in (ROOT / name).read_text()


def test_locks_hold_every_dependency_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = {wanted(r) for r in project["project"]["dependencies"]}
    development = {wanted(r) for r in project["dependency-groups"]["dev"]}
    assert runtime <= locked(LOCKS[0]).keys()
    assert runtime | development <= locked(LOCKS[1]).keys()


def test_both_locks_agree_on_shared_packages():
    runtime, development = locked(LOCKS[0]), locked(LOCKS[1])
    for package, block in runtime.items():
        assert development[package].split()[0] == block.split()[0]


def test_dev_works_through_a_link_from_a_directory_with_spaces(tmp_path):
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    shutil.copy(ROOT / "dev", checkout / "dev")
    (tmp_path / "link").symlink_to(checkout / "dev")
    answer = subprocess.run(
        [tmp_path / "link", "help"], cwd="/", capture_output=True, text=True, check=True
    )
    assert "./dev run" in answer.stdout


def test_help_names_every_command_of_dev():
    script = (ROOT / "dev").read_text()
    table = script[script.index('case "$command" in') :]
    commands = re.findall(r"^        ([a-z]+)\)", table, flags=re.MULTILINE)
    usage = subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True, check=True)
    assert set(commands) >= {"run", "setup", "test", "check", "bench", "clean"}
    for command in commands:
        assert f"./dev {command}" in usage.stdout


def test_an_unknown_command_fails_and_says_what_there_is():
    answer = subprocess.run(
        [ROOT / "dev", "frobnicate"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2
    assert "./dev run" in answer.stderr
