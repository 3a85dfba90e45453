"""What a person sees: tables, sizes, ages, progress, and escapes of hostile text."""

import io
import json
import subprocess
import sys
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.cli import copy, output
from pinnace.cli.containers import show_ports
from pinnace.cli.context import CommandError
from pinnace.cli.filters import encode_filters, moment
from pinnace.cli.main import COMMANDS
from pinnace.cli.progress import ProgressView, bar, show_progress
from pinnace.cli.pull import join_reference, split_reference
from pinnace.cli.run import start_failure_status
from pinnace.client.records import Port, Progress, ProgressDetail


@given(st.text())
def test_class_26_no_text_can_act_upon_a_terminal(text):
    shown = output.printable(text)
    assert "\x1b" not in shown
    assert all(c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f") for c in shown)


def test_class_26_a_hostile_name_cannot_break_a_table():
    shown = output.table(["NAME"], [["evil\x1b[2J\x07\nROOT"]])
    assert shown.split("\n")[1] == r"evil\x1b[2J\x07 ROOT"


def test_readable_text_of_all_scripts_is_left_alone():
    assert output.printable("żółw 海 🚢\tx") == "żółw 海 🚢\tx"


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (1982256, "1.98MB"), (332_000_000, "332MB")],
)
def test_sizes_are_decimal_with_three_digits(size_bytes, shown):
    assert output.size(size_bytes) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.2, "Less than a second"),
        (5, "5 seconds"),
        (60, "About a minute"),
        (150, "2 minutes"),
        (3700, "About an hour"),
        (7300, "2 hours"),
        (3 * 86400, "3 days"),
        (20 * 86400, "2 weeks"),
        (300 * 86400, "10 months"),
        (3 * 365 * 86400, "3 years"),
    ],
)
def test_ages_are_rough(seconds, shown):
    assert output.age(seconds) == shown


def test_columns_line_up():
    assert output.table(["A", "LONG"], [["wide cell", "x"], ["y", ""]]) == (
        "A           LONG\nwide cell   x\ny"
    )


def test_ports_show_where_they_are_published():
    ports = [
        Port(ip="0.0.0.0", private_port=80, public_port=8080),
        Port(ip="::", private_port=80, public_port=8080),
        Port(private_port=443),
    ]
    assert show_ports(ports) == "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 443/tcp"


def test_filters_collect_values_of_a_key():
    assert json.loads(encode_filters(["a=1", "a=2", "b=3"])) == {"a": ["1", "2"], "b": ["3"]}
    assert encode_filters([]) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, None),
        ("12.5", "12.5"),
        ("10s", "90.000000000"),
        ("1970-01-01T00:01:00Z", "60.000000000"),
    ],
)
def test_times_are_unix_seconds_durations_back_or_rfc_3339(text, shown):
    assert moment(text, 100.0) == shown


def test_a_time_that_is_none_of_these_is_refused():
    with pytest.raises(ValueError, match="invalid time"):
        moment("yesterday", 0.0)


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("busybox", ("busybox", "")),
        ("busybox:1", ("busybox", "1")),
        ("host:5000/a/b", ("host:5000/a/b", "")),
        ("host:5000/a:t", ("host:5000/a", "t")),
        ("a@sha256:00", ("a", "sha256:00")),
    ],
)
def test_references_split_and_join(reference, parts):
    assert split_reference(reference) == parts
    if parts[1]:
        assert join_reference(*parts) == reference


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ('exec: "x": executable file not found in $PATH', 127),
        ("stat /x: no such file or directory", 127),
        ('exec: "/etc": permission denied', 126),
        ("port is already allocated", 125),
    ],
)
def test_failed_starts_get_a_shells_status(message, status):
    assert start_failure_status(message) == status


def test_a_bar_shows_how_far_it_is():
    message = Progress(detail=ProgressDetail(current=15, total=30))
    assert bar(message) == f"[{'=' * 15}>{' ' * 15}] 15B/30B"


def test_progress_on_a_terminal_updates_the_line_of_its_id():
    out = io.StringIO()
    view = ProgressView(out, terminal=True)
    for status in ("Waiting", "Downloading"):
        view.show(Progress(id="abc", status=status))
        view.show(Progress(id="def", status=status))
    assert out.getvalue().startswith(
        "abc: Waiting\ndef: Waiting\n\x1b[2A\r\x1b[2Kabc: Downloading"
    )


def test_progress_elsewhere_prints_no_bars():
    out = io.StringIO()
    view = ProgressView(out, terminal=False)
    view.show(Progress(id="abc", status="Pull complete"))
    view.show(Progress(id="abc", status="Down", detail=ProgressDetail(current=1, total=2)))
    assert out.getvalue() == "abc: Pull complete\n"


async def lines(*texts: bytes):
    for text in texts:
        yield text


async def test_an_error_inside_a_stream_fails_the_command():
    with pytest.raises(CommandError, match="broken layer"):
        await show_progress(
            lines(b'{"status":"x"}', b'{"error":"broken layer","errorDetail":{"message":"b"}}'),
            io.StringIO(),
            json=False,
        )


def archive(*members: tarfile.TarInfo) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    out.seek(0)
    return out


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o755
    info.size = 3 if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize(
    "members",
    [
        [member("d", tarfile.DIRTYPE), member("d/../../escaped")],
        [
            member("d", tarfile.DIRTYPE),
            member("d/l", tarfile.SYMTYPE, ".."),
            member("d/l/../escaped"),
        ],
        [
            member("d", tarfile.DIRTYPE),
            member("d/l", tarfile.SYMTYPE, "../.."),
            member("d/l/escaped"),
        ],
        [member("d", tarfile.DIRTYPE), member("d/h", tarfile.LNKTYPE, "d/../../secret")],
    ],
)
def test_class_7_copied_archives_cannot_leave_the_target(tmp_path, members):
    (tmp_path / "secret").write_text("secret")
    target = tmp_path / "inner"
    target.mkdir()
    with pytest.raises(CommandError, match="outside"):
        copy.extract_renamed(archive(*members), "/d", target)
    assert not (tmp_path / "escaped").exists()
    assert not (target / "d/h").exists()


def test_class_7_a_link_is_replaced_and_never_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("whole")
    target = tmp_path / "inner"
    target.mkdir()
    members = [member("f", tarfile.SYMTYPE, str(victim)), member("f")]
    copy.extract_renamed(archive(*members), "/f", target)
    assert victim.read_text() == "whole"
    assert (target / "f").read_text() == "xxx"


def test_copied_objects_are_named_as_cp_would(tmp_path):
    members = [member("d", tarfile.DIRTYPE), member("d/a"), member("d/b", tarfile.LNKTYPE, "d/a")]
    copy.extract_renamed(archive(*members), "/d", tmp_path)
    copy.extract_renamed(archive(*members), "/d", tmp_path / "new")
    (tmp_path / "into").mkdir()
    copy.extract_renamed(archive(*members), "/d/.", tmp_path / "into")
    for name in ("d", "new", "into"):
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == ["a", "b"]
        assert (tmp_path / name / "b").samefile(tmp_path / name / "a")


def test_help_lists_every_command_without_loading_any():
    done = subprocess.run(
        [sys.executable, "-c", "import sys, pinnace.cli.main as m; m.main([]); "
         "print(*sorted(n for n in sys.modules if n.startswith('pinnace.') or n == 'asyncio'))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for command in COMMANDS:
        assert f"  {command} " in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "pinnace.cli pinnace.cli.arguments pinnace.cli.main pinnace.version"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    from pinnace.cli.main import main

    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert f"pinnace {command}" in capsys.readouterr().out
