"""Progress messages: texts as the Docker CLI prints them, and how many there are."""

import pytest

from pinnace.engine.images.progress import Meter, bar, counted, human_size, step


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (512, "512B"),
        (5000, "5kB"),
        (10240, "10.24kB"),
        (33792, "33.79kB"),
        (1982910, "1.983MB"),
        (1770496, "1.77MB"),
        (999_999, "1000kB"),
        (12_345_678_901, "12.35GB"),
    ],
)
def test_sizes_are_decimal_with_four_digits(size: int, text: str) -> None:
    assert human_size(size) == text


# What dockerd 20.10 sent for a push.
@pytest.mark.parametrize(
    ("current", "total", "text"),
    [
        (512, 5000, "[=====>                                             ]     512B/5kB"),
        (10240, 5000, "[==================================================>]  10.24kB"),
        (33792, 1982910, "[>                                                  ]  33.79kB/1.983MB"),
        (
            1770496,
            1982910,
            "[============================================>      ]   1.77MB/1.983MB",
        ),
        (2140160, 1982910, "[==================================================>]   2.14MB"),
        (2140160, 0, "  2.14MB"),
        (0, 0, ""),
    ],
)
def test_bars_are_those_of_docker(current: int, total: int, text: str) -> None:
    assert bar(current, total) == text


def test_a_message_without_counts_has_an_empty_detail() -> None:
    assert step("Pushed", "abc") == {"status": "Pushed", "progressDetail": {}, "id": "abc"}


def test_an_unknown_total_is_left_out() -> None:
    assert counted("Downloading", "abc", 10, 0)["progressDetail"] == {"current": 10}


def test_a_meter_shows_the_first_the_last_and_ten_a_second_between() -> None:
    shown: list[object] = []
    now = 0.0
    meter = Meter(
        lambda m: shown.append(m["progressDetail"]), "Pushing", "abc", 1000, clock=lambda: now
    )
    for number in range(1, 1001):
        now = number / 1000  # one second in all
        meter.add(1)
    assert shown[0] == {"current": 1, "total": 1000}
    assert shown[-1] == {"current": 1000, "total": 1000}
    assert 9 <= len(shown) <= 12
