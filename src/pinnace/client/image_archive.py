"""Builds small one-layer images as docker-archive tars, with the same bytes every time.

What `docker save` wrote before it also wrote OCI layouts: `manifest.json`, a config named by
its digest, and plain layer tars. Every engine loads it.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# Any fixed moment would do; 1970 would make every listing say "56 years ago".
CREATED = "2026-01-01T00:00:00Z"
CREATED_UNIX = 1767225600

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of a layer.

    Attributes:
        path: Relative to the root of the image, without a leading slash.
        kind: tarfile type: `tarfile.REGTYPE`, `DIRTYPE`, `SYMTYPE`, `LNKTYPE`, …
        mode: Permission bits.
        data: Content of a regular file.
        target: Of a symbolic link its text; of a hard link the path of an earlier entry.
        owner: User and group id.
    """

    path: str
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644
    data: bytes = b""
    target: str = ""
    owner: tuple[int, int] = (0, 0)


def directory(path: str, mode: int = 0o755, *, owner: tuple[int, int] = (0, 0)) -> Entry:
    """Describe a directory."""
    return Entry(path, tarfile.DIRTYPE, mode, owner=owner)


def symlink(path: str, target: str) -> Entry:
    """Describe a symbolic link."""
    return Entry(path, tarfile.SYMTYPE, 0o777, target=target)


def hard_link(path: str, target: str, mode: int = 0o755) -> Entry:
    """Describe a hard link to an earlier entry."""
    return Entry(path, tarfile.LNKTYPE, mode, target=target)


def pack_layer(entries: Iterable[Entry]) -> bytes:
    """Return the plain layer tar which holds the entries in their order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.type, info.mode, info.linkname = entry.kind, entry.mode, entry.target
            info.uid, info.gid = entry.owner
            info.mtime, info.size = CREATED_UNIX, len(entry.data)
            tar.addfile(info, io.BytesIO(entry.data))
    return out.getvalue()


def build_archive(
    tags: Sequence[str],
    layers: Sequence[bytes],
    *,
    architecture: str,
    config: Mapping[str, object],
    created_by: str = "pinnace",
) -> bytes:
    """Return a docker-archive tar with one image.

    Args:
        tags: References the archive gives the image, each with its tag.
        layers: Plain layer tars, lowest first.
        architecture: As OCI names it: "amd64", "arm64", ….
        config: The `config` object of the image: `Cmd`, `Env`, ….
        created_by: Text of each history item.
    """
    diff_ids = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    document = {
        "architecture": architecture,
        "config": dict(config),
        "created": CREATED,
        "history": [{"created": CREATED, "created_by": created_by} for _ in layers],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    encoded = _json(document)
    config_name = hashlib.sha256(encoded).hexdigest() + ".json"
    names = [f"{diff_id[7:]}/layer.tar" for diff_id in diff_ids]
    manifest = [{"Config": config_name, "RepoTags": list(tags), "Layers": names}]
    members = dict(zip(names, layers, strict=True))
    members[config_name] = encoded
    members["manifest.json"] = _json(manifest)
    return pack_layer(Entry(name, data=data) for name, data in members.items())


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
