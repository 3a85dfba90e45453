"""The raw log with its time index: written, rotated, repaired and read."""

import os

import pytest

from pinnace.supervisor import logwriter
from pinnace.supervisor.logs import ENTRY, STDERR, STDOUT, Entry, LogReader, Position, generations
from pinnace.supervisor.logwriter import LogWriter, NotKept


@pytest.fixture
def writer(tmp_path):
    made = LogWriter(str(tmp_path), max_size=0, max_files=1)
    yield made
    made.close()


def a_writer(directory, *, max_size=0, max_files=5):
    return LogWriter(str(directory), max_size=max_size, max_files=max_files)


def read_all(reader):
    """Return what is left, joined per neighbouring chunks of one stream."""
    joined = []
    for chunk in reader.chunks():
        if joined and joined[-1][0] == chunk.stream:
            joined[-1] = (chunk.stream, joined[-1][1] + chunk.data)
        else:
            joined.append((chunk.stream, chunk.data))
    return joined


def tail(directory, lines, streams=frozenset({STDOUT, STDERR})):
    reader = LogReader(str(directory), streams=streams)
    reader.seek_tail(lines)
    result = read_all(reader)
    reader.close()
    return result


def test_an_entry_keeps_its_four_numbers():
    entry = Entry(2**63 + 5, STDERR, 2**41 + 3, 1 << 20)
    again = Entry.unpack(entry.pack())
    assert (again.time_ns, again.stream, again.offset, again.length) == (
        2**63 + 5,
        STDERR,
        2**41 + 3,
        1 << 20,
    )


def test_the_index_interleaves_the_streams(writer, tmp_path):
    writer.append(b"a\n", STDOUT, 1)
    writer.append(b"b\n", STDERR, 2)
    writer.append(b"c\n", STDOUT, 3)
    reader = LogReader(str(tmp_path))
    seen = [(chunk.time_ns, chunk.stream, chunk.data) for chunk in reader.chunks()]
    reader.close()
    assert seen == [(1, STDOUT, b"a\n"), (2, STDERR, b"b\n"), (3, STDOUT, b"c\n")]


def test_files_hold_the_output_and_nothing_else(writer, tmp_path):
    writer.append(b"out\0\xff", STDOUT, 1)
    writer.append(b"err", STDERR, 2)
    assert (tmp_path / "000001.out").read_bytes() == b"out\0\xff"
    assert (tmp_path / "000001.err").read_bytes() == b"err"
    assert (tmp_path / "000001.out").stat().st_mode & 0o777 == 0o600


def test_a_reader_goes_on_where_it_found_the_end(writer, tmp_path):
    reader = LogReader(str(tmp_path))
    assert read_all(reader) == []
    writer.append(b"one", STDOUT, 1)
    assert read_all(reader) == [(STDOUT, b"one")]
    writer.append(b"two", STDOUT, 2)
    assert read_all(reader) == [(STDOUT, b"two")]
    reader.close()


def test_a_reader_may_come_before_the_log(tmp_path):
    reader = LogReader(str(tmp_path / "later"))
    assert reader.run() is None
    (tmp_path / "later").mkdir()
    writer = a_writer(tmp_path / "later")
    writer.append(b"x", STDOUT, 1)
    assert read_all(reader) == [(STDOUT, b"x")]
    reader.close()
    writer.close()


def test_a_reader_follows_rotation_and_loses_nothing(tmp_path):
    writer = a_writer(tmp_path, max_files=3)
    reader = LogReader(str(tmp_path))
    for number in range(3):
        writer.append(b"%d\n" % number, STDOUT, number)
        if number < 2:
            writer.rotate()
    assert read_all(reader) == [(STDOUT, b"0\n1\n2\n")]
    reader.close()
    writer.close()


def test_a_reader_keeps_its_generation_when_that_is_removed(tmp_path):
    writer = a_writer(tmp_path, max_files=1)
    writer.append(b"kept ", STDOUT, 1)
    reader = LogReader(str(tmp_path))
    assert reader.run(1) is not None
    writer.rotate()
    writer.append(b"next", STDOUT, 2)
    assert generations(str(tmp_path)) == [2]
    assert read_all(reader) == [(STDOUT, b"kept next")]
    reader.close()
    writer.close()


def test_pinned_generations_survive_the_removal_of_the_log(tmp_path):
    writer = a_writer(tmp_path, max_files=5)
    reader = LogReader(str(tmp_path))
    for number in range(4):
        writer.append(b"%d" % number, STDOUT, number)
        writer.rotate()
    reader.pin()
    writer.close()
    for path in tmp_path.iterdir():
        path.unlink()
    assert read_all(reader) == [(STDOUT, b"0123")]
    reader.close()


