"""Progress as API 1.0 to 1.2 told it: text, or JSON objects of three keys written back to back.

Counts are bytes and whole percents; what one message of today says in status and id is one line.
"""

import re
from collections.abc import Mapping

import msgspec

from pinnace.api.changes.change import Json, JsonObject, child
from pinnace.api.changes.v1_03 import short_id

_FROM = "Pulling from "
_LAYER = re.compile(r"[0-9a-f]{12}")


class EarlyProgress:
    """Writes progress messages for one client.

    Args:
        as_text: API 1.0; else JSON.
    """

    def __init__(self, *, as_text: bool) -> None:
        self._as_text = as_text
        self._counting = False

    @property
    def content_type(self) -> str:
        """Of the stream; clients of 1.1 and 1.2 compare it to the letter."""
        return "application/vnd.docker.raw-stream" if self._as_text else "application/json"

    def encode(self, message: JsonObject) -> bytes:
        """Return a message as the client reads it; nothing for one it knows no form of."""
        if "Id" in message:  # the answer of an insert, an object also in 1.0
            return msgspec.json.encode(message)
        piece = _piece(message)
        if piece is None:
            return b""
        ended = self._counting and "progress" not in piece
        self._counting = "progress" in piece
        end = self._written({}) if ended else b""
        return end + self._written(piece)

    def _written(self, piece: Mapping[str, str]) -> bytes:
        if not self._as_text:
            return msgspec.json.encode(piece)
        if "error" in piece:
            return f"Error: {piece['error']}\r\n".encode()
        if "progress" in piece:
            return f"{piece['status']} {piece['progress']}\r".encode()
        return f"{piece.get('status', '')}\r\n".encode()


def _piece(message: JsonObject) -> dict[str, str] | None:
    """Return `status`, `progress` and `error` as far as there is something to say."""
    error = message.get("error")
    if error:
        return {"error": str(error)}
    status = message.get("status") or message.get("stream")
    if not isinstance(status, str) or not status.strip():
        return None
    detail = child(message, "progressDetail")
    if "current" in detail:
        return {"status": status, "progress": _counts(detail.get("current"), detail.get("total"))}
    return {"status": _line(status.rstrip("\r\n"), message.get("id"))}


def _counts(current: Json, total: Json) -> str:
    if not isinstance(current, int):
        return "0/? (n/a)"
    if not isinstance(total, int) or total <= 0:
        return f"{current}/? (n/a)"
    return f"{current}/{total} ({round(current * 100 / total)}%)"


def _line(status: str, layer: Json) -> str:
    if not isinstance(layer, str) or not layer:
        return short_id(status) if status.startswith("sha256:") else status
    if status.startswith(_FROM):
        return f"Pulling image ({layer}) from {status.removeprefix(_FROM)}"
    if status == "Pulling fs layer":
        return f"Pulling {layer} fs layer"
    if _LAYER.fullmatch(layer):
        return f"{layer}: {status}"
    return status
