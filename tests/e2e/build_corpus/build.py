"""Builds a case with an engine, over the API as a classic client does, and looks at the result."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import posixpath
import re
import tarfile
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from tests.e2e.build_corpus.model import MTIME_S, Case, File, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.engine import Engine

BASE = "busybox:latest"
TAG = "corpus:case"

_FULL_ID = re.compile(r"\b(sha256:)?[0-9a-f]{64}\b")
_SHORT_ID = re.compile(r"\b[0-9a-f]{12}\b")
_IGNORED_CONFIG = ("Image", "Hostname", "ArgsEscaped")
_BASES: dict[Path, dict[str, str]] = {}
_KINDS = {tarfile.DIRTYPE: "d", tarfile.SYMTYPE: "l", tarfile.REGTYPE: "f", tarfile.LNKTYPE: "f"}


def context_of(case: Case) -> bytes:
    """Return the tar that a client sends for a case."""
    files: dict[str, File | str | bytes] = {"Dockerfile": case.dockerfile, **case.files}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in files.items():
            file = content if isinstance(content, File) else File(content)
            archive.addfile(*_member(path, file))
    return out.getvalue()


def _member(path: str, file: File) -> tuple[tarfile.TarInfo, io.BytesIO]:
    data = file.data.encode() if isinstance(file.data, str) else file.data
    info = tarfile.TarInfo(path)
    info.mode, info.uid, info.gid, info.mtime = file.mode, file.uid, file.gid, MTIME_S
    if file.is_directory:
        info.type, info.mode = tarfile.DIRTYPE, file.mode | (file.mode & 0o444) >> 2
    elif file.link:
        info.type, info.linkname = tarfile.SYMTYPE, file.link
    elif file.hard_link:
        info.type, info.linkname = tarfile.LNKTYPE, file.hard_link
    else:
        info.size = len(data)
    return info, io.BytesIO(data if info.isreg() else b"")


def build(engine: Engine, case: Case, *, keep: bool = False) -> Outcome:
    """Build a case, look at its image, and remove what was tagged unless it shall be kept."""
    for tag, text in case.bases.items():
        base = Case(name=tag, dockerfile=text, files=case.files)
        made = _post(engine, base, tag)
        assert not made.error, f"base {tag} of {case.name}: {made.error}"
    outcome = _post(engine, case, TAG)
    outcome.error = outcome.error.replace(str(engine.root), "<root>")
    if not outcome.error:
        _inspect(engine, outcome)
    for tag in () if keep else (TAG, *case.bases):
        engine.request("DELETE", f"/images/{quote(tag, safe='')}", query={"force": "1"})
    return outcome


def _post(engine: Engine, case: Case, tag: str) -> Outcome:
    query = urlencode({"t": tag, "rm": "1", "forcerm": "1", "nocache": "1", **case.query})
    answer = engine.request(
        "POST",
        f"/v1.41/build?{query}",
        context_of(case),
        headers={"Content-Type": "application/x-tar"},
        timeout=120,
    )
    if answer.status != 200:
        return Outcome(status=answer.status, error=_plain(answer.json()["message"]))
    messages = [json.loads(line) for line in answer.body.splitlines() if line.strip()]
    outcome = Outcome(output=_plain("".join(message.get("stream", "") for message in messages)))
    for message in messages:
        if "errorDetail" in message:
            outcome.error = _plain(message["errorDetail"]["message"])
            outcome.code = message["errorDetail"].get("code", 0)
    return outcome


def _plain(text: str) -> str:
    return _SHORT_ID.sub("<id>", _FULL_ID.sub("<id>", text))


def inspect_image(engine: Engine, tag: str) -> Outcome:
    """Return what an image is, as an outcome."""
    outcome = Outcome()
    _inspect(engine, outcome, tag)
    return outcome


def _inspect(engine: Engine, outcome: Outcome, tag: str = TAG) -> None:
    document, tree = _image(engine, tag)
    base = _base_tree(engine)
    outcome.author = document.get("author", "")
    outcome.config = {
        key: value
        for key, value in (document.get("config") or {}).items()
        if value and key not in _IGNORED_CONFIG
    }
    outcome.history = [
        ("- " if step.get("empty_layer") else "+ ") + _plain(step.get("created_by", ""))
        for step in document.get("history", ())
    ]
    outcome.tree = sorted(set(tree.values()) - set(base.values()))
    if "bin/busybox" in tree:
        outcome.tree += [f"- {path}" for path in sorted(base.keys() - tree.keys())]


def _base_tree(engine: Engine) -> dict[str, str]:
    if engine.root not in _BASES:
        _BASES[engine.root] = _image(engine, BASE)[1]
    return _BASES[engine.root]


def _image(engine: Engine, tag: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return an image's document, and a line for each path of its root filesystem."""
    saved = engine.request("GET", f"/images/{quote(tag, safe='')}/get", timeout=120)
    if saved.status != 200:
        # dockerd 20.10 does not save images without layers.
        return _described(engine, tag), {}
    with tarfile.open(fileobj=io.BytesIO(saved.body)) as archive:

        def read(name: str) -> bytes:
            member = archive.getmember(name)
            if member.issym():
                directory = name.rpartition("/")[0]
                member = archive.getmember(posixpath.normpath(f"{directory}/{member.linkname}"))
            found = archive.extractfile(member)
            assert found is not None
            return found.read()

        manifest = json.loads(read("manifest.json"))[0]
        tree: dict[str, str] = {}
        for layer in manifest["Layers"]:
            _apply(tree, read(layer))
        return json.loads(read(manifest["Config"])), tree