def test_rotation_waits_for_the_end_of_a_line(tmp_path):
    writer = a_writer(tmp_path, max_size=64, max_files=2)
    writer.append(b"x" * 100, STDOUT, 1)
    assert not writer.is_full
    writer.append(b"\n", STDOUT, 2)
    assert writer.is_full
    writer.close()


def test_rotation_does_not_wait_forever_for_the_end_of_a_line(tmp_path):
    writer = a_writer(tmp_path, max_size=64, max_files=2)
    writer.append(b"x" * (1 << 20), STDOUT, 1)
    writer.append(b"x" * 64, STDOUT, 1)
    assert writer.is_full
    writer.close()


def test_the_index_counts_towards_the_size(tmp_path):
    writer = a_writer(tmp_path, max_size=16 * 10, max_files=2)
    for number in range(10):
        writer.append(b"\n", STDOUT, number)
    assert writer.is_full
    writer.close()


def test_only_the_newest_generations_are_kept(tmp_path):
    writer = a_writer(tmp_path, max_files=2)
    for _ in range(5):
        writer.append(b"x\n", STDOUT, 1)
        writer.rotate()
    writer.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000005.err",
        "000005.idx",
        "000005.out",
        "000006.err",
        "000006.idx",
        "000006.out",
    ]


def test_bytes_without_an_entry_get_one_when_the_writer_starts_again(tmp_path):
    writer = a_writer(tmp_path)
    writer.append(b"told", STDOUT, 1)
    writer.close()
    with (tmp_path / "000001.out").open("ab") as file:
        file.write(b" untold")
    os.utime(tmp_path / "000001.out", ns=(5, 77))
    with (tmp_path / "000001.err").open("ab") as file:
        file.write(b"y" * ((1 << 20) + 5))
    a_writer(tmp_path).close()
    reader = LogReader(str(tmp_path))
    chunks = list(reader.chunks())
    reader.close()
    assert [(c.stream, len(c.data)) for c in chunks] == [(1, 4), (1, 7), (2, 1 << 20), (2, 5)]
    assert chunks[1].time_ns == 77


def test_half_an_entry_is_written_over(tmp_path):
    writer = a_writer(tmp_path)
    writer.append(b"one", STDOUT, 1)
    writer.close()
    with (tmp_path / "000001.idx").open("ab") as file:
        file.write(b"\x01" * 7)
    writer = a_writer(tmp_path)
    writer.append(b"two", STDOUT, 2)
    writer.close()
    reader = LogReader(str(tmp_path))
    assert read_all(reader) == [(STDOUT, b"onetwo")]
    reader.close()
    assert (tmp_path / "000001.idx").stat().st_size == 2 * ENTRY.size


def test_a_position_can_be_taken_up_by_another_reader(writer, tmp_path):
    writer.append(b"abcdef", STDOUT, 1)
    writer.append(b"ghi", STDERR, 2)
    first = LogReader(str(tmp_path))
    first.advance(4)
    second = LogReader(str(tmp_path))
    second.seek(first.position)
    assert first.position == Position(1, 0, 4)
    assert read_all(second) == [(STDOUT, b"ef"), (STDERR, b"ghi")]
    first.close()
    second.close()


def test_runs_merge_neighbours_of_one_stream(writer, tmp_path):
    for _ in range(3000):
        writer.append(b"xy", STDOUT, 1)
    writer.append(b"e", STDERR, 1)
    writer.append(b"z", STDOUT, 1)
    reader = LogReader(str(tmp_path))
    sent = b""
    while (run := reader.run(1 << 20, merge=True)) is not None:
        sent += os.pread(run.fd, run.length, run.offset)
        reader.advance(run.length)
    reader.close()
    assert sent == b"xy" * 3000 + b"ez"


def test_a_run_is_never_longer_than_asked(writer, tmp_path):
    writer.append(b"abcdef", STDOUT, 1)
    reader = LogReader(str(tmp_path))
    assert [chunk.data for chunk in reader.chunks(4)] == [b"abcd", b"ef"]
    reader.close()


