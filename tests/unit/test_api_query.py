import pytest

from pinnace.api.query import Query, parse_query
from pinnace.errors import InvalidParameter


def query(raw: str, *, strict: bool = False) -> Query:
    return Query(parse_query(raw), strict=strict)


@pytest.mark.parametrize("word", ["", "0", "no", "false", "none", "No", "FALSE", "None"])
def test_words_that_are_false_today(word):
    assert query(f"a={word}").flag("a", default=True) is False


@pytest.mark.parametrize("word", ["1", "true", "yes", "on", "2", "t", "anything"])
def test_any_other_word_is_true_today(word):
    assert query(f"a={word}").flag("a") is True


def test_an_absent_flag_is_the_default():
    assert query("").flag("a", default=True) is True
    assert query("").flag("a") is False


@pytest.mark.parametrize("word", ["1", "True", "true", "TRUE", "tRuE"])
def test_c35_c36_true_in_2013(word):
    assert query(f"all={word}", strict=True).flag("all") is True


@pytest.mark.parametrize("word", ["0", "False", "false", ""])
def test_c37_c38_false_in_2013(word):
    assert query(f"all={word}", strict=True).flag("all", default=True) is False


@pytest.mark.parametrize("word", ["2", "yes", "on", "t", "01", "%201"])
def test_c39_c41_other_words_in_2013_are_errors(word):
    with pytest.raises(InvalidParameter, match=r"^Bad parameter$"):
        query(f"all={word}", strict=True).flag("all")


def test_c32_of_a_repeated_parameter_the_first_counts():
    assert query("all=0&all=1").flag("all") is False
    assert list(query("n=a&n=b").all("n")) == ["a", "b"]


@pytest.mark.parametrize(("raw", "number"), [("5", 5), ("-1", -1), ("+7", 7), ("", 9)])
def test_integers(raw, number):
    assert query(f"t={raw.replace('+', '%2B')}").integer("t", 9) == number


@pytest.mark.parametrize("raw", ["abc", "1.5", "1_000", "٣", "99999999999999999999", "0x1"])
def test_what_is_no_integer_is_refused_in_gos_words(raw):
    with pytest.raises(InvalidParameter, match="invalid syntax"):
        query(f"t={raw}").integer("t", 9)


def test_a_required_integer_must_be_there():
    with pytest.raises(InvalidParameter, match=r'^strconv\.Atoi: parsing "": invalid syntax'):
        query("").required_integer("h")


@pytest.mark.parametrize(
    ("raw", "nanoseconds"),
    [
        ("1700000000", 1_700_000_000_000_000_000),
        ("1700000000.000000001", 1_700_000_000_000_000_001),
        ("5.25", 5_250_000_000),
        ("0", None),
        ("", None),
    ],
)
def test_timestamps(raw, nanoseconds):
    assert query(f"since={raw}").timestamp("since") == nanoseconds


@pytest.mark.parametrize("raw", ["yesterday", "1.2.3", "1e9"])
def test_what_is_no_timestamp_is_refused(raw):
    with pytest.raises(InvalidParameter):
        query(f"since={raw}").timestamp("since")


def test_too_many_parameters_are_refused():
    with pytest.raises(InvalidParameter):
        parse_query("&".join(f"a{number}=1" for number in range(1001)))
