"""Dockerfiles of May and June 2013."""

import pytest

from pinnace.engine.builds.early_dockerfile import (
    BuildFailure,
    Line,
    command_words,
    listed,
    read_lines,
    two_words,
    with_variable,
)
from pinnace.model.early import EarlyConfig


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("# a\n\n   \n", []),
        ("FROM a", [("FROM", "a")]),
        ("  from \t a  \n", [("FROM", "a")]),
        ("RUN\techo a\tb\n", [("RUN", "echo a b")]),
        ("RUN a \\\nRUN b\n", [("RUN", "a \\"), ("RUN", "b")]),
        ("RUN # no comment\n", [("RUN", "# no comment")]),
        ("FROM a\r\nRUN b\r\n", [("FROM", "a"), ("RUN", "b")]),
        ("ENV A $B\n", [("ENV", "A $B")]),
    ],
)
def test_one_line_is_one_instruction(text, lines):
    assert list(read_lines(text)) == [Line(*line) for line in lines]


def test_lines_before_a_bad_one_are_carried_out():
    lines = read_lines("FROM a\nRUN\nCMD b\n")
    assert next(lines) == Line("FROM", "a")
    with pytest.raises(BuildFailure, match="Invalid Dockerfile format"):
        next(lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('["a", "b c"]', ["a", "b c"]),
        ("[]", []),
        ("a b", ["/bin/sh", "-c", "a b"]),
        ('["a", 1]', ["/bin/sh", "-c", '["a", 1]']),
        ('"a"', ["/bin/sh", "-c", '"a"']),
    ],
)
def test_cmd_is_a_json_list_or_a_command_line(arguments, words):
    assert command_words(arguments) == words


def test_env_and_add_have_two_words():
    assert two_words(Line("ENV", "K  a b")) == ("K", "a b")
    with pytest.raises(BuildFailure, match="Invalid ADD format"):
        two_words(Line("ADD", "alone"))


def test_variables_are_added_or_replaced_in_place():
    assert with_variable(None, "A", "1") == (["A=1"], False)
    assert with_variable(["AB=0", "A=1", "C=2"], "A", "9") == (["AB=0", "A=9", "C=2"], True)


def test_lists_are_shown_as_words_in_brackets():
    assert listed(["a", "b c"]) == "[a b c]"


def test_an_early_config_is_what_an_image_keeps_and_what_stands_beside():
    config = EarlyConfig(
        user="1", env=["A=1"], cmd=[], port_specs=["8080:80", ":443", "22", "bad"], memory=5
    )
    kept = config.image_defaults()
    assert (kept.user, kept.env, kept.cmd) == ("1", ["A=1"], None)
    assert kept.exposed_ports == {"80/tcp": {}, "443/tcp": {}, "22/tcp": {}}
    beside = config.further_fields()
    assert len(config.fields()) == 18
    assert set(config.fields()) - set(beside) == {"User", "Env", "Cmd", "Volumes"}
    assert (beside["Memory"], beside["PortSpecs"]) == (5, ["8080:80", ":443", "22", "bad"])
