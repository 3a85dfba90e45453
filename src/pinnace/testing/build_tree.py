"""A file system in memory, laid down layer by layer, which build files read and write."""

import hashlib
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from pinnace.contracts.build_files import EntryKind, SourceEntry
from pinnace.errors import InvalidParameter, NotFound
from pinnace.oci.layer import OPAQUE_MARK, WHITEOUT_PREFIX, safe_path, whiteout_target
from pinnace.oci.tar_reader import ByteStream, TarEntry, TarReader
from pinnace.oci.tar_writer import END_OF_ARCHIVE, entry_header, padding

_MAX_LINKS = 40
KINDS: dict[bytes, EntryKind] = {
    b"0": "file", b"1": "hardlink", b"2": "symlink", b"3": "char", b"4": "block",
    b"5": "directory", b"6": "fifo",
}  # fmt: skip
_FLAGS = {kind: flag for flag, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Node:
    """A file: what it is, its `sum` not yet made, and what it holds."""

    entry: SourceEntry
    content: bytes = b""


class MemoryTree:
    """Implements `contracts.build_files.SourceTree`, and can be written.

    Attributes:
        nodes: By path; the root is not among them.
        written: Paths that `put` and `make_directory` wrote.
    """

    def __init__(self, layers: Iterable[bytes] = ()) -> None:
        """Lay down the tars of layers, lowest first."""
        self.nodes: dict[str, Node] = {}
        self.written: set[str] = set()
        for tar in layers:
            self.lay(members(tar))
        self.written.clear()

    # Reading

    def resolve(self, path: str) -> str | None:
        """See the contract."""
        try:
            found = self.final(path)
        except InvalidParameter:
            return None
        return found if self.find(found) is not None else None

    def entry(self, path: str) -> SourceEntry:
        """See the contract; the sum covers what a tarsum does, and is another."""
        node = self.find(path)
        if node is None:
            raise NotFound(f"stat {path}: file does not exist")
        return replace(node.entry, sum=entry_sum(node.entry, node.content))

    def children(self, path: str) -> Sequence[str]:
        """See the contract."""
        return sorted(posixpath.basename(at) for at in self.nodes if posixpath.dirname(at) == path)

    def walk(self, path: str) -> Sequence[SourceEntry]:
        """See the contract."""
        prefix = f"{path}/" if path else ""
        below = [at.split("/") for at in self.nodes if at.startswith(prefix)]
        return [self.entry("/".join(parts)) for parts in sorted(below)]

    def find(self, path: str) -> Node | None:
        """Return what is at a path that leads through no link; None: nothing."""
        return self.nodes.get(path) if path else Node(SourceEntry("", "directory"))

    def is_directory(self, path: str) -> bool:
        """Whether a directory is at a path that leads through no link."""
        node = self.find(path)
        return node is not None and node.entry.kind == "directory"

    def final(self, path: str) -> str:
        """Return where `path` leads to, also when nothing is there.

        Raises:
            InvalidParameter: Through too many links.
        """
        parts, at, links = split(path), "", 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                at = posixpath.dirname(at)
                continue
            below = posixpath.join(at, part)
            node = self.nodes.get(below)
            if node is None or node.entry.kind != "symlink":
                at = below
                continue
            links += 1
            if links > _MAX_LINKS:
                raise InvalidParameter(f"too many links: {path}")
            at = "" if node.entry.link.startswith("/") else at
            parts = split(node.entry.link) + parts
        return at

    # Writing

    def lay(self, nodes: Iterable[Node], *, below: str = "") -> None:
        """Write the members of a layer or an archive, marks of deletion obeyed."""
        for node in nodes:
            path = posixpath.join(below, node.entry.path)
            above, base = posixpath.split(path)
            if base == OPAQUE_MARK.decode():
                for name in self.children(above):
                    self.remove(posixpath.join(above, name))
            elif base.startswith(WHITEOUT_PREFIX.decode()):
                self.remove(
                    posixpath.join(above, (whiteout_target(base.encode()) or b"").decode())
                )
            elif node.entry.kind == "hardlink":
                first = self.nodes[posixpath.join(below, node.entry.link)]
                number = first.entry.inode or len(self.nodes)
                self.nodes[first.entry.path] = Node(
                    replace(first.entry, inode=number), first.content
                )
                self.put(path, replace(first.entry, inode=number), first.content)
            elif path:
                self.put(path, node.entry, node.content)

    def put(self, path: str, entry: SourceEntry, content: bytes = b"") -> None:
        """Write a file or directory at a path that leads through no link."""
        self.make_directory(posixpath.dirname(path))
        if not (entry.kind == "directory" and self.is_directory(path)):
            self.remove(path)
        self.nodes[path] = Node(replace(entry, path=path, sum=""), content)
        self._write(path)

    def make_directory(
        self, path: str, owner: tuple[int, int] = (0, 0), *, replacing: bool = False
    ) -> None:
        """Make a directory and those above it that are missing.

        Raises:
            InvalidParameter: Something else is in the way, and it is not to be replaced.
        """
        if self.is_directory(path):
            return
        self.make_directory(posixpath.dirname(path), owner, replacing=replacing)
        if path in self.nodes and not replacing:
            raise InvalidParameter(f"mkdir /{path}: not a directory")
        self.remove(path)
        self.nodes[path] = Node(SourceEntry(path, "directory", uid=owner[0], gid=owner[1]))
        self._write(path)

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it."""
        for at in [at for at in self.nodes if at == path or at.startswith(f"{path}/")]:
            del self.nodes[at]

    def tar(self, paths: Iterable[str]) -> bytes:
        """Return some files as a layer."""
        made = bytearray()
        for node in (self.nodes[path] for path in sorted(paths)):
            entry = node.entry
            header = TarEntry(
                name=entry.path.encode(),
                kind=_FLAGS[entry.kind],
                mode=entry.mode,
                uid=entry.uid,
                gid=entry.gid,
                size=len(node.content),
                mtime_ns=entry.mtime_ns,
                link=entry.link.encode(),
                device=entry.device,
                xattrs=entry.xattrs,
            )
            made += entry_header(header) + node.content + padding(len(node.content))
        return bytes(made) + END_OF_ARCHIVE

    def _write(self, path: str) -> None:
        """Note a change, which an overlay shows for the directories above, too."""
        while path:
            self.written.add(path)
            path = posixpath.dirname(path)


def members(tar: bytes) -> list[Node]:
    """Return the members of an archive in their order; `start` says where the content is.

    Raises:
        InvalidParameter: It is broken, or has a name that leads outside.
    """
    reader = TarReader(ByteStream(iter([tar])))
    found = []
    while (header := reader.next_entry()) is not None:
        content = b"".join(reader.content()) if header.size else b""
        entry = SourceEntry(
            path=safe_path(header.name).decode(),
            kind=KINDS[header.kind],
            mode=header.mode,
            uid=header.uid,
            gid=header.gid,
            size=header.size,
            mtime_ns=header.mtime_ns,
            link=header.link.decode(),
            device=header.device,
            xattrs=header.xattrs,
        )
        found.append(Node(entry, content))
    return found


def entry_sum(entry: SourceEntry, content: bytes) -> str:
    """Return a digest of header and content, without times."""
    total = hashlib.sha256(repr(replace(entry, mtime_ns=0, sum="", inode=0, start=0)).encode())
    total.update(content)
    return total.hexdigest()


def split(path: str) -> list[str]:
    """Return the names in a path."""
    return [part for part in path.split("/") if part not in ("", ".")]
