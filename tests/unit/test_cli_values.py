"""Parsers of option values and the request body which options make."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.cli import values
from pinnace.cli.arguments import Parser
from pinnace.cli.container_options import add_container_options, create_body
from pinnace.cli.run import parse_keys
from pinnace.cli.terminal import DetachDetector, parse_detach_keys


def body(*arguments: str, attach: bool = True, environment: dict[str, str] | None = None):
    parser = Parser("run", "")
    add_container_options(parser)
    args = parser.parse_args([*arguments, "image"])
    return create_body(args, environment or {}, attach=attach)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("512", 512),
        ("1k", 1024),
        ("64m", 64 << 20),
        ("1.5G", 3 << 29),
        ("2MiB", 2 << 20),
    ],
)
def test_sizes_are_powers_of_1024(text, size_bytes):
    assert values.parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "1 2", "٣m x"])
def test_bad_sizes_are_refused(text):
    with pytest.raises(ValueError, match="invalid size"):
        values.parse_size(text)


@pytest.mark.parametrize(
    ("text", "nanos"),
    [("0", 0), ("1s", 10**9), ("1m30s", 90 * 10**9), ("1.5h", 5400 * 10**9), ("10ms", 10**7)],
)
def test_durations_are_nanoseconds(text, nanos):
    assert values.parse_duration(text) == nanos


@pytest.mark.parametrize("text", ["", "1", "s", "1s2", "1 s", "-1s"])
def test_bad_durations_are_refused(text):
    with pytest.raises(ValueError, match="invalid duration"):
        values.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("80", [("80/tcp", "", "")]),
        ("8080:80", [("80/tcp", "", "8080")]),
        ("127.0.0.1:8080:80/udp", [("80/udp", "127.0.0.1", "8080")]),
        ("127.0.0.1::80", [("80/tcp", "127.0.0.1", "")]),
        ("[::1]:8080:80", [("80/tcp", "::1", "8080")]),
        ("8000-8001:80-81", [("80/tcp", "", "8000"), ("81/tcp", "", "8001")]),
        ("8000-8010:80", [("80/tcp", "", "8000-8010")]),
        ("80-81", [("80/tcp", "", ""), ("81/tcp", "", "")]),
    ],
)
def test_published_ports_follow_docker_notation(text, wanted):
    found = [(p.container, p.host_ip, p.host_port) for p in values.parse_publish(text)]
    assert found == wanted


@pytest.mark.parametrize("text", ["", "a", "0", "65536", "80:", "1-2:3-5", "80/ftp", "5-4", "-80"])
def test_bad_ports_are_refused(text):
    with pytest.raises(ValueError, match="invalid"):
        values.parse_publish(text)


@given(st.text(max_size=30))
def test_no_text_breaks_the_parsers(text):
    for parse in (
        values.parse_publish,
        values.parse_mount,
        values.parse_ulimit,
        values.parse_device,
        values.parse_restart,
        values.parse_size,
        values.parse_duration,
        values.parse_cpus,
        parse_detach_keys,
    ):
        try:
            parse(text)
        except ValueError:
            pass


def test_mount_options_become_nested_objects():
    text = "type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=1777,readonly"
    assert values.parse_mount(text) == {
        "Type": "tmpfs",
        "Target": "/x",
        "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1777},
        "ReadOnly": True,
    }
    assert values.parse_mount("src=v,dst=/x,volume-label=a=1,volume-label=b=2")[
        "VolumeOptions"
    ] == {"Labels": {"a": "1", "b": "2"}}
    assert values.parse_mount('type=bind,"src=/a,b",dst=/x')["Source"] == "/a,b"


def test_a_lone_variable_takes_the_callers_value_or_is_left_out():
    found = values.parse_environment(["A=1", "B", "C"], ["# note\n\nD=4\n"], {"B": "2"})
    assert found == ["D=4", "A=1", "B=2"]


@pytest.mark.parametrize("item", ["=x", ""])
def test_a_variable_without_a_name_is_refused(item):
    with pytest.raises(ValueError, match="invalid environment variable"):
        values.parse_environment([item], [], {})


def test_a_plain_run_asks_for_little():
    assert body() == {
        "Image": "image",
        "Cmd": None,
        "Env": [],
        "Hostname": "",
        "Domainname": "",
        "User": "",
        "WorkingDir": "",
        "Labels": {},
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {"NetworkMode": "default"},
    }


def test_a_detached_container_attaches_nothing_and_keeps_its_input():
    made = body("-i", attach=False)
    assert not any(made[f"Attach{name}"] for name in ("Stdin", "Stdout", "Stderr"))
    assert (made["OpenStdin"], made["StdinOnce"]) == (True, False)


def test_options_after_the_image_belong_to_the_command():
    parser = Parser("run", "")
    add_container_options(parser)
    args = parser.parse_args(["--rm", "busybox", "ls", "-l", "--rm", "--", "x"])
    assert create_body(args, {}, attach=True)["Cmd"] == ["ls", "-l", "--rm", "--", "x"]


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["-m", "64m"], "Memory", 64 << 20),
        (["--memory-swap", "-1"], "MemorySwap", -1),
        (["--cpus", "1.5"], "NanoCpus", 1_500_000_000),
        (["--pids-limit", "100"], "PidsLimit", 100),
        (["--read-only"], "ReadonlyRootfs", True),
        (["--privileged"], "Privileged", True),
        (["--init"], "Init", True),
        (["-P"], "PublishAllPorts", True),
        (["--rm"], "AutoRemove", True),
        (["--cap-add", "NET_ADMIN", "--cap-add", "SYS_TIME"], "CapAdd", ["NET_ADMIN", "SYS_TIME"]),
        (["--cap-drop", "ALL"], "CapDrop", ["ALL"]),
        (["--restart", "always"], "RestartPolicy", {"Name": "always", "MaximumRetryCount": 0}),
        (["--ulimit", "nofile=1:2"], "Ulimits", [{"Name": "nofile", "Soft": 1, "Hard": 2}]),
        (["--tmpfs", "/x:size=1m", "--tmpfs", "/y"], "Tmpfs", {"/x": "size=1m", "/y": ""}),
        (["-v", "vol:/x:ro"], "Binds", ["vol:/x:ro"]),
        (["--add-host", "a:1.2.3.4"], "ExtraHosts", ["a:1.2.3.4"]),
        (["--dns", "9.9.9.9"], "Dns", ["9.9.9.9"]),
        (["--shm-size", "1m"], "ShmSize", 1 << 20),
        (["--sysctl", "net.ipv4.ip_forward=1"], "Sysctls", {"net.ipv4.ip_forward": "1"}),
        (["--log-opt", "max-size=1m"], "LogConfig", {"Type": "", "Config": {"max-size": "1m"}}),
        (["--security-opt", "seccomp=unconfined"], "SecurityOpt", ["seccomp=unconfined"]),
        (["--network", "none"], "NetworkMode", "none"),
        (["-p", "80:81"], "PortBindings", {"81/tcp": [{"HostIp": "", "HostPort": "80"}]}),
        (["--runtime", "runc"], "Runtime", "runc"),
        (["--pid", "host"], "PidMode", "host"),
        (["--uts", "host"], "UTSMode", "host"),
        (["--device", "/dev/fuse"], "Devices", [
            {"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}
        ]),
    ],
)  # fmt: skip
def test_options_become_host_settings(arguments, name, value):
    assert body(*arguments)["HostConfig"][name] == value


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--entrypoint", ""], "Entrypoint", [""]),
        (["--stop-signal", "INT"], "StopSignal", "INT"),
        (["--stop-timeout", "3"], "StopTimeout", 3),
        (["--expose", "80-81/udp"], "ExposedPorts", {"80/udp": {}, "81/udp": {}}),
        (["-v", "/data"], "Volumes", {"/data": {}}),
        (["-l", "a=b", "-l", "c"], "Labels", {"a": "b", "c": ""}),
        (["--no-healthcheck"], "Healthcheck", {"Test": ["NONE"]}),
        (
            ["--health-cmd", "true", "--health-interval", "1s", "--health-retries", "2"],
            "Healthcheck",
            {"Test": ["CMD-SHELL", "true"], "Interval": 10**9, "Retries": 2},
        ),
        (
            ["--network", "n", "--network-alias", "a", "--ip", "10.0.0.9"],
            "NetworkingConfig",
            {
                "EndpointsConfig": {
                    "n": {"Aliases": ["a"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}}
                }
            },
        ),
    ],
)
def test_options_become_container_settings(arguments, name, value):
    assert body(*arguments)[name] == value


def test_a_seccomp_profile_is_sent_as_its_content(tmp_path):
    profile = tmp_path / "profile.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_ERRNO"}')
    made = body("--security-opt", f"seccomp={profile}")
    assert made["HostConfig"]["SecurityOpt"] == ['seccomp={"defaultAction": "SCMP_ACT_ERRNO"}']


def test_relative_sources_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = body("-v", "./a:/b", "--mount", "type=bind,src=c,dst=/d")["HostConfig"]
    assert made["Binds"] == [f"{tmp_path}/a:/b"]
    assert made["Mounts"][0]["Source"] == f"{tmp_path}/c"


@pytest.mark.parametrize(
    "arguments",
    [["--memory", "x"], ["--cpus", "many"], ["--restart", "on-failure:x"], ["--bogus"]],
)
def test_misuse_leaves_with_docker_status_125(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        body(*arguments)
    assert left.value.code == 125
    assert "--help" in capsys.readouterr().err


def test_options_may_not_be_abbreviated():
    with pytest.raises(SystemExit):
        body("--privil")


def test_unknown_streams_cannot_be_attached():
    with pytest.raises(ValueError, match="invalid stream"):
        body("-a", "stdfoo")


def test_every_shared_option_is_sent_or_known_to_be_the_programs_own():
    """An option which nothing reads would be accepted and silently dropped."""
    import inspect

    from pinnace.cli import container_options, run

    parser = Parser("run", "")
    add_container_options(parser)
    source = inspect.getsource(container_options) + inspect.getsource(run)
    for action in parser._actions:
        if action.dest not in ("help", argparse.SUPPRESS):
            assert f"args.{action.dest}" in source or f'"{action.dest}"' in source, action.dest


def test_detach_keys_are_control_characters_or_plain_ones():
    assert parse_detach_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert parse_detach_keys("a,ctrl-],b") == b"a\x1db"
    assert parse_keys("") == b""
    assert parse_keys(None) == b"\x10\x11"
    with pytest.raises(ValueError, match="invalid detach keys"):
        parse_detach_keys("ctrl-pp")


def test_detaching_across_reads_holds_back_the_first_key():
    detector = DetachDetector(b"\x10\x11")
    assert detector.feed(b"ab\x10") == (b"ab", False)
    assert detector.feed(b"c") == (b"\x10c", False)
    assert detector.feed(b"\x10\x10\x11rest") == (b"\x10", True)


@given(st.lists(st.binary(max_size=5), max_size=8))
def test_without_the_sequence_every_byte_passes_in_order(parts):
    detector = DetachDetector(b"\x10\x11")
    sent = b"".join(parts).replace(b"\x10\x11", b"")
    passed, position = b"", 0
    for part in parts:
        piece = sent[position : position + len(part)]
        position += len(part)
        passed += detector.feed(piece)[0]
    assert sent.startswith(passed)
    assert len(sent) - len(passed) <= 1
