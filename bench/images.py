"""Save and load of an image of about 330 MB, made from files of this host.

python bench/images.py [runs]
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench._pair import Client, Engine, both, compare, paired, report, runs_from_arguments
from tests.support.engine import UnixConnection

if TYPE_CHECKING:
    import http.client

SIZE = 332 * 10**6
LAYERS = 3
SOURCES = ("/usr/lib", "/usr/share", "/usr/bin", "/opt", "/usr/local")
CHUNK = 1 << 20


def host_files():
    """Yield regular files of the host."""
    for source in SOURCES:
        for directory, names, files in os.walk(source):
            names.sort()
            for name in sorted(files):
                path = Path(directory, name)
                if path.is_file() and not path.is_symlink():
                    yield path


def build(path: Path) -> int:
    """Write a docker-archive of an image `big:1` and return its size in bytes."""
    files = host_files()
    layers = [write_layer(path.parent / f"layer{n}.tar", files) for n in range(LAYERS)]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["true"]},
        "rootfs": {"type": "layers", "diff_ids": [digest for _, digest in layers]},
    }
    names = [layer.name for layer, _ in layers]
    manifest = [{"Config": "config.json", "RepoTags": ["big:1"], "Layers": names}]
    with tarfile.open(path, "w") as archive:
        for name, value in (("config.json", config), ("manifest.json", manifest)):
            data = json.dumps(value).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for layer, _ in layers:
            archive.add(layer, layer.name)
            layer.unlink()
    return path.stat().st_size


def write_layer(path: Path, files) -> tuple[Path, str]:
    """Write host files up to a layer's share of bytes; return path and digest."""
    left = SIZE // LAYERS
    with tarfile.open(path, "w") as layer:
        for file in files:
            size = file.stat().st_size
            if size > SIZE // 10:
                continue
            layer.add(file, str(file).lstrip("/"), recursive=False)
            left -= size
            if left <= 0:
                break
    with path.open("rb") as whole:
        return path, "sha256:" + hashlib.file_digest(whole, "sha256").hexdigest()


def load(engine: Engine, client: Client, archive: Path) -> float:
    """Return the seconds of a load; the image is removed before."""
    client("DELETE", "/images/big:1?force=1", also=404)
    os.sync()
    connection = UnixConnection(engine.socket, 600)
    started = time.perf_counter()
    with archive.open("rb") as file:
        connection.putrequest("POST", "/images/load?quiet=1")
        connection.putheader("Content-Type", "application/x-tar")
        connection.putheader("Content-Length", str(archive.stat().st_size))
        connection.endheaders()
        while data := file.read(CHUNK):
            connection.sock.sendall(data)
    response = connection.getresponse()
    answer = response.read()
    seconds = time.perf_counter() - started
    connection.close()
    assert response.status == 200, answer
    assert b"errorDetail" not in answer, answer
    return seconds


def save(engine: Engine, expected: int) -> float:
    """Return the seconds of a save to nowhere."""
    connection = UnixConnection(engine.socket, 600)
    started = time.perf_counter()
    connection.request("GET", "/images/big:1/get")
    response: http.client.HTTPResponse = connection.getresponse()
    buffer, total = bytearray(CHUNK), 0
    while count := response.readinto(buffer):
        total += count
    seconds = time.perf_counter() - started
    connection.close()
    assert response.status == 200
    assert total > expected * 0.9, (total, expected)
    return seconds


def main() -> None:
    runs = runs_from_arguments(10)
    with both() as engines:
        archive = engines["pinnace"].root / "big.tar"
        size = build(archive)
        loads = {name: partial(load, e, Client(e), archive) for name, e in engines.items()}
        loaded = paired(loads, runs)
        saves = {name: partial(save, e, size) for name, e in engines.items()}
        saved = paired(saves, runs)
    megabytes = size // 10**6
    report(
        "images",
        [
            compare(f"load of {megabytes} MB", "s", loaded, target=0.4),
            compare(f"save of {megabytes} MB", "s", saved, target=0.4),
        ],
    )


if __name__ == "__main__":
    main()