def _described(engine: Engine, tag: str) -> dict[str, Any]:
    path = f"/images/{quote(tag, safe='')}"
    image = engine.request("GET", f"{path}/json").json()
    steps = engine.request("GET", f"{path}/history").json()
    return {
        "author": image["Author"],
        "config": image["Config"],
        "history": [
            {"created_by": step["CreatedBy"], "empty_layer": True} for step in steps[::-1]
        ],
    }


@functools.lru_cache(maxsize=64)
def _members(layer: bytes) -> tuple[tuple[str, str], ...]:
    """Return the paths of a layer with their lines, in order."""
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        paths = ((info, info.name.removeprefix("./").strip("/")) for info in archive)
        return tuple((path, _line(archive, info, path)) for info, path in paths if path)


def _apply(tree: dict[str, str], layer: bytes) -> None:
    """Put a layer on top of a tree, whiteouts first."""
    members = _members(layer)
    for path, _ in members:
        parent, _, name = path.rpartition("/")
        if name == ".wh..wh..opq":
            _remove_below(tree, f"{parent}/")
        elif name.startswith(".wh."):
            gone = f"{parent}/{name[4:]}".lstrip("/")
            tree.pop(gone, None)
            _remove_below(tree, f"{gone}/")
    for path, line in members:
        if not path.rpartition("/")[2].startswith(".wh."):
            tree[path] = line


def _remove_below(tree: dict[str, str], prefix: str) -> None:
    for path in [path for path in tree if path.startswith(prefix)]:
        del tree[path]


def _line(archive: tarfile.TarFile, info: tarfile.TarInfo, path: str) -> str:
    kind = _KINDS.get(info.type, info.type.decode())
    line = f"{path} {kind} {info.mode & 0o7777:o} {info.uid}:{info.gid}"
    if info.issym():
        return f"{path} {kind} -> {info.linkname}"
    if info.isdir():
        return line
    if info.islnk():
        info = archive.getmember(info.linkname)
        if info.issym():
            return f"{path} l -> {info.linkname}"
    data = archive.extractfile(info)
    content = data.read() if data else b""
    digest = hashlib.sha256(content).hexdigest()[:8]
    shown = repr(content.decode("latin-1")) if len(content) <= 24 else f"{len(content)} {digest}"
    kept = " kept" if info.mtime == MTIME_S else ""
    return f"{line} {shown}{kept}"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return what a recording holds of an outcome: its members that are not empty."""
    return {key: value for key, value in dataclasses.asdict(outcome).items() if value}


def lines_of(outcome: Outcome) -> Iterator[str]:
    """Yield an outcome as lines, for messages."""
    yield from json.dumps(as_json(outcome), indent=1).splitlines()
