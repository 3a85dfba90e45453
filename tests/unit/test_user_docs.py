"""The documentation names what exists: commands, settings, files and links."""

import json
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from pinnace.cli.main import COMMANDS
from pinnace.daemon.config import Config, load, parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("command", [*COMMANDS, "daemon"])
def test_every_command_is_documented(command):
    assert f"\n| `{command}` |" in (ROOT / "docs/cli.md").read_text()


@pytest.mark.parametrize("key", [f.encode_name for f in msgspec.structs.fields(Config)])
def test_every_setting_of_the_daemon_is_documented(key):
    assert f"`{key}`" in (ROOT / "docs/configure.md").read_text()


def test_every_flag_of_the_daemon_is_documented():
    text = (ROOT / "docs/configure.md").read_text()
    flags = [flag for action in parser()._actions for flag in action.option_strings]
    assert [f for f in flags if f not in ("-h", "--help") and f"`{f}`" not in text] == []


def test_documented_settings_exist():
    text = (ROOT / "docs/configure.md").read_text()
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `-")]
    keys = {f.encode_name for f in msgspec.structs.fields(Config)}
    flags = {flag for action in parser()._actions for flag in action.option_strings}
    for flag_cell, key_cell in rows:
        assert set(re.findall(r"`(-[^`]+)`", flag_cell)) <= flags
        assert set(re.findall(r"`([^`]+)`", key_cell)) <= keys
    assert len(rows) > 30


def test_the_sample_configuration_is_valid(tmp_path):
    sample = ROOT / "packaging/daemon.json"
    assert json.loads(sample.read_text())
    config, validate = load(["--config-file", str(sample), "--validate"])
    assert validate
    assert config.hosts[0] == "unix:///run/pinnace/pinnace.sock"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_changes_are_named_by_number_and_kind():
    for fragment in (ROOT / "changes").glob("*.md"):
        if fragment.name != "README.md":
            assert re.fullmatch(r"\d+\.(api|feature|fix|removed|security)\.md", fragment.name)


def test_the_unit_lets_containers_outlive_the_daemon():
    unit = (ROOT / "packaging/pinnace.service").read_text()
    for line in (
        "KillMode=process",
        "Type=notify",
        "Delegate=yes",
        "RuntimeDirectoryPreserve=yes",
    ):
        assert f"\n{line}\n" in unit


def test_the_package_says_its_version_once():
    from pinnace.version import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project.get("version", __version__) == __version__
