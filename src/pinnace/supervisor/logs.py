"""The log of a container: raw output beside an index of when it came.

A log is a directory of numbered generations. Each has three files: `NNNNNN.out` and `NNNNNN.err`
hold the bytes of standard output (or of the terminal) and standard error, nothing added;
`NNNNNN.idx` has one 16-byte entry per chunk that was moved: the time in Unix nanoseconds, and a
word that packs the chunk's offset in its file, its length and its stream. Entries stand in the
order in which the chunks came, so the index alone interleaves the streams. A generation is over
when the next one exists.

`LogReader` reads while the supervisor writes: without locks, from any position, across rotation.
Both the supervisor (to serve attached clients) and the daemon (to answer `logs`) use it.
"""

from __future__ import annotations

import os
import struct

from pinnace.supervisor.override import override

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STDOUT = 1
STDERR = 2
SUFFIXES = {STDOUT: "out", STDERR: "err"}
INDEX_SUFFIX = "idx"

ENTRY = struct.Struct("<QQ")
MAX_CHUNK = 1 << 20  # of 2^21 - 1 that the word has room for
_BLOCK_ENTRIES = 1024


class Entry:
    """One chunk of output: when it came, from which stream, and where its bytes are."""

    __slots__ = ("length", "offset", "stream", "time_ns")

    def __init__(self, time_ns: int, stream: int, offset: int, length: int) -> None:
        self.time_ns = time_ns
        self.stream = stream
        self.offset = offset
        self.length = length

    def pack(self) -> bytes:
        """Return the entry as it stands in the index."""
        return ENTRY.pack(self.time_ns, self.offset << 22 | self.length << 1 | self.stream - 1)

    @staticmethod
    def unpack(data: bytes, at: int = 0) -> Entry:
        """Return the entry at a byte offset of index data."""
        time_ns, word = ENTRY.unpack_from(data, at)
        return Entry(time_ns, (word & 1) + 1, word >> 22, word >> 1 & 0x1FFFFF)


class Position:
    """A place in a log: generation, number of the index entry, byte offset in its chunk."""

    __slots__ = ("entry", "generation", "offset")

    def __init__(self, generation: int = 0, entry: int = 0, offset: int = 0) -> None:
        self.generation = generation
        self.entry = entry
        self.offset = offset

    def as_tuple(self) -> tuple[int, int, int]:
        """Return the three numbers; they compare in log order."""
        return (self.generation, self.entry, self.offset)

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Position) and self.as_tuple() == other.as_tuple()

    def __lt__(self, other: Position) -> bool:
        return self.as_tuple() < other.as_tuple()

    @override
    def __hash__(self) -> int:
        return hash(self.as_tuple())

    @override
    def __repr__(self) -> str:
        return f"Position{self.as_tuple()}"


class Run:
    """Bytes of one stream that lie together in one file."""

    __slots__ = ("fd", "length", "offset", "stream", "time_ns")

    def __init__(self, time_ns: int, stream: int, fd: int, offset: int, length: int) -> None:
        self.time_ns = time_ns
        self.stream = stream
        self.fd = fd
        self.offset = offset
        self.length = length


class Chunk:
    """Bytes of one stream and when they came."""

    __slots__ = ("data", "stream", "time_ns")

    def __init__(self, time_ns: int, stream: int, data: bytes) -> None:
        self.time_ns = time_ns
        self.stream = stream
        self.data = data


def generations(directory: str) -> list[int]:
    """Return the numbers of the generations that are there, oldest first."""
    try:
        names = os.listdir(directory)  # noqa: PTH208 - pathlib costs the supervisor memory
    except FileNotFoundError:
        return []
    numbers = []
    for name in names:
        stem, _, suffix = name.partition(".")
        if suffix == INDEX_SUFFIX and stem.isdigit():
            numbers.append(int(stem))
    return sorted(numbers)


