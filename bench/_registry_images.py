"""Images for the measurements of pull and push, made from this host's own files."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SOURCES = ("/usr/lib", "/usr/share", "/usr/bin", "/usr/local", "/opt")
_SMALL = 64 << 10
_RUNS = 40  # of neighbouring files
_LEVEL = 6  # what Docker and most builders use


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer on disk: its tar's digest, and the gzip file of it."""

    diff_id: str
    path: Path
    tar_size: int


def host_files() -> list[tuple[Path, int]]:
    """Return regular files of this host with their sizes, in a fixed order."""
    found = []
    for source in SOURCES:
        for directory, names, files in os.walk(source):
            names.sort()
            for name in sorted(files):
                path = Path(directory, name)
                if not path.is_symlink() and path.is_file():
                    found.append((path, path.stat().st_size))
    return found


def mixed_layers(root: Path, *, layers: int, files: int, size: int) -> list[Layer]:
    """Write gzip layers of so many files and bytes in all: many small files, a few large.

    Neighbouring files stay in one layer, as packages bring them.
    """
    runs = _runs(files)
    left = size - sum(length for run in runs for _, length in run)
    for path, length in host_files():
        if _SMALL < length <= min(left, 8 << 20):
            runs.append([(path, length)])
            left -= length
    shares: list[list[Path]] = [[] for _ in range(layers)]
    for number, run in enumerate(runs):
        shares[number % layers] += [path for path, _ in run]
    names = [root / f"{number}.tar.gz" for number in range(layers)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_write, names, shares))


def _runs(files: int) -> list[list[tuple[Path, int]]]:
    """Return runs of neighbouring files with so many small files in all."""
    small = [(path, length) for path, length in host_files() if 0 < length <= _SMALL]
    step = len(small) // _RUNS
    return [small[start : start + files // _RUNS] for start in range(0, step * _RUNS, step)]


def small_layers(root: Path, count: int, *, first: int = 0) -> list[Layer]:
    """Write layers of one small file each."""
    made = []
    for number in range(first, first + count):
        content = hashlib.sha256(str(number).encode()).digest() * 64
        made.append(_write(root / f"small{number}.tar.gz", [(f"f{number}", content)]))
    return made


def large_layer(root: Path, size: int) -> Layer:
    """Write one layer of so many bytes, compressed fast."""
    paths, left = [], size
    for path, length in host_files():
        if length > _SMALL and left > 0:
            paths.append(path)
            left -= length
    return _write(root / "large.tar.gz", paths, level=1)


def _write(path: Path, members: Sequence[Path | tuple[str, bytes]], level: int = _LEVEL) -> Layer:
    with path.open("wb") as file:
        target = _Gzip(file, level)
        with tarfile.open(fileobj=target, mode="w|", bufsize=1 << 20) as tar:
            known: set[Path] = set()
            for member in members:
                if isinstance(member, Path):
                    for above in reversed([*member.parents][:-1]):
                        if above not in known:
                            known.add(above)
                            _add(tar, above)
                    _add(tar, member)
                else:
                    info = tarfile.TarInfo(member[0])
                    info.size = len(member[1])
                    tar.addfile(info, io.BytesIO(member[1]))
        target.finish()
    return Layer(target.digest(), path, target.size)


def _add(tar: tarfile.TarFile, path: Path) -> None:
    """Add a path with a time of whole seconds, as builders write it."""
    member = tar.gettarinfo(path, str(path).lstrip("/"))
    member.mtime = int(member.mtime)
    if member.isreg():
        with path.open("rb") as content:
            tar.addfile(member, content)
    else:
        tar.addfile(member)


class _Gzip:
    """Hashes and compresses what is written to it."""

    def __init__(self, file: io.BufferedWriter, level: int) -> None:
        self._file = file
        self._engine = zlib.compressobj(level, zlib.DEFLATED, 31)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self._file.write(self._engine.compress(data))
        self.size += len(data)
        return len(data)

    def finish(self) -> None:
        self._file.write(self._engine.flush())

    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def docker_archive(path: Path, name: str, layers: Sequence[Layer]) -> int:
    """Write what `docker load` takes, of uncompressed layers; return its size in bytes."""
    import gzip
    import json

    config = config_of(layers)
    entries = [f"{number}/layer.tar" for number in range(len(layers))]
    listed = [{"Config": "config.json", "RepoTags": [name], "Layers": entries}]
    with tarfile.open(path, "w") as archive:
        for entry, content in (
            ("config.json", config),
            ("manifest.json", json.dumps(listed).encode()),
        ):
            info = tarfile.TarInfo(entry)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for entry, layer in zip(entries, layers, strict=True):
            info = tarfile.TarInfo(entry)
            info.size = layer.tar_size
            with gzip.open(layer.path) as plain:
                archive.addfile(info, plain)
    return path.stat().st_size


def config_of(layers: Sequence[Layer]) -> bytes:
    """Return an image config of the layers."""
    import json

    document = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "amd64"),
        "os": "linux",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    return json.dumps(document).encode()


def chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes."""
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            yield data