def test_only_wanted_streams_are_read(writer, tmp_path):
    writer.append(b"out", STDOUT, 1)
    writer.append(b"err", STDERR, 2)
    reader = LogReader(str(tmp_path), streams=frozenset({STDERR}))
    assert read_all(reader) == [(STDERR, b"err")]
    reader.close()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (0, b""),
        (1, b"last"),
        (2, b"four\nlast"),
        (3, b"three\nfour\nlast"),
        (5, b"one\ntwo\nthree\nfour\nlast"),
        (99, b"one\ntwo\nthree\nfour\nlast"),
    ],
)
def test_tail_counts_an_unfinished_line(writer, tmp_path, lines, expected):
    for part in (b"one\ntw", b"o\nthree\n", b"four\nla", b"st"):
        writer.append(part, STDOUT, 1)
    assert b"".join(data for _, data in tail(tmp_path, lines)) == expected


def test_tail_orders_lines_of_both_streams_by_their_end(writer, tmp_path):
    writer.append(b"old\nlong ", STDOUT, 1)
    writer.append(b"e1\ne2\n", STDERR, 2)
    writer.append(b"line\n", STDOUT, 3)
    assert tail(tmp_path, 2) == [(STDOUT, b"long "), (STDERR, b"e2\n"), (STDOUT, b"line\n")]
    assert tail(tmp_path, 1) == [(STDOUT, b"long line\n")]


def test_tail_of_one_stream_ignores_the_other(writer, tmp_path):
    writer.append(b"o1\n", STDOUT, 1)
    writer.append(b"e1\n", STDERR, 2)
    writer.append(b"o2\n", STDOUT, 3)
    assert tail(tmp_path, 2, frozenset({STDOUT})) == [(STDOUT, b"o1\no2\n")]


def test_tail_reaches_across_generations(tmp_path):
    writer = a_writer(tmp_path, max_files=9)
    for number in range(6):
        writer.append(b"line %d\n" % number, STDOUT, number)
        writer.rotate()
    writer.close()
    assert tail(tmp_path, 3) == [(STDOUT, b"line 3\nline 4\nline 5\n")]


def test_tail_walks_an_index_larger_than_one_block(writer, tmp_path):
    for number in range(5000):
        writer.append(b"%d\n" % number, STDOUT, number)
    expected = b"".join(b"%d\n" % number for number in range(1500, 5000))
    assert tail(tmp_path, 3500) == [(STDOUT, expected)]


def test_time_finds_the_first_chunk_not_older(tmp_path):
    writer = a_writer(tmp_path, max_files=9)
    for number in range(1, 10):
        writer.append(b"%d\n" % number, STDOUT, number * 10)
        if number % 3 == 0:
            writer.rotate()
    writer.close()
    for since, first in ((0, b"1"), (10, b"1"), (11, b"2"), (40, b"4"), (65, b"7"), (90, b"9")):
        reader = LogReader(str(tmp_path))
        reader.seek_time(since)
        assert read_all(reader)[0][1][:1] == first
        reader.close()
    reader = LogReader(str(tmp_path))
    reader.seek_time(91)
    assert read_all(reader) == []
    reader.close()


def test_time_within_a_line_begins_with_the_next_line(writer, tmp_path):
    writer.append(b"begun ", STDOUT, 1)
    writer.append(b"middle ", STDOUT, 2)
    writer.append(b"e\n", STDERR, 2)
    writer.append(b"end\nnext\n", STDOUT, 3)
    reader = LogReader(str(tmp_path))
    reader.seek_time(2)
    assert read_all(reader) == [(STDERR, b"e\n"), (STDOUT, b"next\n")]
    reader.close()


def test_a_pipe_is_moved_without_being_read(tmp_path):
    writer = a_writer(tmp_path)
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, b"hello")
    assert writer.append_pipe(reading, STDERR, 5) == 5
    with pytest.raises(BlockingIOError):
        writer.append_pipe(reading, STDERR, 6)
    os.close(writing)
    assert writer.append_pipe(reading, STDERR, 7) == 0
    os.close(reading)
    writer.close()
    assert tail(tmp_path, 9) == [(STDERR, b"hello")]


def test_output_is_given_back_when_the_index_has_no_room(tmp_path, monkeypatch):
    writer = a_writer(tmp_path)
    writer.append(b"before", STDOUT, 1)
    real = os.pwrite

    def full(fd, data, offset):
        if len(data) == ENTRY.size:
            raise OSError(28, "No space left on device")
        return real(fd, data, offset)

    monkeypatch.setattr(logwriter.os, "pwrite", full)
    with pytest.raises(NotKept) as caught:
        writer.append(b"lost", STDOUT, 2)
    assert caught.value.data == b"lost"
    monkeypatch.undo()
    writer.append(b"after", STDOUT, 3)
    writer.close()
    assert tail(tmp_path, 9) == [(STDOUT, b"beforeafter")]
