"""Records what dockerd's classic builder makes of the corpus.

    python -m tests.e2e.build_corpus.record [NAME…]

Starts a dockerd of its own; with names, only those cases are recorded again.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.e2e.build_corpus.build import as_json, build
from tests.e2e.build_corpus.cases import RECORDED
from tests.support import dockerd
from tests.support.images import busybox_archive

GOLDEN = Path(__file__).with_name("golden.json")


def main(names: list[str]) -> None:
    """Build the cases and write the recording."""
    recorded = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    known = {case.name for case in RECORDED}
    recorded = {name: outcome for name, outcome in recorded.items() if name in known}
    with (
        tempfile.TemporaryDirectory(prefix="corpus") as root,
        dockerd.start(Path(root), bridge="pnt25", subnet="10.226.0.1/24") as docker,
    ):
        docker.load(busybox_archive())
        for case in RECORDED:
            if not names or case.name in names:
                recorded[case.name] = as_json(build(docker, case))
                print(case.name, recorded[case.name].get("error", "ok"))
    text = json.dumps(recorded, indent=1, sort_keys=True, ensure_ascii=False)
    GOLDEN.write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
