"""Expansion of variables, quotes and escapes: one table line each.

The rows that dockerd 20.10's builder understands were seen from it; `#`, `%` and `/` were compared
with bash, except that bracket expressions are plain characters here, as in BuildKit.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.engine.builds.glob import Glob
from pinnace.engine.builds.words import (
    expand_text,
    expand_word,
    expand_words,
    quoted_word,
    split_quoted,
)
from pinnace.errors import InvalidParameter

VARIABLES = {
    "PWD": "/home",
    "SHELL": "bash",
    "KOREAN": "한국어",
    "NULL": "",
    "WORDS": "one two",
    "FILE": "/usr/lib/libfoo.tar.gz",
    "STARS": "a*b*c",
    "V": "1.2.3-rc1",
    "AAA": "aaa",
    "abc_1": "under",
}

WORDS = [
    # plain, quotes and escapes
    ("", ""),
    ("hello", "hello"),
    ("he'll'o", "hello"),
    ("he'llo", None),
    ("he\\'llo", "he'llo"),
    ("he\\\\'llo", None),
    ("abc\\tdef", "abctdef"),
    ("abc\\\\tdef", "abc\\tdef"),
    ("he\\\\llo", "he\\llo"),
    ("'hello\\there'", "hello\\there"),
    ("'hello\\\\there'", "hello\\\\there"),
    ("\"hello 'there'\"", "hello 'there'"),
    ("'hello \"there\"'", 'hello "there"'),
    ('""', ""),
    ("''", ""),
    ("'\\'", "\\"),
    ('"\\""', '"'),
    ('"\\\\"', "\\"),
    ('"\\a"', "\\a"),
    ('"\\\'"', "\\'"),
    ('"a\\$b"', "a$b"),
    ('"abc', None),
    ("'abc", None),
    ("abc\\", "abc"),
    ('"abc\\', None),
    ("a\"b\"c'd'e", "abcde"),
    ('"a b"  c', "a b  c"),
    ("\\a\\b", "ab"),
    ("a\\ b", "a b"),
    ("안녕", "안녕"),
    ("안'녕'", "안녕"),
    ("`a`", "`a`"),
    ("~", "~"),
    ("a;b|c&d", "a;b|c&d"),
    # $name
    ("$PWD", "/home"),
    ("$SHELL", "bash"),
    ("x$SHELL", "xbash"),
    ("$SHELL.x", "bash.x"),
    ("$SHELL-x", "bash-x"),
    ("$SHELLx", ""),
    ("$abc_1", "under"),
    ("$abc_1-", "under-"),
    ("$KOREAN", "한국어"),
    ("안녕$KOREAN", "안녕한국어"),
    ("$NULL", ""),
    ("x${NULL}y", "xy"),
    ("$UNSET", ""),
    ("$PWD$SHELL", "/homebash"),
    ("$PWD/$SHELL", "/home/bash"),
    ("$", "$"),
    ("$$", ""),
    ("$$$", "$"),
    ("a$", "a$"),
    ("$ ", "$ "),
    ("$.", "$."),
    ("$/x", "$/x"),
    ("$1", ""),
    ("$12a", "a"),
    ("$0x", "x"),
    ("$@", ""),
    ("$*", ""),
    ("$#", ""),
    ("$?", ""),
    ("$!", ""),
    ("$-", ""),
    ("\\$PWD", "$PWD"),
    ("\\\\$PWD", "\\/home"),
    ("'$PWD'", "$PWD"),
    ('"$PWD"', "/home"),
    ('"$"', "$"),
    ("\"$PWD\"'$PWD'", "/home$PWD"),
    ("\"'$PWD'\"", "'/home'"),
    ("'\"$PWD\"'", '"$PWD"'),
    ("\\'$PWD\\'", "'/home'"),
    ('\\"$PWD\\"', '"/home"'),
    ("he\\$PWD", "he$PWD"),
    ("he$PWD", "he/home"),
    ("he$UNSET", "he"),
    ('"he$PWD"', "he/home"),
    ('"he\\$PWD"', "he$PWD"),
    ("'he$PWD'", "he$PWD"),
    # ${name}
    ("${PWD}", "/home"),
    ("${SHELL}x", "bashx"),
    ("${UNSET}x", "x"),
    ("he${PWD}x", "he/homex"),
    ("he${hi}", "he"),
    ("he${hi}xx", "hexx"),
    ("${KOREAN}", "한국어"),
    ("안녕${KOREAN}xx", "안녕한국어xx"),
    ("${}", None),
    ("${", None),
    ("${PWD", None),
    ("${:}", None),
    ("${:-x}", None),
    ("${{PWD}}", None),
    ("${PWD }", None),
    ("${ PWD}", None),
    ("${PWD^}", None),
    ("${PWD,,}", None),
    ("${PWD@Q}", None),
    ("${PWD=x}", None),
    ("${PWD:=x}", None),
    ("${PWD:x}", None),
    ("${PWD::x}", None),
    ("${PWD:1:2}", None),
    ("${PWD:", None),
    ("\\${PWD}", "${PWD}"),
    ("'${PWD}'", "${PWD}"),
    ('"${PWD}"', "/home"),
    ('"${PWD', None),
    # :- and -
    ("${UNSET:-word}", "word"),
    ("${UNSET-word}", "word"),
    ("${NULL:-word}", "word"),
    ("${NULL-word}", ""),
    ("${SHELL:-word}", "bash"),
    ("${SHELL-word}", "bash"),
    ("${UNSET:-}", ""),
    ("${UNSET-}", ""),
    ("${UNSET:-$PWD}", "/home"),
    ("${UNSET:-${PWD}}", "/home"),
    ("${UNSET:-${NULL:-${SHELL}}}", "bash"),
    ("${UNSET:-a${PWD}b}", "a/homeb"),
    ("${UNSET:-'a b'}", "a b"),
    ('${UNSET:-"a b"}', "a b"),
    ("${UNSET:-'$PWD'}", "$PWD"),
    ('${UNSET:-"$PWD"}', "/home"),
    ("${UNSET:-\\}}", "}"),
    ("${UNSET:-'}'}", "}"),
    ("${UNSET:-a b c}", "a b c"),
    ("${UNSET:--x}", "-x"),
    ("${UNSET--x}", "-x"),
    ("${UNSET:-:}", ":"),
    ("${UNSET:-word", None),
    ("${UNSET:-'word}", None),
    ('"${UNSET:-a b}"', "a b"),
    ('"${UNSET:-$PWD}/x"', "/home/x"),
    ('${UNSET:-a"b"c}', "abc"),
    ("he${XX:-${PWD}:xx}", "he/home:xx"),
    ("he${XX:-안녕:xx}", "he안녕:xx"),
    # :+ and +
    ("${UNSET:+word}", ""),
    ("${UNSET+word}", ""),
    ("${NULL:+word}", ""),
    ("${NULL+word}", "word"),
    ("${SHELL:+word}", "word"),
    ("${SHELL+word}", "word"),
    ("${SHELL:+$PWD}", "/home"),
    ("${SHELL:+${NULL:+x}}", ""),
    ("${SHELL:+-${SHELL}}", "-bash"),
    ("x${SHELL:+,$SHELL,}y", "x,bash,y"),
    ("${SHELL+}", ""),
    # :? and ?
    ("${SHELL:?gone}", "bash"),
    ("${SHELL?gone}", "bash"),
    ("${NULL?gone}", ""),
    ("${NULL:?gone}", None),
    ("${UNSET:?gone}", None),
    ("${UNSET?gone}", None),
    ("${UNSET?}", None),
    # # and ##
    ("${FILE#*/}", "usr/lib/libfoo.tar.gz"),
    ("${FILE##*/}", "libfoo.tar.gz"),
    ("${FILE#/usr}", "/lib/libfoo.tar.gz"),
    ("${FILE#usr}", "/usr/lib/libfoo.tar.gz"),
    ("${FILE#}", "/usr/lib/libfoo.tar.gz"),
    ("${FILE##}", "/usr/lib/libfoo.tar.gz"),
    ("${FILE#*}", "/usr/lib/libfoo.tar.gz"),
    ("${FILE##*}", ""),
    ("${FILE#?}", "usr/lib/libfoo.tar.gz"),
    ("${FILE#????}", "/lib/libfoo.tar.gz"),
    ("${FILE#*lib}", "/libfoo.tar.gz"),
    ("${FILE##*lib}", "foo.tar.gz"),
    ("${STARS#a\\*}", "b*c"),
    ("${STARS##*\\*}", "c"),
    ("${STARS#a?b}", "*c"),
    ("${SHELL#$SHELL}", ""),
    ("${SHELL#b\\a}", None),
    ("${UNSET#x}", ""),
    ("${NULL##*}", ""),
    ('${FILE#"/usr"}', "/lib/libfoo.tar.gz"),
    ("${V#*.}", "2.3-rc1"),
    ("${V##*-}", "rc1"),
    ("${V##*[.]}", "1.2.3-rc1"),
    # % and %%
    ("${FILE%.*}", "/usr/lib/libfoo.tar"),
    ("${FILE%%.*}", "/usr/lib/libfoo"),
    ("${FILE%/*}", "/usr/lib"),
    ("${FILE%%/*}", ""),
    ("${FILE%gz}", "/usr/lib/libfoo.tar."),
    ("${FILE%x}", "/usr/lib/libfoo.tar.gz"),
    ("${FILE%}", "/usr/lib/libfoo.tar.gz"),
    ("${FILE%%}", "/usr/lib/libfoo.tar.gz"),
    ("${FILE%?}", "/usr/lib/libfoo.tar.g"),
    ("${FILE%%?.*}", "/usr/lib/libfo"),
    ("${STARS%\\**}", "a*b"),
    ("${STARS%%\\**}", "a"),
    ("${V%%-*}", "1.2.3"),
    ("${V%.*}", "1.2"),
    ("v${V%%.*}", "v1"),
    ("${V%$UNSET}", "1.2.3-rc1"),
    ("${UNSET%x}", ""),
    ("${KOREAN%어}", "한국"),
    # / and //
    ("${AAA/a/b}", "baa"),
    ("${AAA//a/b}", "bbb"),
    ("${AAA//aa/b}", "ba"),
    ("${AAA/a/}", "aa"),
    ("${AAA//a/}", ""),
    ("${AAA/x/y}", "aaa"),
    ("${AAA//*/y}", "y"),
    ("${AAA//?/xy}", "xyxyxy"),
    ("${FILE//\\//_}", "_usr_lib_libfoo.tar.gz"),
    ("${FILE/l*o/X}", "/usr/X.tar.gz"),
    ("${FILE//li?/L}", "/usr/L/Lfoo.tar.gz"),
    ("${V//./-}", "1-2-3-rc1"),
    ("${V/./$SHELL}", "1bash2.3-rc1"),
    ("${STARS//\\*/+}", "a+b+c"),
    ("${UNSET/a/b}", ""),
    ("${NULL//a/b}", ""),
    ("${NULL/*/b}", "b"),
    ("${AAA//\\x/y}", None),
    ("${AAA/a", None),
    ("${AAA/a/b", None),
    ("${AAA//a}", None),
    ("${KOREAN/국/x}", "한x어"),
]


@pytest.mark.parametrize(("text", "expected"), WORDS, ids=[row[0] for row in WORDS])
def test_a_word_is_expanded_as_docker_does(text, expected):
    if expected is None:
        with pytest.raises(InvalidParameter, match="failed to process"):
            expand_word(text, VARIABLES)
    else:
        assert expand_word(text, VARIABLES) == expected


def test_the_table_has_all_it_should():
    assert len(WORDS) >= 200
    assert len({text for text, _ in WORDS}) == len(WORDS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$PWD\\x", "/home\\x"),
        ("`$PWD", "$PWD"),
        ("``", "`"),
        ('"`$PWD"', "$PWD"),
        ('"\\$PWD"', "\\/home"),
        ("C:\\dir", "C:\\dir"),
    ],
)
def test_the_escape_character_may_be_a_backtick(text, expected):
    assert expand_word(text, VARIABLES, escape="`") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${x", "failed to process \"${x\": syntax error: missing '}'"),
        ("${x:-", "failed to process \"${x:-\": syntax error: missing '}'"),
        ("${:x}", 'failed to process "${:x}": syntax error: bad substitution'),
        ("${x:/f}", 'failed to process "${x:/f}": unsupported modifier (:/) in substitution'),
        ("${x&f}", 'failed to process "${x&f}": unsupported modifier (&) in substitution'),
        ("${x:?gone}", 'failed to process "${x:?gone}": x: gone'),
        ("${x?}", 'failed to process "${x?}": x: is not allowed to be unset'),
        ("${NULL:?}", 'failed to process "${NULL:?}": NULL: is not allowed to be empty'),
        (
            '"foo',
            'failed to process "\\"foo": '
            "unexpected end of statement while looking for matching double-quote",
        ),
        (
            "'foo",
            'failed to process "\'foo": '
            "unexpected end of statement while looking for matching single-quote",
        ),
        (
            "${x#\\a}",
            'failed to process "${x#\\\\a}": '
            "invalid pattern (\\a) in substitution: invalid escape '\\a'",
        ),
    ],
)
def test_a_word_that_cannot_be_expanded_is_named(text, message):
    with pytest.raises(InvalidParameter) as caught:
        expand_word(text, VARIABLES)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  ", []),
        ("a b", ["a", "b"]),
        (" a\t b ", ["a", "b"]),
        ("$WORDS", ["one", "two"]),
        ('"$WORDS"', ["one two"]),
        ("x$WORDS", ["xone", "two"]),
        ("'a b' c", ["a b", "c"]),
        ("a\\ b", ["a b"]),
        ("a''b ''", ["ab"]),
        ("$UNSET", []),
        ("${UNSET:-8080 9090}/tcp", ["8080", "9090/tcp"]),
    ],
)
def test_words_split_at_blanks_that_are_not_quoted(text, expected):
    assert expand_words(text, VARIABLES) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b c=d", ["a=b", "c=d"]),
        ('a="b c" d', ['a="b c"', "d"]),
        ("a='b \"c' d", ["a='b \"c'", "d"]),
        ("a=b\\ c d", ["a=b\\ c", "d"]),
        ('a="b\\" c" d', ['a="b\\" c"', "d"]),
        ("a='b\\' d", ["a='b\\'", "d"]),
        ('a="never closed d', ['a="never closed d']),
        ("a=\\", ["a="]),
        ('""', ['""']),
        ("  ", []),
    ],
)
def test_splitting_leaves_quotes_and_escapes_for_later(text, expected):
    assert split_quoted(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'$PWD' \"$SHELL\"\n", "'/home' \"bash\"\n"),
        ("\\$PWD \\\\ \\n\n", "$PWD \\ n\n"),
        ('it\'s ${UNSET:-"x"}\n', 'it\'s "x"\n'),
        ("", ""),
    ],
)
def test_quotes_in_a_heredoc_are_plain_characters(text, expected):
    assert expand_text(text, VARIABLES) == expected


def test_substitutions_nest_only_so_deep():
    with pytest.raises(InvalidParameter, match="nested too deeply"):
        expand_word("${a:-" * 5000 + "}" * 5000, {})


def test_a_pattern_full_of_stars_does_not_backtrack():
    value = "a" * 20_000
    assert expand_word("${X#" + "*a" * 200 + "b}", {"X": value}) == value
    assert expand_word("${X//" + "*a" * 200 + "b/y}", {"X": value}) == value
    assert expand_word("${X//a/b}", {"X": value}) == "b" * 20_000


@pytest.mark.parametrize(
    "text", ["$X" * 3, "${X}${X}${X}", "${X//a/$X}", "${u:-$X$X$X}", '"$X$X$X"', "${X+$X$X$X}"]
)
def test_a_word_does_not_grow_without_bounds(text):
    with pytest.raises(InvalidParameter, match="the result is too long"):
        expand_word(text, {"X": "a" * 60_000})


@given(st.text(alphabet="ab", max_size=12), st.text(alphabet="ab*?", max_size=6))
def test_trimming_agrees_with_trying_every_length(text, pattern):
    def matches(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(matches(pattern[1:], text[at:]) for at in range(len(text) + 1))
        return bool(text) and pattern[0] in ("?", text[0]) and matches(pattern[1:], text[1:])

    glob = Glob(pattern)
    prefixes = [size for size in range(len(text) + 1) if matches(pattern, text[:size])]
    suffixes = [
        size for size in range(len(text) + 1) if matches(pattern, text[len(text) - size :])
    ]
    assert glob.prefix_length(text, longest=False) == min(prefixes, default=None)
    assert glob.prefix_length(text, longest=True) == max(prefixes, default=None)
    assert glob.suffix_length(text, longest=False) == min(suffixes, default=None)
    assert glob.suffix_length(text, longest=True) == max(suffixes, default=None)


@given(st.text(max_size=40), st.sampled_from("\\`"))
def test_a_word_can_be_written_that_becomes_any_text(text, escape):
    assert expand_word(quoted_word(text, escape=escape), VARIABLES, escape=escape) == text


@given(st.text(max_size=40))
def test_a_quoted_word_comes_back_as_it_was(text):
    quoted = '"' + "".join(f"\\{char}" if char in '"$\\' else char for char in text) + '"'
    assert expand_word(quoted, VARIABLES) == text


@given(st.text(alphabet="a${}:-+?#%/'\"\\ ", max_size=30))
def test_any_text_is_expanded_or_refused(text):
    try:
        expand_word(text, VARIABLES)
        expand_words(text, VARIABLES)
    except InvalidParameter:
        pass
