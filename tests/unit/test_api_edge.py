"""Small parts of the edge: errors, frames, progress, owned tasks."""

import asyncio
import logging

import pytest

from pinnace.api.cors import cors_fields
from pinnace.api.errors import PageNotFound, error_body, remote_status_of, status_of
from pinnace.api.http.failures import BodyTooLarge
from pinnace.api.owned import OwnedTasks
from pinnace.api.remote import remote_failure
from pinnace.api.streams import frames, negotiate_lines, stream_type
from pinnace.errors import (
    AmbiguousPrefix,
    Conflict,
    ContainerNotFound,
    Forbidden,
    ImageNotFound,
    Internal,
    InvalidParameter,
    NotModified,
    NotSupported,
    RuntimeFailure,
    StartFailed,
    Unauthorized,
    Unavailable,
)


@pytest.mark.parametrize(
    ("error", "status", "remote"),
    [
        (InvalidParameter("bad"), 400, 500),
        (InvalidParameter("Bad parameter"), 400, 400),
        (BodyTooLarge(5), 413, 413),
        (Unauthorized("who"), 401, 500),
        (Forbidden("no"), 403, 500),
        (ContainerNotFound("x"), 404, 404),
        (PageNotFound(), 404, 404),
        (Conflict("Conflict. The name"), 409, 409),
        (Conflict("in use"), 409, 500),
        (NotModified(""), 304, 500),
        (NotSupported("later"), 501, 501),
        (Unavailable("gone"), 503, 500),
        (Internal("bug"), 500, 500),
        (RuntimeFailure("crun"), 500, 500),
        (StartFailed("not found"), 400, 500),
    ],
)
def test_kinds_have_statuses(error, status, remote):
    assert status_of(error) == status
    assert remote_status_of(error) == remote


def test_error_bodies():
    assert error_body('a "b"', as_json=True) == (
        b'{"message":"a \\"b\\""}\n',
        "application/json",
    )
    assert error_body("a\n", as_json=False) == (b"a\n", "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("operation", "error", "status", "text"),
    [
        ("ContainerStart", AmbiguousPrefix("web"), 404, "No such container: web"),
        ("ContainerCreate", InvalidParameter("no command specified"), 500, "No command specified"),
        (
            "ContainerStart",
            Conflict("driver failed: Bind for 0.0.0.0:80 failed: port is already allocated"),
            500,
            "Error starting container web: Port already in use: 80",
        ),
        ("ContainerStop", NotModified(""), 204, ""),
        ("ContainerStart", Conflict("x"), 500, "Error starting container web: x"),
        ("ContainerKill", Internal("x"), 500, "Error restarting container web: x"),
        ("ContainerStart", ContainerNotFound("web"), 404, "No such container: web"),
        ("ImageTag", ImageNotFound("web"), 404, "Image does not exist: web"),
        ("ImageInspect", ImageNotFound("web"), 404, "No such image: web"),
    ],
)
def test_failures_of_2013(operation, error, status, text):
    assert remote_failure(operation, "web", error) == (status, text)


def test_frames_are_split_at_a_mebibyte():
    assert frames(2, b"err") == b"\2\0\0\0\0\0\0\3err"
    big = frames(1, b"x" * ((1 << 20) + 1))
    assert big[:8] == b"\1\0\0\0\0\x10\0\0"
    assert big[-9:] == b"\1\0\0\0\0\0\0\1x"


def test_stream_types():
    assert stream_type(framed=True, multiplexed=True).endswith("multiplexed-stream")
    for framed, multiplexed in ((True, False), (False, True), (False, False)):
        assert stream_type(framed=framed, multiplexed=multiplexed).endswith("raw-stream")


def test_lines_without_a_wish_are_jsonl():
    assert negotiate_lines(None).content_type == "application/jsonl"
    assert negotiate_lines("text/html, application/json-seq").before == b"\x1e"


def test_cors_fields_of_2013_know_no_registry_credentials():
    fields = [
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Headers", "X-Registry-Auth"),
    ]
    assert cors_fields(fields, remote=False) == fields
    assert dict(cors_fields(fields, remote=True)) == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Headers": "Origin, X-Requested-With, Content-Type, Accept",
    }


async def test_owned_work_outlives_its_caller_and_its_failure_is_told(caplog):
    owned, release = OwnedTasks(), asyncio.Event()

    async def work() -> None:
        await release.wait()
        raise ZeroDivisionError

    caller = asyncio.ensure_future(owned.run(work(), "work"))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await owned.drain(0) == 1
    release.set()
    with caplog.at_level(logging.ERROR):
        assert await owned.drain(5) == 0
        await asyncio.sleep(0)
    assert "abandoned request failed" in caplog.text


async def test_owned_work_returns_its_result_or_its_failure():
    owned = OwnedTasks()

    async def work() -> int:
        return 5

    async def fail() -> int:
        raise Conflict("no")

    assert await owned.run(work(), "work") == 5
    with pytest.raises(Conflict):
        await owned.run(fail(), "fail")
