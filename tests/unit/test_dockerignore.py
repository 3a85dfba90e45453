"""Ignore rules: pairs of pattern and path from Go's documented rules, and what Docker adds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace.engine.builds.ignore import IgnoreRules, read_patterns
from pinnace.engine.builds.path_glob import compile_pattern, has_wildcards
from pinnace.errors import InvalidParameter

YES, NO, BELOW = "matches", "does not", "a parent does"

# filepath.Match: pattern, path, result; None is a bad pattern.
GO = [
    ("abc", "abc", True),
    ("abc", "ab", False),
    ("abc", "abcd", False),
    ("*", "abc", True),
    ("*", "", True),
    ("*c", "abc", True),
    ("*c", "abd", False),
    ("a*", "a", True),
    ("a*", "abc", True),
    ("a*", "ab/c", False),
    ("a*/b", "abc/b", True),
    ("a*/b", "a/c/b", False),
    ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
    ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", False),
    ("a*b?c*x", "abxbbxdbxebxczzx", True),
    ("a*b?c*x", "abxbbxdbxebxczzy", False),
    ("ab[c]", "abc", True),
    ("ab[b-d]", "abc", True),
    ("ab[e-g]", "abc", False),
    ("ab[^c]", "abc", False),
    ("ab[^b-d]", "abc", False),
    ("ab[^e-g]", "abc", True),
    ("a\\*b", "a*b", True),
    ("a\\*b", "ab", False),
    ("a?b", "a☺b", True),
    ("a[^a]b", "a☺b", True),
    ("a???b", "a☺b", False),
    ("a[^a][^a][^a]b", "a☺b", False),
    ("[a-ζ]*", "β", True),
    ("*[a-ζ]", "A", False),
    ("a?b", "a/b", False),
    ("a*b", "a/b", False),
    ("[\\]a]", "]", True),
    ("[\\-]", "-", True),
    ("[x\\-]", "x", True),
    ("[x\\-]", "-", True),
    ("[x\\-]", "z", False),
    ("[\\-x]", "x", True),
    ("[\\-x]", "-", True),
    ("[\\-x]", "a", False),
    ("[a-c0-2]x", "1x", True),
    ("[^a-c0-2]x", "1x", False),
    ("[!a]", "a", True),
    ("[!a]", "!", True),
    ("[!a]", "b", False),
    ("\\a\\b", "ab", True),
    ("\\[a]", "[a]", True),
    ("a]", "a]", True),
    ("*x", "xxx", True),
    ("**", "a", True),
    ("**", "a/b", False),
    ("**/b", "a/b", True),
    ("**/b", "a/a/b", False),
    ("*.go", ".go", True),
    ("*.*", "a.b.c", True),
    ("a/*", "a/", True),
    ("a/*/c", "a//c", True),
    ("{a,b}", "a", False),
    ("{a,b}", "{a,b}", True),
    ("a+(b)$^|.", "a+(b)$^|.", True),
    ("[]a]", "]", None),
    ("[-]", "-", None),
    ("[x-]", "x", None),
    ("[-x]", "-", None),
    ("[a-b-c]", "a", None),
    ("[", "a", None),
    ("[^", "a", None),
    ("[^bc", "a", None),
    ("a[", "a", None),
    ("a[", "ab", None),
    ("\\", "a", None),
    ("a\\", "a", None),
    ("[a\\", "a", None),
    ("[z-a]", "m", None),
    ("[]", "a", None),
]

# .dockerignore: pattern, path, result
IGNORE = [
    ("**", "file", YES),
    ("**", "dir/file", YES),
    ("**/", "file", YES),
    ("**/", "dir/file", YES),
    ("**/**", "file", YES),
    ("**/**", "dir/file", YES),
    ("dir/**", "dir/file", YES),
    ("dir/**", "dir/dir2/file", YES),
    ("dir/**", "dir", NO),
    ("dir/**", "dirx/file", NO),
    ("dir/**", "x/dir/file", NO),
    ("**/dir", "dir", YES),
    ("**/dir", "dir/file", BELOW),
    ("**/dir", "a/dir", YES),
    ("**/dir", "a/b/dir/c/d", BELOW),
    ("**/dir", "xdir", NO),
    ("**/dir", "dirx", NO),
    ("**/dir2/*", "dir/dir2/file", YES),
    ("**/dir2/*", "dir/dir2/a/b", BELOW),
    ("**/dir2/*", "dir2/file", YES),
    ("**/dir2/*", "dir/dir2", NO),
    ("**/dir2/**", "dir/dir2/dir3/file", YES),
    ("**/dir2/**", "dir2/a", YES),
    ("**/dir2/**", "dir2", NO),
    ("**file", "file", YES),
    ("**file", "dir/file", YES),
    ("**file", "dir/dir/file", YES),
    ("**/file", "dir/file", YES),
    ("**/file", "dir/dir/file", YES),
    ("**/file*", "dir/dir/file", YES),
    ("**/file*", "dir/dir/file.txt", YES),
    ("**/file*", "dir/xfile.txt", NO),
    ("**/file*txt", "dir/dir/file.txt", YES),
    ("**/file*.txt", "dir/dir/file.txt", YES),
    ("**/file*.txt*", "dir/dir/file.txt", YES),
    ("**/**/*.txt", "dir/dir/file.txt", YES),
    ("**/**/*.txt2", "dir/dir/file.txt", NO),
    ("**/*.txt", "file.txt", YES),
    ("**/*.txt", "a/file.txt", YES),
    ("**/*.txt", "a/file.txt/b", BELOW),
    ("**/*.txt", "file.md", NO),
    ("**/**/*.txt", "file.txt", YES),
    ("a**/*.txt", "a/file.txt", YES),
    ("a**/*.txt", "a/dir/file.txt", YES),
    ("a**/*.txt", "a/dir/dir/file.txt", YES),
    ("a**/*.txt", "b/file.txt", NO),
    ("a/*.txt", "a/dir/file.txt", NO),
    ("a/*.txt", "a/file.txt", YES),
    ("a/*.txt**", "a/file.txt", YES),
    ("a/**/b", "a/b", YES),
    ("a/**/b", "a/x/b", YES),
    ("a/**/b", "a/x/y/b", YES),
    ("a/**/b", "a/x/yb", NO),
    ("a/**/b", "ab", NO),
    ("a/**/b/*.c", "a/x/b/y.c", YES),
    ("a/**/b/*.c", "a/x/b/y/z.c", NO),
    ("**a/*b", "xa/ya/zb", NO),
    ("**a/*b", "x/a/zb", YES),
    ("**/*a/*b", "xa/ya/zb", YES),
    ("a[b-d]e", "ae", NO),
    ("a[b-d]e", "ace", YES),
    ("a[b-d]e", "aae", NO),
    ("a[^b-d]e", "aze", YES),
    ("a[^b-d]e", "ace", NO),
    (".*", ".foo", YES),
    (".*", "foo", NO),
    (".*", ".git/config", BELOW),
    (".*", "a/.git", NO),
    ("abc.def", "abcdef", NO),
    ("abc.def", "abc.def", YES),
    ("abc.def", "abcZdef", NO),
    ("abc?def", "abcZdef", YES),
    ("abc?def", "abcdef", NO),
    ("abc?def", "abc/def", NO),
    ("**/foo/bar", "foo/bar", YES),
    ("**/foo/bar", "dir/foo/bar", YES),
    ("**/foo/bar", "dir/dir2/foo/bar", YES),
    ("**/foo/bar", "dir/foo/x/bar", NO),
    ("abc/**", "abc", NO),
    ("abc/**", "abc/def", YES),
    ("abc/**", "abc/def/ghi", YES),
    ("**/.foo", ".foo", YES),
    ("**/.foo", "bar.foo", NO),
    ("**/.foo", "a/.foo", YES),
    ("a(b)c/def", "a(b)c/def", YES),
    ("a(b)c/def", "a(b)c/xyz", NO),
    ("a.|)$(}+{bc", "a.|)$(}+{bc", YES),
    (
        "dist/proxy.py-2.4.0rc3.dev36+g08acad9.whl",
        "dist/proxy.py-2.4.0rc3.dev36+g08acad9.whl",
        YES,
    ),
    ("dist/*.whl", "dist/proxy.py-2.4.0rc3.dev36+g08acad9.whl", YES),
    ("a\\*b", "a*b", YES),
    ("a\\*b", "axb", NO),
    ("a\\?b", "a?b", YES),
    ("\\!a", "!a", YES),
    ("\\#a", "#a", YES),
    ("*", "a", YES),
    ("*", "a/b/c", BELOW),
    ("*/*", "a", NO),
    ("*/*", "a/b", YES),
    ("*/*", "a/b/c", BELOW),
    ("*/temp*", "somedir/temporary.txt", YES),
    ("*/temp*", "somedir/temp", YES),
    ("*/temp*", "temp", NO),
    ("*/*/temp*", "somedir/subdir/temporary.txt", YES),
    ("*/*/temp*", "somedir/temporary.txt", NO),
    ("temp?", "tempa", YES),
    ("temp?", "temp", NO),
    ("temp?", "tempab", NO),
    ("temp?", "a/tempa", NO),
    ("/foo/bar", "foo/bar", YES),
    ("foo/bar", "foo/bar", YES),
    ("foo/", "foo", YES),
    ("foo/", "foo/bar", BELOW),
    ("./foo", "foo", YES),
    ("foo//bar", "foo/bar", YES),
    ("foo/./bar", "foo/bar", YES),
    ("foo/../bar", "bar", YES),
    ("../foo", "foo", NO),
    ("/../foo", "foo", YES),
    ("foo/..", "foo", NO),
    (".", "foo", NO),
    ("/", "foo", NO),
    ("foo", "Foo", NO),
    ("foo", "foobar", NO),
    ("foo", "bar/foo", NO),
    ("node_modules", "node_modules/a/b.js", BELOW),
    ("node_modules", "x/node_modules/b.js", NO),
    ("**/node_modules", "x/node_modules/b.js", BELOW),
    ("**/*.pyc", "a/b/c.pyc", YES),
    ("**/__pycache__", "a/__pycache__/b.pyc", BELOW),
    ("*.md", "README.md", YES),
    ("*.md", "docs/README.md", NO),
    ("  foo  ", "foo", YES),
    ("foo bar", "foo bar", YES),
    ("é*", "été", YES),
    ("?", "é", YES),
    ("[é-ü]", "ö", YES),
]

# Several rules: file, path, whether it is ignored
FILES = [
    ("docs\n!docs/README.md", "docs/README.md", False),
    ("docs\n!docs/README.md", "docs/x", True),
    ("docs/\n!docs/README.md", "docs/README.md", False),
    ("docs/*\n!docs/README.md", "docs/README.md", False),
    ("!fileutils.go\n*.go", "fileutils.go", True),
    ("*.go\n!fileutils.go", "fileutils.go", False),
    ("*.md\n!README*.md\nREADME-secret.md", "README.md", False),
    ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
    ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", False),
    ("**\n!util/docker/web", "util/docker/web/foo", False),
    ("**\n!util/docker/web", "util/docker/x", True),
    ("**\n!util/docker/web\nutil/docker/web/foo", "util/docker/web/foo", True),
    ("**\n!dist/*.whl", "dist/a+b.whl", False),
    ("*\n!a\n!b", "a", False),
    ("*\n!a\n!b", "c", True),
    ("*\n!a/b", "a/b", False),
    ("*\n!a/b", "a/c", True),
    ("*\n!a/b", "a", True),
    ("*\n!**/*.go", "a/b/c.go", False),
    ("a\n!a\na/b", "a/b", True),
    ("a\n!a\na/b", "a/c", False),
    ("# comment\nfoo", "foo", True),
    ("# comment\nfoo", "# comment", False),
    (" # no comment", "# no comment", True),
    ("#foo", "#foo", False),
    ("\n\n  \nfoo\n", "foo", True),
    ("foo\r\nbar\r\n", "bar", True),
    ("\ufefffoo", "foo", True),
    ("! foo\n", "foo", False),
    ("*\n! foo", "foo", False),
    ("*\n!/foo", "foo", False),
    ("*\n!./foo/", "foo/x", False),
    ("!!foo", "!foo", False),
    ("*", ".dockerignore", True),
    ("*\n!.dockerignore", ".dockerignore", False),
    ("", "foo", False),
    ("**", ".", False),
    ("*", "", False),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), GO)
def test_patterns_match_as_filepath_match(pattern, path, expected):
    if expected is None:
        with pytest.raises(InvalidParameter, match=r"^syntax error in pattern$"):
            compile_pattern(pattern)
    else:
        assert compile_pattern(pattern)(path) is expected


@pytest.mark.parametrize(("pattern", "path", "expected"), IGNORE)
def test_one_rule_ignores_a_path_or_what_is_below_it(pattern, path, expected):
    (cleaned,) = read_patterns(pattern.encode())
    assert compile_pattern(cleaned, double_star=True)(path) is (expected is YES)
    assert IgnoreRules.parse(pattern.encode()).ignores(path) is (expected is not NO)


@pytest.mark.parametrize(("text", "path", "expected"), FILES)
def test_the_last_rule_that_matches_decides(text, path, expected):
    assert IgnoreRules.parse(text.encode()).ignores(path) is expected


def test_the_tables_have_all_they_should():
    assert len(GO) + len(IGNORE) + len(FILES) >= 200


@pytest.mark.parametrize("text", ["!", "a\n!\nb", "[", "a[b", "a\\", "![", "[z-a]"])
def test_a_bad_rule_is_refused(text):
    with pytest.raises(InvalidParameter):
        IgnoreRules.parse(text.encode())


def test_a_lone_exclamation_mark_is_named():
    with pytest.raises(InvalidParameter, match=r'^illegal exclusion pattern: "!"$'):
        IgnoreRules.parse(b"!")


def test_absurdly_large_files_are_refused():
    for data in (b"a\n" * (1 << 20), b"a\n" * 20_000, b"a" * 5000):
        with pytest.raises(InvalidParameter):
            IgnoreRules.parse(data)


def test_the_dockerfile_is_kept_whatever_the_rules_say():
    rules = IgnoreRules.parse(b"*\n")
    kept = rules.keeping("Dockerfile", ".dockerignore")
    assert rules.ignores("Dockerfile")
    assert not kept.ignores("Dockerfile")
    assert not kept.ignores(".dockerignore")
    assert kept.ignores("Dockerfile.other")


@pytest.mark.parametrize(
    ("text", "directory", "expected"),
    [
        ("docs", "docs", True),
        ("docs", "src", False),
        ("docs\n!docs/README.md", "docs", False),
        ("docs\n!docs/a/b", "docs/a", False),
        ("docs\n!docs/a/b", "docs/c", True),
        ("docs\n!src", "docs", True),
        ("*\n!**/x", "docs", True),
    ],
)
def test_a_directory_without_exceptions_need_not_be_read(text, directory, expected):
    assert IgnoreRules.parse(text.encode()).prunes(directory) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", False), ("a*", True), ("a?", True), ("[a]", True), ("a\\*", False), ("a\\\\*", True)],
)
def test_wildcards_are_recognised(text, expected):
    assert has_wildcards(text) is expected


def test_a_hostile_pattern_does_not_backtrack():
    rules = IgnoreRules.parse(b"*a" * 300 + b"b\n" + b"**/a*" * 300 + b"/b")
    path = "/".join(["a" * 200] * 15)
    assert not rules.ignores(path)


TOKENS = st.sampled_from(["a", "b", "/", "*", "?", "[ab]", "[^a]"])


@given(st.lists(TOKENS, max_size=6).map("".join), st.text(alphabet="ab/", max_size=8))
def test_matching_agrees_with_trying_everything(pattern, path):
    def matches(at: int, rest: str) -> bool:
        if at == len(pattern):
            return not rest
        if pattern[at] == "*":
            ends = [i for i in range(len(rest) + 1) if "/" not in rest[:i]]
            return any(matches(at + 1, rest[i:]) for i in ends)
        if not rest:
            return False
        if pattern[at] == "[":
            end = pattern.index("]", at)
            negated = pattern[at + 1] == "^"
            found = (rest[0] in pattern[at + 1 + negated : end]) != negated
            return found and matches(end + 1, rest[1:])
        if pattern[at] == "?":
            return rest[0] != "/" and matches(at + 1, rest[1:])
        return rest[0] == pattern[at] and matches(at + 1, rest[1:])

    assert compile_pattern(pattern)(path) is matches(0, path)


@given(
    st.lists(st.sampled_from(["a", "b", "/", "*", "**", "**/", "?"]), max_size=7).map("".join),
    st.text(alphabet="ab/", max_size=8),
)
def test_quick_matchers_agree_with_the_general_one(pattern, path):
    # An empty set of one character more keeps the quick ways from being taken.
    general = compile_pattern(f"{pattern}[c]", double_star=True)
    if pattern.endswith(("**", "/")) or path == "":
        return
    if pattern.startswith("**") and not pattern.startswith("**/"):
        return
    assert compile_pattern(pattern, double_star=True)(path) is general(f"{path}c")
