"""Builds as clients of API 1.0 to 1.2 sent them: a form of context and Dockerfile."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.remote import Remote, Reply

BOUNDARY = "8c6ff1e2ac"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
FULL_ID = "[0-9a-f]{64}"


def part(name: str, content: bytes, *, filename: str | None = None) -> bytes:
    """Return one part of a form; an empty file name leaves it out."""
    named = f'; filename="{filename or name}"' if filename != "" else ""
    head = f'Content-Disposition: form-data; name="{name}"{named}\r\n'
    kind = "Content-Type: application/octet-stream\r\n"
    return f"--{BOUNDARY}\r\n{head}{kind}\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """Return a form."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def build(
    api: Remote,
    dockerfile: str | None = None,
    context: bytes | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    **query: str,
) -> Reply:
    """Send a build as the client of the time did: context first."""
    if body is None:
        parts = [part("Context", context, filename="dir.tar.bz2")] if context is not None else []
        parts += [part("Dockerfile", dockerfile.encode())] if dockerfile is not None else []
        body = form(*parts)
    fields = {"Content-Type": MULTIPART, **(headers or {})}
    return api.post("/build", body, query=query, headers=fields)


def image_of(reply: Reply) -> str:
    """Return the id that a good build ends with."""
    assert reply.status == 200, reply.sent
    assert "Build successful.\n" in reply.text, reply.text
    return reply.text.splitlines()[-1].removeprefix("===> ")


def error_of(reply: Reply) -> str:
    """Return how a failed build ends."""
    assert reply.status == 200, reply.sent
    assert "Build successful" not in reply.text
    return reply.text.splitlines()[-1].removeprefix("Error build: ")
