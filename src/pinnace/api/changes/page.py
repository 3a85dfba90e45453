"""The page docs/api-versions.md, rendered from the summaries; run it to write the page."""

import sys

from pinnace.api.changes import CHANGES
from pinnace.api.changes.change import EVERY_OPERATION, Change
from pinnace.api.versions import NEWEST, OLDEST, SUMMARIES

_HEAD = f"""# API versions

Pinnace serves every version of the Docker Engine API from {OLDEST.text} to {NEWEST.text}. A path
may begin with the version, as in `/v1.41/containers/json`. Without it a request on a unix socket
means the newest version; on a TCP listener it means 1.2 where 1.2 has the operation, else the
newest. The meaning can be configured per listener.

A version that is too new or too old is refused with status 400. A path that is no version prefix
(`/v1/…`, `/vlatest/…`) is unknown: status 404.

Below is what each version brought, newest first, and, as a list, what the engine does for clients
older than that version. This page is rendered from `api/versions.py` and `api/changes/`.
"""


def render() -> str:
    """Return the whole page."""
    sections = [_HEAD]
    for version, summary in sorted(SUMMARIES.items(), reverse=True):
        lines = [f"## {version.text}", "", summary]
        changes = [change for change in CHANGES if change.version == version]
        if changes:
            lines += ["", *(_line(change) for change in changes)]
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


def _line(change: Change) -> str:
    operations = ", ".join(
        "every operation" if operation == EVERY_OPERATION else f"`{operation}`"
        for operation in change.operations
    )
    return f"- {operations}: {change.summary}"


if __name__ == "__main__":
    sys.stdout.write(render())