def path_of(directory: str, number: int, suffix: str) -> str:
    """Return the path of one file of a generation."""
    return f"{directory}/{number:06d}.{suffix}"


class Generation:
    """The open files of one generation, for reading; survives their removal from the directory."""

    __slots__ = ("_block", "_block_start", "files", "index", "number")

    def __init__(self, directory: str, number: int) -> None:
        """Open the files; raise FileNotFoundError when the generation is gone."""
        self.number = number
        self.files: dict[int, int] = {}
        self._block = b""
        self._block_start = 0
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        self.index = os.open(path_of(directory, number, INDEX_SUFFIX), flags)
        try:
            for stream, suffix in SUFFIXES.items():
                self.files[stream] = os.open(path_of(directory, number, suffix), flags)
        except OSError:
            self.close()
            raise

    def count(self) -> int:
        """Return how many entries the index has now."""
        return os.fstat(self.index).st_size // ENTRY.size

    def entry(self, at: int) -> Entry | None:
        """Return an entry, or None when it is not written yet."""
        if at < 0:
            return None
        local = (at - self._block_start) * ENTRY.size
        if local < 0 or local + ENTRY.size > len(self._block):
            self._load(at)
            local = (at - self._block_start) * ENTRY.size
            if local + ENTRY.size > len(self._block):
                return None
        return Entry.unpack(self._block, local)

    def read(self, entry: Entry) -> bytes:
        """Return the bytes of an entry; fewer when the file lost its end (host crash)."""
        return os.pread(self.files[entry.stream], entry.length, entry.offset)

    def close(self) -> None:
        """Close the files."""
        for fd in (self.index, *self.files.values()):
            os.close(fd)
        self.files = {}

    def _load(self, at: int) -> None:
        """Cache a block of the index: up to `at` when walking back, else from it."""
        start = at
        if at < self._block_start:
            start = max(0, at - _BLOCK_ENTRIES + 1)
        self._block = os.pread(self.index, _BLOCK_ENTRIES * ENTRY.size, start * ENTRY.size)
        self._block_start = start


