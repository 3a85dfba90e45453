"""A Git server on loopback for repositories made by tests."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from typing import TYPE_CHECKING

from tests.support.registry import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_ENVIRONMENT = {
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}
START_DEADLINE_S = 20


class GitServer:
    """Repositories below a directory, served at `git://127.0.0.1:PORT/NAME`."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.port = port

    def commit(
        self, name: str, files: Mapping[str, bytes], *, links: Mapping[str, str] | None = None
    ) -> str:
        """Add a commit with these files to a repository; return its URL."""
        at = self.root / name
        if not at.exists():
            self.git("init", "--quiet", "--initial-branch=main", str(at))
        for path, content in files.items():
            (at / path).parent.mkdir(parents=True, exist_ok=True)
            (at / path).write_bytes(content)
        for path, target in (links or {}).items():
            (at / path).symlink_to(target)
        self.git("-C", str(at), "add", "--all", "--force")
        self.git("-C", str(at), "commit", "--quiet", "--allow-empty", "--message", "x")
        return self.url(name)

    def url(self, name: str) -> str:
        return f"git://127.0.0.1:{self.port}/{name}"

    def git(self, *arguments: str) -> str:
        """Run git; return what it printed."""
        return subprocess.run(
            ["git", *arguments],
            env={"PATH": os.environ["PATH"], **_ENVIRONMENT},
            check=True,
            capture_output=True,
            text=True,
        ).stdout


@contextlib.contextmanager
def serve(root: Path) -> Iterator[GitServer]:
    """Serve what is below `root` until the end of the block."""
    port = free_port()
    command = ["git", "daemon", "--reuseaddr", "--export-all", f"--base-path={root}"]
    command += ["--listen=127.0.0.1", f"--port={port}", str(root)]
    with subprocess.Popen(
        command, env={"PATH": os.environ["PATH"], **_ENVIRONMENT}, start_new_session=True
    ) as running:
        try:
            _wait(port)
            yield GitServer(root, port)
        finally:
            # git starts the daemon as a child of its own.
            os.killpg(running.pid, 15)
            running.wait()


def _wait(port: int) -> None:
    import time

    end = time.monotonic() + START_DEADLINE_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < end, "git daemon does not listen"
        time.sleep(0.02)
