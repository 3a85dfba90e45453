"""Platforms in query parameters: JSON, as the OCI image index writes them."""

from collections.abc import Iterable

import msgspec

from pinnace.errors import InvalidParameter
from pinnace.oci.platform import Platform


class _PlatformQuery(msgspec.Struct, frozen=True):
    """An OCI platform as the query has it."""

    os: str
    architecture: str
    variant: str = ""


def read_platforms(texts: Iterable[str]) -> list[Platform]:
    """Return the platforms of a parameter that may be given several times.

    Raises:
        InvalidParameter: One cannot be read.
    """
    read = [read_platform(text) for text in texts]
    return [platform for platform in read if platform is not None]


def read_platform(text: str) -> Platform | None:
    """Return the platform of a `platform` parameter, which is JSON; None for none.

    Raises:
        InvalidParameter: It cannot be read, or lacks what a platform must have.
    """
    if not text:
        return None
    try:
        found = msgspec.json.decode(text, type=_PlatformQuery)
    except msgspec.MsgspecError as exc:
        raise InvalidParameter(f"failed to parse platform: {exc}") from exc
    if not found.os or not found.architecture:
        raise InvalidParameter("both OS and Architecture must be provided")
    return Platform(found.os, found.architecture, found.variant)