class LogReader:
    """Reads a log from a position onwards, also while it grows and rotates.

    `run` and `advance` give the place of the bytes (for sendfile), `chunks` gives the bytes. At
    the end of what is written both say so and go on later. A reader keeps the generation it is in
    open, so rotation cannot take it away; generations removed before the reader came to them are
    skipped. Not thread-safe. Close it.
    """

    def __init__(self, directory: str, *, streams: frozenset[int] = frozenset(SUFFIXES)) -> None:
        self.directory = directory
        self.streams = streams
        self._at = Position()
        self._current: Generation | None = None
        self._pinned: dict[int, Generation] = {}
        self._starts: dict[int, Position] = {}
        self.seek_first()

    @property
    def position(self) -> Position:
        """Where the next byte comes from; generation 0 while the log has none."""
        return Position(*self._at.as_tuple())

    def seek(self, position: Position) -> None:
        """Go to a position that `position` gave, or to what is left after it."""
        self._starts = {}
        self._enter(position.generation, position.entry, position.offset)

    def seek_first(self) -> None:
        """Go to the oldest byte that is kept."""
        self._starts = {}
        numbers = generations(self.directory)
        self._enter(numbers[0] if numbers else 0, 0, 0)

    def seek_end(self) -> None:
        """Go behind the last byte written so far."""
        self._starts = {}
        numbers = generations(self.directory)
        self._enter(numbers[-1] if numbers else 0, 0, 0)
        if self._current is not None:
            self._at.entry = self._current.count()

    def seek_tail(self, lines: int) -> None:
        """Go to where the last `lines` lines of the wanted streams begin.

        Lines are ordered by their end; one without a newline yet ends now. Where the streams'
        first lines begin at different places, the bytes of each before its own are skipped.
        """
        if lines <= 0:
            self.seek_end()
            return
        starts = _tail_starts(self.directory, self.streams, lines)
        if len(starts) < len(self.streams):
            self.seek_first()  # some stream is wanted from its first byte
        else:
            self.seek(min(starts.values()))
        self._starts = starts

    def seek_time(self, time_ns: int) -> None:
        """Go to the first chunk that came at `time_ns` or later.

        Streams that are in the middle of a line there begin with their next line.
        """
        self._starts = {}
        numbers = generations(self.directory)
        for number in reversed(numbers):
            self._enter(number, 0, 0)
            first = self._current.entry(0) if self._current is not None else None
            if first is not None and first.time_ns < time_ns:
                break
        if self._current is None:
            return
        self._at.entry = _bisect(self._current, time_ns)
        self._starts = _line_starts(self._current, self._at.entry, self.streams)

    def run(self, limit: int = MAX_CHUNK, *, merge: bool = False) -> Run | None:
        """Return where the next bytes lie, at most `limit`; None: nothing more is written yet.

        Call `advance` with the number of bytes used.

        Args:
            limit: Most bytes wanted; at least 1.
            merge: Take following entries of the same stream along; the time is the first one's.
        """
        while True:
            entry = self._entry()
            if entry is None:
                if not self._next_generation():
                    return None
                continue
            skip = self._skip(entry)
            if skip:
                self._at.offset += skip
            if self._at.offset < entry.length:
                break
            self._step()
        generation = self._current
        assert generation is not None  # noqa: S101 - an entry came from it
        length = entry.length - self._at.offset
        if merge and not self._starts:
            length = self._merged(generation, entry.stream, length, limit)
        return Run(
            entry.time_ns,
            entry.stream,
            generation.files[entry.stream],
            entry.offset + self._at.offset,
            min(length, limit),
        )

    def advance(self, length: int) -> None:
        """Go over bytes that `run` showed."""
        while length > 0:
            entry = self._entry()
            if entry is None:
                return
            step = min(length, entry.length - self._at.offset)
            self._at.offset += step
            length -= step
            if self._at.offset >= entry.length:
                self._step()

    def chunks(self, limit: int = MAX_CHUNK) -> Iterator[Chunk]:
        """Yield what is written from here on, and end where nothing more is (for now)."""
        while (run := self.run(limit)) is not None:
            data = os.pread(run.fd, run.length, run.offset)
            self.advance(run.length)
            if data:
                yield Chunk(run.time_ns, run.stream, data)

    def pin(self) -> None:
        """Open every later generation, so that removal of the log loses nothing."""
        for number in generations(self.directory):
            if number > self._at.generation and number not in self._pinned:
                try:
                    self._pinned[number] = Generation(self.directory, number)
                except FileNotFoundError:
                    continue

    def close(self) -> None:
        """Close all files."""
        for generation in (self._current, *self._pinned.values()):
            if generation is not None:
                generation.close()
        self._current = None
        self._pinned = {}

    def _entry(self) -> Entry | None:
        return None if self._current is None else self._current.entry(self._at.entry)

    def _step(self) -> None:
        self._at.entry += 1
        self._at.offset = 0

    def _skip(self, entry: Entry) -> int:
        """Return how many bytes from here are not wanted."""
        if entry.stream not in self.streams:
            return entry.length - self._at.offset
        start = self._starts.get(entry.stream)
        if start is None:
            return 0
        if (self._at.generation, self._at.entry) < (start.generation, start.entry):
            return entry.length - self._at.offset
        del self._starts[entry.stream]
        if (self._at.generation, self._at.entry) == (start.generation, start.entry):
            return max(0, start.offset - self._at.offset)
        return 0

    def _merged(self, generation: Generation, stream: int, length: int, limit: int) -> int:
        """Return the length of the run when entries that follow in the same stream join it."""
        at = self._at.entry + 1
        while length < limit and at - self._at.entry < _BLOCK_ENTRIES:
            entry = generation.entry(at)
            if entry is None or entry.stream != stream:
                break
            length += entry.length
            at += 1
        # walking ahead may have moved the cached block; entry() loads it again when needed
        return length

    def _next_generation(self) -> bool:
        """Enter the next generation if there is one and this one has nothing left."""
        later = [n for n in self._pinned if n > self._at.generation]
        later += [n for n in generations(self.directory) if n > self._at.generation]
        if not later:
            return False
        if self._entry() is not None:
            return True  # written between our last look and the rotation
        return any(self._enter(number, 0, 0) for number in sorted(set(later)))

    def _enter(self, number: int, entry: int, offset: int) -> bool:
        """Make a generation the current one; the first later one when it is gone."""
        if self._current is not None and self._current.number != number:
            self._current.close()
            self._current = None
        self._at = Position(number, entry, offset)
        if self._current is None and number > 0:
            self._current = self._pinned.pop(number, None) or self._open(number)
        return self._current is not None

    def _open(self, number: int) -> Generation | None:
        try:
            return Generation(self.directory, number)
        except FileNotFoundError:
            self._at.entry = self._at.offset = 0
            return None


