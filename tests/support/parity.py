"""Runs the same shell scripts against two engines and makes what they print comparable.

A script sees `docker` with `DOCKER_HOST` set, an empty directory of its own as working directory,
and `$PORT`, a host port which only this engine uses.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.engine import Engine

DEADLINE_S = 110.0
KEPT_NETWORKS = frozenset(("bridge", "host", "none"))

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
_AGE = r"(?:Less than a second|About an? (?:minute|hour)|\d+ (?:second|minute|hour|day|year)s?)"
# Applied in order; what differs between two runs of one engine becomes a word.
RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r"\bsha256:[0-9a-f]{64}\b", "<digest>"),
        (r"\b[0-9a-f]{64}\b", "<id>"),
        (r"\b[0-9a-f]{12}\b", "<short id>"),
        (_TIME, "<time>"),
        (r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? [+-]\d{4} \w+", "<time>"),
        (r"\b10\.21[12]\.0\.\d+\b", "<address>"),
        (r"\b02:42(?::[0-9a-f]{2}){4}\b", "<mac>"),
        (rf"\b{_AGE} ago\b", "<age> ago"),
        (rf"\bUp {_AGE}\b", "Up <age>"),
        (r"\b20\d\d-\d\d-\d\d\b", "<date>"),
        (r"\b\d\d:\d\d:\d\d\b", "<clock>"),
        (r" {3,}", "   "),
        # Newer Docker begins its messages in lower case, and says which runtime and step failed.
        (r"failed to create task for container: ", ""),
        (r"failed to set up container networking: ", ""),
        (r"\b(?:runc|crun) create failed", "<runtime> create failed"),
    )
)
_BEGINNING = re.compile(r"(response from daemon: |container: web: )([A-Z])")
# The CLI's own log lines race with the answer that ends the command.
_CLI_LOG = re.compile(r'^time="[^"]*" level=error .*\n', re.MULTILINE)
# Behind an error: a blank line and "Run …", in older versions a full stop and "See …".
_HINT = re.compile(r"\n\nRun '[^']+' for more information$|^See '[^']+'\.\n", re.MULTILINE)
_STOP = re.compile(r"^(docker: .*)\.$", re.MULTILINE)
# We publish on IPv4 alone.
_SIX = re.compile(r"^(?:\d+/\w+ -> )?(?:\[::\]|::):.*\n| (?:\[::\]|::):[^,\n]*,", re.MULTILINE)
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)


def _clean(text: str) -> str:
    """Take out what depends on the version of the CLI, and IPv6 addresses of ports."""
    for pattern in (_CLI_LOG, _HINT, _SIX):
        text = pattern.sub("", text)
    return _STOP.sub(r"\1", text)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A few command lines which both engines run.

    Attributes:
        name: Unique; the id of the test.
        script: Text for `sh`.
        differs: Why our result is not the one of dockerd 20.10; "" when both must be equal.
        ours: Our transcript then, normalised.
    """

    name: str
    script: str
    differs: str = ""
    ours: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """An engine, where its scripts run, and the port they may publish."""

    engine: Engine
    scratch: Path
    port: int

    def transcript(self, scenario: Scenario) -> str:
        """Run a scenario and return its output, errors and exit code, normalised."""
        place = self.scratch / scenario.name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.engine.root),
            "DOCKER_CONFIG": str(self.engine.root / "docker-config"),
            "DOCKER_HOST": self.engine.host,
            "PORT": str(self.port),
            "LC_ALL": "C",
        }
        done = subprocess.run(
            ["sh", "-c", scenario.script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=place,
            env=environment,
            timeout=DEADLINE_S,
            check=False,
        )
        out, err = (self.normalise(part, place) for part in (done.stdout, done.stderr))
        shutil.rmtree(place, ignore_errors=True)
        return f"{out}--- errors\n{err}--- exit {done.returncode}\n"

    def normalise(self, output: bytes, place: Path) -> str:
        """Replace ids, times, addresses and this engine's own paths by words."""
        text = output.decode(errors="replace")
        for path, word in ((place, "<place>"), (self.engine.root, "<root>")):
            text = text.replace(str(path), word)
        text = re.sub(rf"\b{self.port}\b", "<port>", text)
        for pattern, word in RULES:
            text = pattern.sub(word, text)
        text = _BEGINNING.sub(lambda found: found[1] + found[2].lower(), text)
        return _clean(_TRAILING.sub("", text))

    def clear(self) -> None:
        """Remove the containers, networks and volumes that a scenario left."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            request = self.engine.request
            for one in request("GET", "/containers/json", query={"all": "1"}).json():
                query = {"force": "1", "v": "1"}
                request("DELETE", f"/containers/{one['Id']}", query=query)
            for one in request("GET", "/volumes").json()["Volumes"] or ():
                request("DELETE", f"/volumes/{one['Name']}")
            for one in request("GET", "/networks").json():
                if one["Name"] not in KEPT_NETWORKS:
                    request("DELETE", f"/networks/{one['Id']}")
