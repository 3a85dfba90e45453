"""Dockerfiles read: lines, directives, heredocs, every instruction's forms, and every error."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.engine.builds.dockerfile import parse, parse_changes, parse_triggers
from pinnace.engine.builds.expand import expand
from pinnace.engine.builds.faults import DockerfileError
from pinnace.engine.builds.instructions import (
    Add,
    Argument,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Healthcheck,
    Heredoc,
    Label,
    Location,
    Mount,
    Onbuild,
    Pair,
    Run,
    Shell,
)
from pinnace.errors import InvalidParameter


def only(text: str):
    """Return the one instruction of a stage written as `text`."""
    (instruction,) = parse(f"FROM busybox\n{text}\n".encode()).stages[0].instructions
    return instruction


def shell(line: str) -> Command:
    return Command((line,), is_shell=True)


def exec_form(*words: str) -> Command:
    return Command(words, is_shell=False)


# Lines


@pytest.mark.parametrize(
    ("text", "original", "lines"),
    [
        ("RUN a", "RUN a", (2, 2)),
        ("  RUN a  ", "RUN a", (2, 2)),
        ("\n\nRUN a", "RUN a", (4, 4)),
        ("RUN a \\\n  b", "RUN a   b", (2, 3)),
        ("RUN a \\  \n b", "RUN a  b", (2, 3)),
        ("RUN a \\\n# comment\n  # another \\\n b", "RUN a  b", (2, 5)),
        ("RUN a \\\n\n b", "RUN a  b", (2, 4)),
        ("RUN a \\\r\n b\r", "RUN a  b", (2, 3)),
        ("RUN a b\\\\", "RUN a b\\\\", (2, 2)),
        ("RUN a # no comment", "RUN a # no comment", (2, 2)),
        ("# comment\nRUN a", "RUN a", (3, 3)),
        ("run a", "run a", (2, 2)),
        ("RUN\ta", "RUN\ta", (2, 2)),
        ("RUN a \\", "RUN a", (2, 2)),
    ],
)
def test_lines_are_joined_and_located(text, original, lines):
    instruction = only(text)
    assert instruction.original == original
    assert instruction.location == Location(*lines)


def test_a_byte_order_mark_and_crlf_are_no_part_of_the_text():
    dockerfile = parse(b"\xef\xbb\xbfFROM busybox\r\nENV a=b\r\n")
    assert dockerfile.stages[0].instructions[0].pairs == (Pair("a", "b"),)


def test_empty_continuation_lines_are_warned_about():
    dockerfile = parse(b"FROM busybox\nRUN a \\\n\n b\n")
    assert dockerfile.warnings == (
        "[WARNING]: Empty continuation line found in:\n    RUN a  b",
        "[WARNING]: Empty continuation lines will become errors in a future release.",
    )


def test_bytes_that_are_not_utf8_become_replacement_characters():
    dockerfile = parse(b"FROM busybox\nENV a=\xff\n")
    assert dockerfile.stages[0].instructions[0].pairs == (Pair("a", "\ufffd"),)


# Directives


def test_directives_are_read_before_anything_else():
    dockerfile = parse(
        b"# syntax = docker/dockerfile:1\n#escape=`\n# CHECK=skip=all\nFROM a `\n\n"
    )
    assert (dockerfile.syntax, dockerfile.escape) == ("docker/dockerfile:1", "`")
    assert dockerfile.check == "skip=all"


@pytest.mark.parametrize("before", ["\n", "# a comment\n", "# unknown=x\n", "ARG a\n"], ids=repr)
def test_a_directive_after_something_else_is_a_comment(before):
    assert parse(f"{before}# escape=`\nFROM a\n".encode()).escape == "\\"


def test_the_escape_directive_changes_continuations_and_words():
    dockerfile = parse(b'# escape=`\nFROM a\nRUN x `\n y\nENV p="C:\\new`"dir"\n')
    run, env = dockerfile.stages[0].instructions
    assert run.command == shell("x  y")
    assert expand(env, {}, escape="`").pairs == (Pair("p", 'C:\\new"dir'),)


@pytest.mark.parametrize(
    ("syntax", "warned"),
    [
        ("docker/dockerfile:1", False),
        ("docker.io/docker/dockerfile:1.7-labs", False),
        ("docker/dockerfile", False),
        ("evil/frontend:1", True),
        ("docker/dockerfile.evil.example/x", True),
        ("docker/dockerfile:1@sha256:00", True),
    ],
)
def test_a_front_end_that_is_not_dockers_is_warned_about(syntax, warned):
    dockerfile = parse(f"# syntax={syntax}\nFROM a\n".encode())
    assert dockerfile.syntax == syntax
    assert bool(dockerfile.warnings) is warned


# Heredocs


@pytest.mark.parametrize(
    ("text", "heredocs"),
    [
        ("COPY <<EOF /x\na $b\nEOF", [Heredoc("EOF", "a $b\n")]),
        ("COPY <<'EOF' /x\na\nEOF", [Heredoc("EOF", "a\n", expands=False)]),
        ('COPY <<"E F" /x\na\nE F', [Heredoc("E F", "a\n", expands=False)]),
        ("COPY <<\\EOF /x\na\nEOF", [Heredoc("EOF", "a\n", expands=False)]),
        ("COPY <<-EOF /x\n\ta\n\tEOF", [Heredoc("EOF", "\ta\n", strips_tabs=True)]),
        ("COPY <<EOF /x\n\ta\n\tEOF\nEOF", [Heredoc("EOF", "\ta\n\tEOF\n")]),
        ("COPY <<A <<B /x/\n1\nA\n2\nB", [Heredoc("A", "1\n"), Heredoc("B", "2\n")]),
        ("COPY << EOF /x\na\nEOF", [Heredoc("EOF", "a\n")]),
        ("COPY 3<<EOF /x\na\nEOF", [Heredoc("EOF", "a\n", fd=3)]),
        ("COPY <<EOF /x\nEOF", [Heredoc("EOF", "")]),
        ("COPY <<EOF /x\n# no comment\n\\\nEOF", [Heredoc("EOF", "# no comment\n\\\n")]),
        ("ADD <<EOF /x\na\nEOF", [Heredoc("EOF", "a\n")]),
        ("COPY <<EOF \\\n /x\na\nEOF", [Heredoc("EOF", "a\n")]),
    ],
)
def test_heredocs_end_at_their_word(text, heredocs):
    instruction = only(text)
    assert list(instruction.heredocs) == heredocs
    assert instruction.sources == ()
    assert instruction.target.startswith("/x")


@pytest.mark.parametrize(
    ("text", "line", "is_script"),
    [
        ("RUN <<EOF\nls\nEOF", "ls\n", True),
        ("RUN <<-EOF\n\tls\n\tEOF", "ls\n", True),
        ("RUN << EOF\nls\nEOF", "ls\n", True),
        ("RUN cat <<EOF >/x\nls\nEOF", "cat <<EOF >/x\nls\nEOF", False),
        ("RUN <<A cat && <<B cat\n1\nA\n2\nB", "<<A cat && <<B cat\n1\nA\n2\nB", False),
        ("RUN a <<<b", "a <<<b", False),
        ("RUN echo '<<EOF'", "echo '<<EOF'", False),
        ("RUN echo a<<EOF", "echo a<<EOF", False),
    ],
)
def test_heredocs_of_run_go_to_the_shell(text, line, is_script):
    run = only(text)
    assert (run.shell_line, run.is_script) == (line, is_script)


def test_the_json_form_has_no_heredocs():
    assert only('RUN ["cat", "<<EOF"]').command == exec_form("cat", "<<EOF")


def test_a_heredoc_of_a_trigger_is_kept_with_it():
    trigger = only("ONBUILD COPY <<EOF /x\nhello\nEOF").trigger
    assert trigger == "COPY <<EOF /x\nhello\nEOF"
    (copy,) = parse_triggers([trigger])
    assert copy.heredocs == (Heredoc("EOF", "hello\n"),)


def test_variables_in_a_heredoc_are_expanded_unless_its_word_is_quoted():
    copy = only("COPY <<-A <<'B' /x\n\t$V\nA\n$V\nB")
    assert [doc.text for doc in expand(copy, {"V": "1"}).heredocs] == ["1\n", "$V\n"]


# Forms


@pytest.mark.parametrize(
    ("rest", "command"),
    [
        ("echo hi", shell("echo hi")),
        ('["echo", "hi"]', exec_form("echo", "hi")),
        ('  [ "echo" ]  ', exec_form("echo")),
        ("[]", exec_form()),
        ("", Command((), is_shell=True)),
        ("['echo']", shell("['echo']")),
        ('["echo"', shell('["echo"')),
        ('["echo"] x', shell('["echo"] x')),
        ('["a\\u0041"]', exec_form("aA")),
        ('["a\\x"]', shell('["a\\x"]')),
        ("[ -f x ]", shell("[ -f x ]")),
        ("a   b", shell("a   b")),
    ],
)
@pytest.mark.parametrize(
    ("word", "kind"), [("RUN", Run), ("CMD", Cmd), ("ENTRYPOINT", Entrypoint)]
)
def test_invalid_json_is_a_shell_form(word, kind, rest, command):
    instruction = only(f"{word} {rest}")
    assert isinstance(instruction, kind)
    assert instruction.command == command


@pytest.mark.parametrize("word", ["ENV", "LABEL"])
@pytest.mark.parametrize(
    ("rest", "pairs"),
    [
        ("a=b", [("a", "b")]),
        ("a b", [("a", "b")]),
        ("a b  c=d", [("a", "b  c=d")]),
        ("a=b c='d e' f=\"g\"", [("a", "b"), ("c", "d e"), ("f", "g")]),
        ("a=", [("a", "")]),
        ("a=b=c", [("a", "b=c")]),
        ("a=b\\ c", [("a", "b c")]),
        ("a 'b c'", [("a", "b c")]),
        ("a b\\ c", [("a", "b c")]),
        ('"a b"=c', [("a b", "c")]),
        ("$X=$X", [("1", "1")]),
        ("a='$X' b=\"$X\"", [("a", "$X"), ("b", "1")]),
        ("a\tb", [("a", "b")]),
    ],
)
def test_pairs_have_two_forms(word, rest, pairs):
    instruction = only(f"{word} {rest}")
    assert isinstance(instruction, Env | Label)
    assert [(pair.key, pair.value) for pair in expand(instruction, {"X": "1"}).pairs] == pairs


def test_all_flags_of_copy():
    copy = only(
        "COPY --from=base --chown=1:2 --chmod=u+x --link --parents --exclude=*.o --exclude=a"
        " b c d/"
    )
    assert copy == Copy(
        original=copy.original,
        location=copy.location,
        sources=("b", "c"),
        target="d/",
        chown="1:2",
        chmod="u+x",
        link=True,
        excludes=("*.o", "a"),
        from_="base",
        parents=True,
    )


def test_all_flags_of_add():
    add = only(
        "ADD --checksum=sha256:12 --chown=a --chmod=644 --link=false --keep-git-dir=true"
        " --unpack --exclude=x https://example.org/x /y"
    )
    assert add == Add(
        original=add.original,
        location=add.location,
        sources=("https://example.org/x",),
        target="/y",
        chown="a",
        chmod="644",
        excludes=("x",),
        checksum="sha256:12",
        keep_git_dir=True,
        unpack=True,
    )
    assert only("ADD a b").unpack is None
    assert only("ADD --unpack=false a b").unpack is False


def test_sources_may_be_given_as_json():
    assert only('COPY ["a b", "c", "d e/"]').sources == ("a b", "c")
    assert only('COPY "a b" c').sources == ('"a', 'b"')


def test_all_flags_of_run():
    run = only(
        "RUN --network=none --security=sandbox --mount=type=tmpfs,dst=/x --mount=target=. a"
    )
    assert (run.network, run.security) == ("none", "sandbox")
    assert run.mount_flags == ("type=tmpfs,dst=/x", "target=.")
    assert run.command == shell("a")


@pytest.mark.parametrize(
    ("rest", "flags", "words"),
    [
        ("--chown=1 a b", "1", ("a",)),
        ('--chown="a b" a b', "a b", ("a",)),
        ("--chown=a\\ b a b", "a b", ("a",)),
        ("--chown='1' a b", "1", ("a",)),
        ("-- --chown=1 a b", "", ("--chown=1", "a")),
        ("a --chown=1 b", "", ("a", "--chown=1")),
        ("-x a b", "", ("-x", "a")),
    ],
)
def test_flags_stand_in_front(rest, flags, words):
    copy = only(f"COPY {rest}")
    assert (copy.chown, copy.sources) == (flags, words)


MOUNTS = [
    ("target=/x", Mount(type="bind", target="/x", read_only=True)),
    ("dst=/x,src=a,from=base", Mount(
        type="bind", target="/x", source="a", from_="base", read_only=True)),
    ("destination=/x,rw", Mount(type="bind", target="/x")),
    ("type=bind,target=/x,readwrite=true", Mount(type="bind", target="/x")),
    ("type=cache,target=/x", Mount(type="cache", target="/x", id="/x")),
    ("type=cache,target=/x,id=i,sharing=locked,ro,mode=0700,uid=1,gid=2,source=s,from=f", Mount(
        type="cache", target="/x", id="i", sharing="locked", read_only=True, mode=0o700,
        uid=1, gid=2, source="s", from_="f")),
    ("type=tmpfs,target=/x,size=64m", Mount(type="tmpfs", target="/x", size_bytes=64 << 20)),
    ("TYPE=TMPFS,Target=/x", Mount(type="tmpfs", target="/x")),
    ("type=secret,id=a,target=/s,required,mode=0400", Mount(
        type="secret", id="a", target="/s", required=True, mode=0o400, read_only=True)),
    ("type=secret,id=a,env=TOKEN", Mount(type="secret", id="a", env="TOKEN", read_only=True)),
    ("type=secret,target=/run/t", Mount(
        type="secret", id="t", target="/run/t", read_only=True)),
    ("type=ssh", Mount(type="ssh", read_only=True)),
    ("type=ssh,id=k,required=false", Mount(type="ssh", id="k", read_only=True)),
    ('"target=/a,b"', Mount(type="bind", target="/a,b", read_only=True)),
    ("type=cache,target=/$V", Mount(type="cache", target="/1", id="/1")),
    ("type=$T,target=/x", Mount(type="tmpfs", target="/x")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "mount"), MOUNTS, ids=[text for text, _ in MOUNTS])
def test_mounts_are_parsed_when_variables_are_known(text, mount):
    run = only(f"RUN --mount={text.replace(chr(34), chr(92) + chr(34))} x")
    assert run.mounts == ()
    assert expand(run, {"V": "1", "T": "tmpfs"}).mounts == (mount,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=volume,target=/x", 'unsupported mount type "volume"'),
        ("x", "invalid field 'x' must be a key=value pair"),
        ("x=y", "unexpected key 'x' in 'x=y'"),
        ("target=/x,ro=maybe", "invalid value for readonly: maybe"),
        ("target=/x,size=1", "unexpected key 'size' for mount type 'bind'"),
        ("type=tmpfs,target=/x,size=big", "invalid value for size: big"),
        ("type=cache,target=/x,sharing=never", 'unsupported sharing value "never"'),
        ("type=cache,target=/x,mode=9", "invalid value 9 for mode"),
        ("type=cache,target=/x,uid=-1", "invalid value -1 for uid"),
        ("type=cache,target=/x,gid=4294967296", "invalid value 4294967296 for gid"),
        ("target=/x,mode=1", 'mode not allowed for "bind" type mounts'),
        ("type=tmpfs,target=/x,uid=1", 'uid not allowed for "tmpfs" type mounts'),
        ("target=/x,sharing=shared", "invalid cache sharing set for bind mount"),
        ("target=/x,required", "unexpected key 'required' for mount type 'bind'"),
        ("target=/x,env=a", "unexpected key 'env' for mount type 'bind'"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=bind", "mount target is required"),
        ("type=cache", "mount target is required"),
        ("target=${", "failed to process \"${\": syntax error: missing '}'"),
    ],
)
def test_mounts_that_make_no_sense_are_refused(text, message):
    run = only(f"RUN --mount={text} x")
    with pytest.raises(InvalidParameter) as caught:
        expand(run, {})
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("rest", "test", "numbers"),
    [
        ("NONE", ["NONE"], (0, 0, 0, 0, 0)),
        ("none", ["NONE"], (0, 0, 0, 0, 0)),
        ("CMD a b", ["CMD-SHELL", "a b"], (0, 0, 0, 0, 0)),
        ('CMD ["a", "b"]', ["CMD", "a", "b"], (0, 0, 0, 0, 0)),
        ("cmd  a", ["CMD-SHELL", "a"], (0, 0, 0, 0, 0)),
        (
            "--interval=1m30s --timeout=3s --start-period=1.5s --start-interval=2ms --retries=4"
            " CMD a",
            ["CMD-SHELL", "a"],
            (90_000_000_000, 3_000_000_000, 1_500_000_000, 2_000_000, 4),
        ),
        ("--interval=0s --retries=0 CMD a", ["CMD-SHELL", "a"], (0, 0, 0, 0, 0)),
        ("--interval=0 CMD a", ["CMD-SHELL", "a"], (0, 0, 0, 0, 0)),
    ],
)
def test_health_checks(rest, test, numbers):
    check = only(f"HEALTHCHECK {rest}")
    assert isinstance(check, Healthcheck)
    health = check.health
    assert health.test == test
    assert (
        health.interval,
        health.timeout,
        health.start_period,
        health.start_interval,
        health.retries,
    ) == numbers


def test_the_simple_instructions():
    assert only("MAINTAINER  Ada <a@b>").author == "Ada <a@b>"
    assert only("EXPOSE 80 53/udp").ports == ("53/udp", "80")
    assert only('VOLUME ["/a b", "/c"]').paths == ("/a b", "/c")
    assert only("VOLUME /a /b").paths == ("/a", "/b")
    assert only("USER a b").user == "a b"
    assert only("WORKDIR /a b").path == "/a b"
    assert only("STOPSIGNAL SIGTERM").signal == "SIGTERM"
    assert only("ARG a b=c d='e f'").arguments == (
        Argument("a", None),
        Argument("b", "c"),
        Argument("d", "'e f'"),
    )
    assert only('SHELL ["a", "b"]') == Shell(
        original='SHELL ["a", "b"]', location=Location(2, 2), words=("a", "b")
    )
    assert only("INSERT http://a /b").target == "/b"
    assert only("onbuild  RUN  a \\\n b").trigger == "RUN  a  b"


def test_stages_have_names_numbers_and_global_arguments():
    dockerfile = parse(
        b"ARG V=1\nARG W\nFROM --platform=$P busy:$V AS Build\nRUN x\n"
        b"FROM scratch\nFROM build as c.d-e_f\n"
    )
    assert [arg.arguments[0].name for arg in dockerfile.arguments] == ["V", "W"]
    origins = [(stage.origin.base, stage.origin.platform) for stage in dockerfile.stages]
    assert origins == [("busy:$V", "$P"), ("scratch", ""), ("build", "")]
    assert [stage.name for stage in dockerfile.stages] == ["build", "1", "c.d-e_f"]
    assert [len(stage.instructions) for stage in dockerfile.stages] == [1, 0, 0]


# Errors

ERRORS = [
    # lines after FROM, line of the error, what is said
    ("FOO bar", 2, "unknown instruction: FOO"),
    ("foo", 2, "unknown instruction: FOO"),
    ("ENV a=b\n\n# x\nFOO", 5, "unknown instruction: FOO"),
    ("FROM", 2, "FROM requires either one or three arguments"),
    ("FROM a b", 2, "FROM requires either one or three arguments"),
    ("FROM a FOO b", 2, "FROM requires either one or three arguments"),
    ("FROM a AS b c", 2, "FROM requires either one or three arguments"),
    (
        "FROM a AS 1x",
        2,
        'invalid name for build stage: "1x", name can\'t start with a number or contain symbols',
    ),
    (
        "FROM a AS b/c",
        2,
        'invalid name for build stage: "b/c", name can\'t start with a number or contain symbols',
    ),
    ("FROM --foo=x a", 2, "Unknown flag: foo"),
    ("FROM --platform a", 2, "Missing a value on flag: platform"),
    *(
        (
            text,
            2,
            f"{text.split()[0]} requires at least two arguments, but only one was provided. "
            "Destination could not be determined",
        )
        for text in ("COPY", "COPY a", "ADD", "ADD a", 'COPY ["a"]', "COPY []")
    ),
    ("COPY --chown a b", 2, "Missing a value on flag: chown"),
    ("COPY --chown=1 --chown=2 a b", 2, "Duplicate flag specified: chown"),
    ("COPY --link=maybe a b", 2, "Expecting boolean value for flag link, not: maybe"),
    ("COPY --link= a b", 2, "Missing a value on flag: link"),
    ("COPY --checksum=x a b", 2, "Unknown flag: checksum"),
    ("ADD --from=x a b", 2, "Unknown flag: from"),
    ("ADD --parents a b", 2, "Unknown flag: parents"),
    ("COPY a <<EOF\nEOF", 2, "COPY cannot accept a heredoc as a destination"),
    ("COPY <<EOF /x\na", 2, "unterminated heredoc"),
    ("RUN <<A <<B\nA\nA", 2, "unterminated heredoc"),
    ("INSERT a", 2, "INSERT requires two arguments"),
    ("INSERT a b c", 2, "INSERT requires two arguments"),
    ("RUN --foo=bar true", 2, "Unknown flag: foo"),
    ("RUN --network=bridge true", 2, 'unsupported network mode "bridge"'),
    ("RUN --security=none true", 2, 'unsupported security mode "none"'),
    (
        "RUN --mount=from=$x,target=/y true",
        2,
        "'from' doesn't support variable expansion, define alias stage instead",
    ),
    ("CMD --foo=bar true", 2, "Unknown flag: foo"),
    ("ENTRYPOINT --foo=bar true", 2, "Unknown flag: foo"),
    *(
        (
            f'{word} ["a", 1]',
            2,
            "when using JSON array syntax, arrays must be comprised of strings only",
        )
        for word in ("RUN", "CMD", "ENTRYPOINT", "SHELL", "VOLUME", "COPY", "HEALTHCHECK CMD")
    ),
    ("ENV", 2, "ENV requires at least one argument"),
    ("ENV a", 2, "ENV must have two arguments"),
    ("ENV a=b c", 2, 'Syntax error - can\'t find = in "c". Must be of the form: name=value'),
    ("ENV =b", 2, "ENV names can not be blank"),
    ("ENV --x a=b", 2, "Unknown flag: x"),
    ("LABEL", 2, "LABEL requires at least one argument"),
    ("LABEL a", 2, "LABEL must have two arguments"),
    ("LABEL =b", 2, "LABEL names can not be blank"),
    ("ARG", 2, "ARG requires at least one argument"),
    ("ARG =x", 2, "ARG names can not be blank"),
    ("EXPOSE", 2, "EXPOSE requires at least one argument"),
    ("VOLUME", 2, "VOLUME requires at least one argument"),
    ("VOLUME []", 2, "VOLUME requires at least one argument"),
    ('VOLUME [""]', 2, "VOLUME specified can not be an empty string"),
    *(
        (word, 2, f"{word} requires exactly one argument")
        for word in ("USER", "WORKDIR", "STOPSIGNAL", "MAINTAINER")
    ),
    ("WORKDIR --x /", 2, "Unknown flag: x"),
    ("SHELL", 2, "SHELL requires at least one argument"),
    ("SHELL []", 2, "SHELL requires at least one argument"),
    ("SHELL foo", 2, "SHELL requires the arguments to be in JSON form"),
    ("HEALTHCHECK", 2, "HEALTHCHECK requires at least one argument"),
    ("HEALTHCHECK NONE x", 2, "HEALTHCHECK NONE takes no arguments"),
    ("HEALTHCHECK --interval=1s NONE", 2, "Unknown flag: interval"),
    ("HEALTHCHECK CMD", 2, "Missing command after HEALTHCHECK CMD"),
    ("HEALTHCHECK CMD []", 2, "Missing command after HEALTHCHECK CMD"),
    ("HEALTHCHECK FOO x", 2, 'Unknown type "FOO" in HEALTHCHECK (try CMD)'),
    ("HEALTHCHECK --interval=x CMD a", 2, 'time: invalid duration "x"'),
    ("HEALTHCHECK --timeout=5 CMD a", 2, 'time: missing unit in duration "5"'),
    ("HEALTHCHECK --timeout=5y CMD a", 2, 'time: unknown unit "y" in duration "5y"'),
    (
        f"HEALTHCHECK --timeout={'9' * 500}h CMD a",
        2,
        f'time: invalid duration "{"9" * 500}h"',
    ),
    ("FOO\x1b]0;x\x07 bar", 2, "unknown instruction: FOO\\x1b]0;X\\x07"),
    ("HEALTHCHECK --interval=1us CMD a", 2, 'Interval "interval" cannot be less than 1ms'),
    ("HEALTHCHECK --timeout=-1s CMD a", 2, 'Interval "timeout" cannot be less than 1ms'),
    ("HEALTHCHECK --retries=-1 CMD a", 2, "--retries cannot be negative (-1)"),
    ("HEALTHCHECK --retries=x CMD a", 2, 'strconv.ParseInt: parsing "x": invalid syntax'),
    (
        "HEALTHCHECK --retries=9999999999 CMD a",
        2,
        'strconv.ParseInt: parsing "9999999999": value out of range',
    ),
    ("ONBUILD", 2, "ONBUILD requires at least one argument"),
    ("ONBUILD ONBUILD RUN x", 2, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
    ("ONBUILD FROM x", 2, "FROM isn't allowed as an ONBUILD trigger"),
    ("ONBUILD MAINTAINER x", 2, "MAINTAINER isn't allowed as an ONBUILD trigger"),
    ("RUN a\0b", 2, "a NUL byte is not allowed"),
    ("RUN " + "x" * 65536, 2, "dockerfile line greater than max allowed size of 65535"),
]


@pytest.mark.parametrize(("text", "line", "reason"), ERRORS, ids=[row[0][:40] for row in ERRORS])
def test_errors_name_file_line_and_instruction(text, line, reason):
    with pytest.raises(DockerfileError) as caught:
        parse(f"FROM busybox\n{text}\n".encode(), file="build/Dockerfile")
    error = caught.value
    first, *second = error.message.split("\n")
    assert (error.reason, error.line) == (reason, line)
    assert first == f"dockerfile parse error on line {line}: {reason}"
    if second:
        assert second[0].startswith(f"build/Dockerfile:{line}: {text.split(chr(10))[-1][:3]}") or (
            "heredoc" in reason
        )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the Dockerfile (Dockerfile) cannot be empty"),
        (b"# nothing\n\n", "failed to parse Dockerfile: file with no instructions"),
        (b"ARG a=b\n", "failed to parse Dockerfile: dockerfile contains no stages to build"),
        (b"RUN x\n", "dockerfile parse error on line 1: no build stage in current context"),
        (b"# escape=x\nFROM a\n", "invalid escape token 'x' does not match ` or \\"),
        (b"# escape=`\n# Escape=\\\nFROM a\n", "only one escape parser directive can be used"),
        (b"# syntax=a\n# syntax=b\nFROM a\n", "only one syntax parser directive can be used"),
        (b"#" * (5 << 20), "file greater than max allowed size"),
        (b"FROM a\n" + b"RUN b\n" * 10_000, "too many instructions"),
    ],
    ids=range(9),
)
def test_files_that_are_no_dockerfiles(data, message):
    with pytest.raises(InvalidParameter) as caught:
        parse(data)
    assert message in caught.value.message


def test_triggers_are_one_instruction_each():
    run, copy = parse_triggers(["RUN a", "COPY --from=b c d"])
    assert run.command == shell("a")
    assert copy.from_ == "b"
    for bad in ("RUN a\nRUN b", "", "ONBUILD RUN x", "FROM x", "MAINTAINER x", "FOO"):
        with pytest.raises(InvalidParameter):
            parse_triggers([bad])
    assert isinstance(only("ONBUILD FOO x"), Onbuild)


def test_changes_take_what_only_changes_the_config():
    env, label = parse_changes(["ENV a=b\nLABEL c=d"])
    assert env.pairs == (Pair("a", "b"),)
    assert label.pairs == (Pair("c", "d"),)
    for word in ("run", "shell", "from", "foo", "copy", "arg"):
        with pytest.raises(InvalidParameter, match=f"^{word} is not a valid change command$"):
            parse_changes([f"{word.upper()} x"])


# Properties

NAMES = st.from_regex(r"[abcXYZ019_.][abcXYZ019_.-]{0,7}", fullmatch=True)
TEXTS = st.text(
    alphabet=st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\u2028\u2029"),
    max_size=20,
)
PLAIN = st.text(alphabet="abc/.*-_ \t$'\"\\", min_size=1, max_size=20)


def quoted(text: str) -> str:
    return '"' + "".join(f"\\{char}" if char in '"$\\' else char for char in text) + '"'


@given(
    st.lists(st.tuples(NAMES, TEXTS), min_size=1, max_size=5), st.sampled_from(["ENV", "LABEL"])
)
def test_pairs_written_out_are_read_back(pairs, word):
    line = f"{word} " + " \\\n  ".join(f"{key}={quoted(value)}" for key, value in pairs)
    instruction = expand(only(line), {"a": "wrong"})
    assert [(pair.key, pair.value) for pair in instruction.pairs] == pairs


@given(st.lists(TEXTS, min_size=1, max_size=5), st.sampled_from(["CMD", "RUN", "SHELL"]))
def test_exec_forms_written_out_are_read_back(words, keyword):
    instruction = only(f"{keyword} {json.dumps(words)}")
    found = instruction.words if isinstance(instruction, Shell) else instruction.command.words
    assert list(found) == words


@given(
    st.sampled_from(["COPY", "ADD"]),
    st.lists(st.tuples(NAMES.map(lambda name: f"E{name}"), TEXTS, st.booleans()), max_size=3),
    st.lists(NAMES.map(lambda name: f"s{name}"), min_size=1, max_size=3),
)
def test_heredocs_written_out_are_read_back(word, documents, sources):
    heads = " ".join(f"<<'{name}'" if raw else f"<<{name}" for name, _, raw in documents)
    bodies = "".join(f"= {text}\n{name}\n" for name, text, _ in documents)
    instruction = only(f"{word} {heads} {' '.join(sources)} /target\n{bodies}")
    assert [(doc.name, doc.content, not doc.expands) for doc in instruction.heredocs] == [
        (name, f"= {text}\n", raw) for name, text, raw in documents
    ]
    assert instruction.sources == tuple(sources)


@given(st.lists(PLAIN.filter(lambda text: text.strip() == text), min_size=1, max_size=5))
def test_originals_read_again_give_the_same_instructions(lines):
    text = "".join(f"RUN x{line}x\n" for line in lines)
    first = parse(f"FROM a\n{text}".encode()).stages[0].instructions
    again = "\n".join(instruction.original for instruction in first)
    second = parse(f"FROM a\n{again}\n".encode()).stages[0].instructions
    assert [run.command for run in first] == [run.command for run in second]
    assert [run.shell_line for run in first] == [f"x{line}x" for line in lines]


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data):
    for content in (data, b"FROM a\n" + data):
        try:
            dockerfile = parse(content)
        except InvalidParameter:
            continue
        for stage in dockerfile.stages:
            for instruction in stage.instructions:
                try:
                    expand(instruction, {})
                except InvalidParameter:
                    pass


@given(
    st.lists(
        st.sampled_from(
            ["FROM a\n", "RUN ", "COPY ", "<<EOF ", "EOF\n", "\\\n", "# x\n", "$", "${a", "}", '"',
             "'", "--mount=", "--", "=", "[", "]", ",", "\n", "a", " ", "ONBUILD ", "ENV ", "\t"]
        ),
        max_size=30,
    )
)  # fmt: skip
def test_any_mixture_of_tokens_is_parsed_or_refused(tokens):
    try:
        parse(("FROM a\n" + "".join(tokens)).encode())
    except InvalidParameter:
        pass