def _bisect(generation: Generation, time_ns: int) -> int:
    """Return the number of the first entry at `time_ns` or later."""
    low, high = 0, generation.count()
    while low < high:
        middle = (low + high) // 2
        entry = generation.entry(middle)
        if entry is None or entry.time_ns >= time_ns:
            high = middle
        else:
            low = middle + 1
    return low


def _line_starts(generation: Generation, at: int, streams: frozenset[int]) -> dict[int, Position]:
    """Return where the streams that are within a line at an entry begin their next one."""
    starts: dict[int, Position] = {}
    settled: set[int] = set()
    inside: set[int] = set()
    while len(settled) < len(streams):
        entry = generation.entry(at)
        if entry is None:
            break
        stream = entry.stream
        if stream in streams and stream not in settled:
            if stream not in inside and _begins_line(generation, entry):
                settled.add(stream)
            else:
                inside.add(stream)
                newline = generation.read(entry).find(b"\n")
                starts[stream] = Position(generation.number, at + 1)
                if newline >= 0:
                    starts[stream] = Position(generation.number, at, newline + 1)
                    settled.add(stream)
        at += 1
    return starts


def _begins_line(generation: Generation, entry: Entry) -> bool:
    if entry.offset == 0:
        return True
    return os.pread(generation.files[entry.stream], 1, entry.offset - 1) == b"\n"


def _tail_starts(directory: str, streams: frozenset[int], lines: int) -> dict[int, Position]:
    """Walk back to where the last lines begin; streams not in the result begin at the start."""
    starts: dict[int, Position] = {}
    seen: set[int] = set()
    count = 0
    for position, stream, data in _backwards(directory, streams, starts):
        end = len(data)
        if stream not in seen and end:
            seen.add(stream)
            if not data.endswith(b"\n") and count < lines:
                count += 1
        room = lines - count
        newlines = data.count(b"\n")
        if newlines <= room:
            count += newlines
            continue
        for _ in range(room + 1):
            end = data.rfind(b"\n", 0, end)
        count = lines
        starts[stream] = Position(position.generation, position.entry, end + 1)
    return starts


def _backwards(
    directory: str, streams: frozenset[int], settled: dict[int, Position]
) -> Iterator[tuple[Position, int, bytes]]:
    """Yield chunks of streams that are not settled, the newest first, until all are."""
    for number in reversed(generations(directory)):
        try:
            generation = Generation(directory, number)
        except FileNotFoundError:
            continue
        try:
            for at in range(generation.count() - 1, -1, -1):
                entry = generation.entry(at)
                if entry is None or entry.stream not in streams or entry.stream in settled:
                    continue
                yield Position(number, at), entry.stream, generation.read(entry)
                if len(settled) == len(streams):
                    return
        finally:
            generation.close()
