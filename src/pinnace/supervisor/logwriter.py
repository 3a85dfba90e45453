"""Writes the log of a container; the format is in `logs.py`.

Bytes from a pipe are moved by the kernel (`splice`), so they are in the file before the index
knows of them. A writer that was killed between the two steps has lost nothing: the next one finds
bytes behind the last entry and adds entries for them.
"""

from __future__ import annotations

import errno
import os
import time

from pinnace.supervisor.logs import (
    ENTRY,
    INDEX_SUFFIX,
    MAX_CHUNK,
    STDERR,
    STDOUT,
    SUFFIXES,
    Entry,
    Generation,
    generations,
    path_of,
)

# A generation may grow past its limit by this much while the last line is not complete.
LINE_SLACK = 1 << 20
MIN_CHUNK = 4096
_COPY_BYTES = 64 * 1024


class NotKept(Exception):
    """Output could not be kept: no space, or the disk fails.

    Attributes:
        stream: Where it came from.
        data: What was taken from the source and is not in the log, in order.
    """

    def __init__(self, stream: int, data: bytes, cause: OSError | None = None) -> None:
        super().__init__(cause.strerror if cause is not None else os.strerror(errno.ENOSPC))
        self.stream = stream
        self.data = data


class LogWriter:
    """Appends output to the newest generation of a log directory and rotates it.

    Attributes:
        generation: Number of the generation being written.
    """

    def __init__(self, directory: str, *, max_size: int, max_files: int) -> None:
        """Open the newest generation, repaired, or make the first one."""
        self._directory = directory
        self._max_size = max_size
        self._max_files = max(1, max_files)
        self._files: dict[int, int] = {}
        self._index = -1
        self._entries = 0
        self._ends = {STDOUT: 0, STDERR: 0}
        self._last: Entry | None = None
        numbers = generations(directory)
        self.generation = numbers[-1] if numbers else 1
        self._open()
        self._recover()

    @property
    def size(self) -> int:
        """Bytes of the current generation, output and index."""
        return self._ends[STDOUT] + self._ends[STDERR] + self._entries * ENTRY.size

    @property
    def is_full(self) -> bool:
        """Whether the generation has reached its size and should be rotated before more comes."""
        if self._max_size <= 0 or self.size < self._max_size or self._last is None:
            return False
        return self.size >= self._max_size + LINE_SLACK or self._ends_line(self._last)

    @property
    def oldest_kept(self) -> int:
        """The oldest generation that stays when the log is rotated now."""
        return self.generation + 2 - self._max_files

    def append_pipe(self, pipe: int, stream: int, time_ns: int) -> int:
        """Move what is in a non-blocking pipe, at most MAX_CHUNK bytes; return how many, 0 at EOF.

        Raises:
            BlockingIOError: The pipe is empty.
            NotKept: The bytes were taken out of the pipe and could not be kept.
        """
        limit = self._room()
        try:
            moved = os.splice(
                pipe,
                self._files[stream],
                limit,
                offset_dst=self._ends[stream],
                flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK,
            )
        except BlockingIOError:
            raise
        except OSError as exc:
            return self._append_copy(os.read(pipe, _COPY_BYTES), stream, time_ns, why=exc)
        if moved:
            self._commit(Entry(time_ns, stream, self._ends[stream], moved))
        return moved

    def append(self, data: bytes, stream: int, time_ns: int) -> None:
        """Write bytes, at most MAX_CHUNK.

        Raises:
            NotKept: They could not be kept, all or in part.
        """
        offset = self._ends[stream]
        try:
            written = os.pwrite(self._files[stream], data, offset)
        except OSError as exc:
            raise NotKept(stream, data, exc) from exc
        if written:
            self._commit(Entry(time_ns, stream, offset, written))
        if written < len(data):
            raise NotKept(stream, data[written:])

    def rotate(self) -> None:
        """Begin the next generation and remove the ones that are too many.

        Raises:
            OSError: The next generation cannot be made (no space); the current one stays.
        """
        old = [self._index, *self._files.values()]
        previous = self.generation
        self.generation += 1
        try:
            self._open()
        except OSError:
            self.generation = previous
            raise
        for fd in old:
            os.close(fd)
        self._entries = 0
        self._ends = {STDOUT: 0, STDERR: 0}
        self._last = None
        for number in generations(self._directory):
            if number <= self.generation - self._max_files:
                self._remove(number)

    def unbound(self) -> None:
        """Rotate no more; what is still to come is little."""
        self._max_size = 0

    def close(self) -> None:
        """Close the files."""
        for fd in (self._index, *self._files.values()):
            os.close(fd)
        self._files = {}

    def _append_copy(self, data: bytes, stream: int, time_ns: int, *, why: OSError) -> int:
        """Keep bytes that could not be spliced, in case the file system only lacks that."""
        if data and why.errno != errno.EINVAL:
            raise NotKept(stream, data, why)
        if data:
            self.append(data, stream, time_ns)
        return len(data)

    def _room(self) -> int:
        if self._max_size <= 0:
            return MAX_CHUNK
        return min(MAX_CHUNK, max(MIN_CHUNK, self._max_size - self.size))

    def _open(self) -> None:
        """Open the current generation's files; the index last: it makes the generation exist."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        opened: dict[int, int] = {}
        try:
            for stream, suffix in SUFFIXES.items():
                opened[stream] = os.open(
                    path_of(self._directory, self.generation, suffix), flags, 0o600
                )
            index = os.open(path_of(self._directory, self.generation, INDEX_SUFFIX), flags, 0o600)
        except OSError:
            for fd in opened.values():
                os.close(fd)
            raise
        self._files = opened
        self._index = index

    def _recover(self) -> None:
        """Take up what an earlier writer left; add entries for bytes it did not come to index."""
        self._entries = os.fstat(self._index).st_size // ENTRY.size
        missing = set(SUFFIXES)
        generation = Generation(self._directory, self.generation)
        try:
            for at in range(self._entries - 1, -1, -1):
                entry = generation.entry(at)
                if entry is not None and entry.stream in missing:
                    missing.discard(entry.stream)
                    self._ends[entry.stream] = entry.offset + entry.length
                if not missing:
                    break
        finally:
            generation.close()
        for stream, fd in self._files.items():
            status = os.fstat(fd)
            while (left := status.st_size - self._ends[stream]) > 0:
                entry = Entry(status.st_mtime_ns, stream, self._ends[stream], min(left, MAX_CHUNK))
                try:
                    self._commit(entry)
                except NotKept:
                    break  # nobody is there to give the bytes to

    def _commit(self, entry: Entry) -> None:
        """Write the index entry of bytes that are in place; take them back when it has no room."""
        at = self._entries * ENTRY.size
        try:
            written = os.pwrite(self._index, entry.pack(), at)
        except OSError:
            written = 0
        if written < ENTRY.size:
            os.ftruncate(self._index, at)
            fd = self._files[entry.stream]
            data = os.pread(fd, entry.length, entry.offset)
            os.ftruncate(fd, entry.offset)
            raise NotKept(entry.stream, data)
        self._entries += 1
        self._ends[entry.stream] = entry.offset + entry.length
        self._last = entry

    def _ends_line(self, entry: Entry) -> bool:
        last = entry.offset + entry.length - 1
        return os.pread(self._files[entry.stream], 1, last) == b"\n"

    def _remove(self, number: int) -> None:
        for suffix in (INDEX_SUFFIX, *SUFFIXES.values()):
            try:
                os.unlink(path_of(self._directory, number, suffix))  # noqa: PTH108
            except FileNotFoundError:
                continue


def now_ns() -> int:
    """Return the Unix time in nanoseconds."""
    return time.time_ns()
