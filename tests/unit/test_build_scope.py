"""Which variables instructions see, and what they change in a config."""

import pytest

from pinnace.engine.builds.config import (
    ConfigState,
    apply,
    expand_port,
    merged_environment,
    working_directory,
)
from pinnace.engine.builds.dockerfile import parse
from pinnace.engine.builds.expand import expand
from pinnace.engine.builds.instructions import Arg
from pinnace.engine.builds.scope import GlobalScope, platform_arguments, unused_arguments
from pinnace.errors import InvalidParameter
from pinnace.model.container import ContainerConfig
from pinnace.oci.platform import Platform

AMD64 = Platform("linux", "amd64", "")
ARM = Platform("linux", "arm", "v7")


def walk(text: str, given=None, automatic=None):
    """Return scope, environment and config after the last stage of `text`."""
    dockerfile = parse(text.encode())
    outer = GlobalScope.of_file(dockerfile, given or {}, automatic or {})
    stage = dockerfile.stages[-1]
    scope, state = outer.stage(), ConfigState(ContainerConfig())
    for instruction in stage.instructions:
        environment = state.config.env or []
        instruction = expand(instruction, scope.variables(environment), escape=outer.escape)
        if isinstance(instruction, Arg):
            scope = scope.declare(instruction)
        state = apply(state, instruction)
    return scope, state.config


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("FROM a\nARG x=1\nENV r=$x", {}, "1"),
        ("FROM a\nARG x=1\nENV r=$x", {"x": "2"}, "2"),
        ("FROM a\nARG x\nENV r=$x", {"x": "2"}, "2"),
        ("FROM a\nARG x\nENV r=${x-unset}", {}, "unset"),
        ("FROM a\nARG x=\nENV r=${x-unset}", {}, ""),
        ("FROM a\nARG x=1\nENV r=$x", {"x": None}, "1"),
        ("FROM a\nENV r=$x", {"x": "2"}, ""),
        ("FROM a\nENV r=$x\nARG x=1", {}, ""),
        ("ARG x=1\nFROM a\nENV r=${x-unset}", {}, "unset"),
        ("ARG x=1\nFROM a\nARG x\nENV r=$x", {}, "1"),
        ("ARG x=1\nFROM a\nARG x=2\nENV r=$x", {}, "2"),
        ("ARG x=1\nFROM a\nARG x\nENV r=$x", {"x": "3"}, "3"),
        ("ARG x=1\nARG y=$x.2\nFROM a\nARG y\nENV r=$y", {}, "1.2"),
        ("ARG x=1\nARG y=$x.2\nFROM a\nARG y\nENV r=$y", {"x": "3"}, "3.2"),
        ("FROM a\nARG x=1 y=2\nENV r=$x$y", {}, "12"),
        ("FROM a\nARG x=1 y=$x\nENV r=${y}", {}, ""),
        ("FROM a\nARG x=1\nARG y=$x\nENV r=$y", {}, "1"),
        ("FROM a\nARG x='a b'\nENV r=$x", {}, "a b"),
        ("FROM a\nENV x=env\nARG x=arg\nENV r=$x", {}, "env"),
        ("FROM a\nARG x=arg\nENV x=env\nENV r=$x", {"x": "given"}, "env"),
        ("FROM a\nENV x=1\nENV x=2 r=$x", {}, "1"),
        ("FROM a\nENV r=$HTTP_PROXY", {"HTTP_PROXY": "p"}, "p"),
        ("FROM a\nENV r=$no_proxy", {"no_proxy": "p"}, "p"),
        ("FROM a\nARG http_proxy=d\nENV r=$http_proxy", {}, "d"),
        ("FROM a\nARG x=1\nFROM b\nENV r=$x", {}, ""),
    ],
)
def test_arguments_and_environment(text, given, expected):
    _, config = walk(text, given)
    assert f"r={expected}" in config.env


def test_a_stage_based_on_another_goes_on_with_its_arguments():
    dockerfile = parse(b"FROM a AS b\nARG x=1\nFROM b\n")
    outer = GlobalScope.of_file(dockerfile, {}, {})
    first = outer.stage().declare(dockerfile.stages[0].instructions[0])
    assert outer.stage(first).variables([]) == {"x": "1"}


def test_platforms_are_known_to_from_and_to_stages_that_ask():
    automatic = platform_arguments(ARM, AMD64, stage="final")
    assert automatic == {
        "TARGETPLATFORM": "linux/arm/v7",
        "TARGETOS": "linux",
        "TARGETARCH": "arm",
        "TARGETVARIANT": "v7",
        "BUILDPLATFORM": "linux/amd64",
        "BUILDOS": "linux",
        "BUILDARCH": "amd64",
        "BUILDVARIANT": "",
        "TARGETSTAGE": "final",
    }
    text = "FROM --platform=$BUILDPLATFORM a-$TARGETARCH\nENV r=$TARGETARCH\nARG TARGETARCH\n"
    dockerfile = parse(f"{text}ENV s=$TARGETARCH\n".encode())
    origin = GlobalScope.of_file(dockerfile, {}, automatic).expand_from(
        dockerfile.stages[0].origin
    )
    assert (origin.base, origin.platform) == ("a-arm", "linux/amd64")
    _, config = walk(f"{text}ENV s=$TARGETARCH\n", {}, automatic)
    assert config.env == ["r=", "s=arm"]
    _, config = walk(f"{text}ENV s=$TARGETARCH\n", {"TARGETARCH": "mips"}, automatic)
    assert config.env == ["r=", "s=mips"]


