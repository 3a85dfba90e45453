"""API 1.4."""

from pinnace.api.changes.change import Change, Json, ResponseMessage, words
from pinnace.api.versions import Version


def _list_of_processes(message: ResponseMessage) -> None:
    if not isinstance(message.body, dict):
        return
    titles = [_old_title(title) for title in words(message.body.get("Titles"))]
    rows = message.body.get("Processes")
    processes: list[Json] = [
        dict(zip(titles, row, strict=False))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, list)
    ]
    message.body = processes


def _old_title(title: str) -> str:
    return title if title == "PID" else title.capitalize()


CHANGES = (
    Change(
        version=Version(1, 4),
        operation="ContainerTop",
        reshape=_list_of_processes,
        summary="The process list has titles; older clients get objects.",
    ),
)
