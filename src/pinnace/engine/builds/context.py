"""The files of a build context, as an index in memory; pure.

It behaves as the directory would into which the context could have been unpacked: a later member
replaces an earlier one, hard links are names of one file, links lead nowhere outside.
"""

import posixpath
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from pinnace.contracts.build_files import SourceEntry
from pinnace.errors import InvalidParameter, NotFound

_MAX_LINKS = 40


class ContextTree:
    """Implements `contracts.build_files.SourceTree`; its docstrings hold here."""

    def __init__(self, entries: Iterable[SourceEntry]) -> None:
        """Index `entries`, which are in the order of the archive.

        Raises:
            InvalidParameter: A hard link names nothing, or a file is used as a directory.
        """
        self._entries: dict[str, SourceEntry] = {"": SourceEntry("", "directory")}
        self._children: dict[str, dict[str, None]] = {"": {}}
        for number, entry in enumerate(entries, start=1):
            self._add(entry, number)

    def __len__(self) -> int:
        return len(self._entries) - 1

    def find(self, path: str) -> SourceEntry | None:
        """Return the entry at a path that leads through no link; None: there is none."""
        return self._entries.get(path)

    def entry(self, path: str) -> SourceEntry:
        """See the contract."""
        found = self._entries.get(path)
        if found is None:
            raise NotFound(f"stat {path}: file does not exist")
        return found

    def children(self, path: str) -> Sequence[str]:
        """See the contract."""
        return sorted(self._children.get(path, ()))

    def walk(self, path: str) -> Sequence[SourceEntry]:
        """See the contract."""
        found: list[SourceEntry] = []
        pending = [_join(path, name) for name in reversed(self.children(path))]
        while pending:
            at = pending.pop()
            found.append(self._entries[at])
            below = self._children.get(at)
            if below:
                pending += [_join(at, name) for name in sorted(below, reverse=True)]
        return found

    def resolve(self, path: str) -> str | None:
        """See the contract."""
        parts = _parts(path)
        at, links = "", 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                at = posixpath.dirname(at)
                continue
            below = _join(at, part)
            entry = self._entries.get(below)
            if entry is None:
                return None
            if entry.kind != "symlink":
                at = below
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            if entry.link.startswith("/"):
                at = ""
            parts = _parts(entry.link) + parts
        return at

    def without(self, is_ignored: Callable[[str], bool]) -> "ContextTree":
        """Return the tree without the files that are ignored; directories that hold some stay."""
        kept = ContextTree(())
        for entry in self.walk(""):
            if entry.path and not is_ignored(entry.path):
                kept.keep(entry)
        return kept

    def keep(self, entry: SourceEntry) -> None:
        """Put in a settled entry of another tree, with the directories above it."""
        above = posixpath.dirname(entry.path)
        self._make_directories(above)
        self._put(entry)

    def _add(self, entry: SourceEntry, number: int) -> None:
        if not entry.path:
            return
        above = self._directory(posixpath.dirname(entry.path))
        path = _join(above, posixpath.basename(entry.path))
        if entry.kind == "hardlink":
            entry = self._linked(entry, number)
        if entry.kind != "directory" or path not in self._children:
            self._remove(path)
        self._put(replace(entry, path=path) if path != entry.path else entry)

    def _linked(self, entry: SourceEntry, number: int) -> SourceEntry:
        target = self._entries.get(entry.link)
        if target is None or target.kind == "directory":
            raise InvalidParameter(f"invalid hardlink {entry.path!r} -> {entry.link!r} in context")
        if not target.inode:
            target = replace(target, inode=number)
            self._entries[target.path] = target
        return replace(target, path=entry.path, sum=entry.sum)

    def _put(self, entry: SourceEntry) -> None:
        self._entries[entry.path] = entry
        above, _, base = entry.path.rpartition("/")
        self._children[above][base] = None
        if entry.kind == "directory":
            self._children.setdefault(entry.path, {})

    def _directory(self, path: str) -> str:
        """Return the directory at `path`, links followed; what is missing is made."""
        if path in self._children:
            return path
        at = ""
        for part in _parts(path):
            below = _join(at, part)
            entry = self._entries.get(below)
            if entry is not None and entry.kind == "symlink":
                resolved = self.resolve(below)
                below = below if resolved is None else resolved
                entry = self._entries.get(below)
            if entry is None:
                self._put(SourceEntry(below, "directory"))
            elif entry.kind != "directory":
                raise InvalidParameter(f"invalid context: {below!r} is not a directory")
            at = below
        return at

    def _make_directories(self, path: str) -> None:
        at = ""
        for part in _parts(path):
            at = _join(at, part)
            if at not in self._children:
                self._put(SourceEntry(at, "directory"))

    def _remove(self, path: str) -> None:
        if path not in self._entries:
            return
        for name in list(self._children.get(path, ())):
            self._remove(_join(path, name))
        self._children.pop(path, None)
        del self._entries[path]
        above, _, base = path.rpartition("/")
        self._children[above].pop(base, None)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _join(above: str, base: str) -> str:
    return f"{above}/{base}" if above else base