@pytest.mark.parametrize("base", ["$x", "${x}", "''"])
def test_a_blank_base_is_refused(base):
    dockerfile = parse(f"FROM {base}\n".encode())
    with pytest.raises(InvalidParameter) as caught:
        GlobalScope.of_file(dockerfile, {}, {}).expand_from(dockerfile.stages[0].origin)
    assert caught.value.message == f"base name ({base}) should not be blank"


def test_run_gets_arguments_that_the_environment_does_not_have():
    scope, config = walk(
        "FROM a\nARG x=1\nARG y\nARG z=3\nENV z=4\n", {"HTTP_PROXY": "p", "other": "o"}
    )
    assert scope.run_arguments(config.env) == {"HTTP_PROXY": "p", "x": "1"}
    assert scope.recorded_arguments(config.env) == {"x": "1"}
    scope, config = walk("FROM a\nARG HTTP_PROXY\n", {"HTTP_PROXY": "p"})
    assert scope.recorded_arguments([]) == {"HTTP_PROXY": "p"}


def test_build_arguments_nobody_asked_for_are_found():
    stages = parse(b"ARG g\nFROM a\nARG x\n").stages
    assert unused_arguments(["x", "y", "g", "HTTP_PROXY", "b"], stages) == ["b", "g", "y"]


@pytest.mark.parametrize(
    ("lines", "field", "expected"),
    [
        ("CMD a b", "cmd", ["/bin/sh", "-c", "a b"]),
        ('CMD ["a"]', "cmd", ["a"]),
        ("CMD", "cmd", ["/bin/sh", "-c"]),
        ('SHELL ["/x", "-e"]\nCMD a', "cmd", ["/x", "-e", "a"]),
        ("ENTRYPOINT a", "entrypoint", ["/bin/sh", "-c", "a"]),
        ('ENTRYPOINT ["a"]\nENTRYPOINT []', "entrypoint", None),
        ("ENTRYPOINT", "entrypoint", None),
        ('CMD ["a"]\nENTRYPOINT ["b"]', "cmd", ["a"]),
        ("ENV a=1 b=2\nENV a=3", "env", ["a=3", "b=2"]),
        ("LABEL a=1\nLABEL b=2 a=3", "labels", {"a": "3", "b": "2"}),
        ("EXPOSE 80 81/UDP\nEXPOSE 90-91", "exposed_ports",
         {"80/tcp": {}, "81/udp": {}, "90/tcp": {}, "91/tcp": {}}),
        ("ENV p=80 q='81 82'\nEXPOSE $p $q", "exposed_ports",
         {"80/tcp": {}, "81/tcp": {}, "82/tcp": {}}),
        ("VOLUME /a\nVOLUME /b", "volumes", {"/a": {}, "/b": {}}),
        ("USER a\nUSER b", "user", "b"),
        ("WORKDIR /a\nWORKDIR b\nWORKDIR ../c", "working_dir", "/a/c"),
        ("STOPSIGNAL 9", "stop_signal", "9"),
        ("ONBUILD RUN a\nONBUILD RUN b", "on_build", ["RUN a", "RUN b"]),
        ('SHELL ["a"]', "shell", ["a"]),
        ("RUN x\nCOPY a b\nARG c", "cmd", None),
    ],
)  # fmt: skip
def test_what_instructions_change(lines, field, expected):
    _, config = walk(f"FROM a\n{lines}\n")
    assert getattr(config, field) == expected


def test_an_entry_point_voids_only_the_command_of_the_base():
    entry = parse(b'FROM a\nENTRYPOINT ["e"]\n').stages[0].instructions[0]
    base = ContainerConfig(cmd=["base"])
    assert apply(ConfigState(base), entry).config.cmd is None
    assert apply(ConfigState(base, has_cmd=True), entry).config.cmd == ["base"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo", "Invalid containerPort: foo"),
        ("80/foo", "Invalid proto: foo"),
        ("90-80", "Invalid containerPort: 90-80"),
        ("70000", "Invalid containerPort: 70000"),
        ("80-70000", "Invalid containerPort: 80-70000"),
        ("-1", "Invalid containerPort: -1"),
        ("/tcp", "No port specified: /tcp<empty>"),
    ],
)
def test_ports_that_do_not_exist_are_refused(text, message):
    with pytest.raises(InvalidParameter) as caught:
        expand_port(text)
    assert caught.value.message == message


def test_a_published_port_exposes_the_containers_side():
    assert expand_port("8080:80/udp") == ["80/udp"]
    assert expand_port("80/") == ["80/tcp"]


def test_a_config_does_not_grow_without_bounds():
    lines = "\n".join(f"ENV v{number}=$x" for number in range(50))
    with pytest.raises(InvalidParameter, match="environment greater than max allowed size"):
        walk(f"FROM a\nENV x={'x' * 60_000}\nENV x=$x$x\n{lines}\n")
    lines = lines.replace("ENV", "LABEL")
    with pytest.raises(InvalidParameter, match="labels greater than max allowed size"):
        walk(f"FROM a\nENV x={'x' * 60_000}\nENV x=$x$x\n{lines}\n")


def test_environment_entries_keep_their_places():
    changes = [("b", "3"), ("c", "4")]
    assert merged_environment(["a=1", "b=2"], changes) == ["a=1", "b=3", "c=4"]


@pytest.mark.parametrize(
    ("current", "path", "expected"),
    [
        ("", "a", "/a"),
        ("/a", "b/../c/", "/a/c"),
        ("/a", "..", "/"),
        ("/a", "../../..", "/"),
        ("/a", "/b/../c", "/b/../c"),
        ("/a", ".", "/a"),
    ],
)
def test_relative_directories_continue_the_one_before(current, path, expected):
    assert working_directory(current, path) == expected
