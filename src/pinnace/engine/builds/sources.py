"""What COPY, ADD and bind mounts read: sources resolved in a tree, and their digests.

The tree is a context's index or an image's mounted files; the rules are the same. Names and texts:
Docker's classic builder (moby, builder/dockerfile/copy.go).
"""

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from pinnace.contracts.build_files import Selection, SourceEntry, SourceTree
from pinnace.engine.builds.path_glob import compile_pattern
from pinnace.errors import InvalidParameter, NotFound

_WILDCARDS = re.compile(r"[*?\[\\]")
Excluded = Callable[[str], bool]


def _nothing(_path: str) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRules:
    """How sources are resolved.

    Attributes:
        missing: What is said of a missing file before its path.
        parents: Keep the directories that a source is written with.
        is_excluded: Tells whether `--exclude` leaves something out: by its path below the
            directory that is copied, by the name of a file, or, with `parents`, by its path in
            the tree.
    """

    missing: str = ""
    parents: bool = False
    is_excluded: Excluded = _nothing


def select(tree: SourceTree, spec: str, rules: SourceRules) -> list[Selection]:
    """Return what one source word names, patterns resolved; blocks with an image's tree.

    Raises:
        InvalidParameter: It names nothing; a pattern that matches nothing is no error.
    """
    path = _cleaned(spec)
    if not _WILDCARDS.search(path):
        return [_selection(tree, path, spec, rules)]
    found = _matches(tree, path.split("/"), crossing=rules.parents)
    return [
        _selection(tree, match, spec, rules)
        for match in found
        if not rules.is_excluded(match if rules.parents else posixpath.basename(match))
    ]


def shown_sum(selections: Sequence[Selection]) -> str:
    """Return the sum that Docker's history shows: `file:…`, `dir:…` or `multi:…`."""
    sums = [_shown(selection) for selection in selections]
    return sums[0] if len(sums) == 1 else "multi:" + _joined(sums)


def content_digest(selections: Iterable[Selection]) -> str:
    """Return a digest of everything that copying reads: names, attributes, links and content.

    Times do not count. The encoding is unambiguous, unlike that of the sums which it covers.
    """
    total = hashlib.sha256()
    for selection in selections:
        length = len(selection.base) + 1 if selection.base else 0
        entries = [
            (
                entry.path[length:] if selection.is_directory else "",
                entry.kind,
                entry.mode,
                entry.uid,
                entry.gid,
                entry.size,
                entry.link,
                entry.device,
                sorted(entry.xattrs.items()),
                entry.sum,
                entry.inode,
            )
            for entry in selection.entries
        ]
        total.update(msgspec.msgpack.encode((selection.name, selection.is_directory, entries)))
    return total.hexdigest()


def _selection(tree: SourceTree, path: str, spec: str, rules: SourceRules) -> Selection:
    base = tree.resolve(path)
    if base is None:
        shown = path or "."
        raise InvalidParameter(f"{rules.missing}stat {shown}: file does not exist")
    entry = _entry(tree, base)
    name = posixpath.basename(path.rstrip("/")) or posixpath.basename(base)
    if rules.parents:
        name = _kept_parents(spec, path)
    if entry.kind != "directory":
        return Selection(name, base, is_directory=False, entries=[entry])
    within = path if rules.parents else ""
    entries = [
        one for one in tree.walk(base) if not rules.is_excluded(_in_source(one.path, base, within))
    ]
    return Selection(
        name if rules.parents else "",
        base,
        is_directory=True,
        entries=entries,
        sum=(entry.sum or base) if base else "",
    )


def _entry(tree: SourceTree, path: str) -> SourceEntry:
    if not path:
        return SourceEntry("", "directory")
    try:
        return tree.entry(path)
    except NotFound as exc:
        raise InvalidParameter(exc.message) from exc


def _in_source(path: str, base: str, within: str) -> str:
    """Return an entry's path below the directory `base`, put behind `within`."""
    below = path[len(base) :].lstrip("/")
    return f"{within}/{below}" if within else below


def _kept_parents(spec: str, path: str) -> str:
    """Return what `--parents` keeps of a source: all, or what follows its `/./`."""
    marker = spec.find("/./")
    if marker < 0 or spec.startswith("./"):
        return path
    cut = len(_cleaned(spec[:marker]).split("/")) if spec[:marker].strip("/") else 0
    return "/".join(path.split("/")[cut:])


def _cleaned(spec: str) -> str:
    """Return the path below the root.

    Raises:
        InvalidParameter: It leads out of it.
    """
    path = posixpath.normpath("./" + spec.lstrip("/"))
    if path == ".." or path.startswith("../"):
        raise InvalidParameter(f"forbidden path outside the build context: {spec} ()")
    return "" if path == "." else path


def _matches(tree: SourceTree, parts: Sequence[str], *, crossing: bool) -> list[str]:
    """Return the paths that match a pattern, in order; links are not followed for it.

    Args:
        tree: Where to look.
        parts: Patterns of names; at least one.
        crossing: `**` stands for any number of directories.
    """
    found: set[str] = set()
    seen: set[tuple[str, int]] = set()
    pending = [("", 0)]
    while pending:
        above, at = step = pending.pop()
        if step in seen:
            continue
        seen.add(step)
        part, is_last = parts[at], at == len(parts) - 1
        if crossing and part == "**" and not is_last:
            pending += [(above, at + 1), *((_below(above, x), at) for x in tree.children(above))]
            continue
        paths = [_below(above, name) for name in _named(tree, above, part)]
        if is_last:
            found.update(paths)
        else:
            pending += [(path, at + 1) for path in paths]
    return sorted(found, key=lambda path: path.split("/"))


def _named(tree: SourceTree, above: str, part: str) -> list[str]:
    if not _WILDCARDS.search(part):
        return [part] if part in tree.children(above) else []
    is_match = compile_pattern(part)
    return [name for name in tree.children(above) if is_match(name)]


def _below(above: str, name: str) -> str:
    return f"{above}/{name}" if above else name


def _shown(selection: Selection) -> str:
    if not selection.is_directory:
        return f"file:{selection.entries[0].sum}"
    return "dir:" + _joined(sorted(_directory_sums(selection)))


def _directory_sums(selection: Selection) -> list[str]:
    own = [selection.sum] if selection.sum else []
    return own + [entry.sum or entry.path for entry in selection.entries]


def _joined(sums: Iterable[str]) -> str:
    return hashlib.sha256(",".join(sums).encode("utf-8", "surrogateescape")).hexdigest()
