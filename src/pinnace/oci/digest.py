"""Content digests: `algorithm:hex` over exact bytes (OCI image-spec, descriptor.md)."""

import hashlib
import re
from typing import NewType

from pinnace.errors import InvalidParameter

Digest = NewType("Digest", str)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def parse_digest(text: str) -> Digest:
    """Return `text` as a digest.

    Raises:
        InvalidParameter: Not a sha256 or sha512 digest in lower-case hex.
    """
    if not _DIGEST.fullmatch(text):
        raise InvalidParameter(f"invalid checksum digest format: {text!r}")
    return Digest(text)


def sha256_digest(content: bytes) -> Digest:
    """Return the sha256 digest of `content`."""
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def digest_of(content: bytes, like: Digest | None = None) -> Digest:
    """Return the digest of `content` by the algorithm of another digest; sha256 for None."""
    algorithm = like.partition(":")[0] if like else "sha256"
    return Digest(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")


def digest_hex(digest: Digest) -> str:
    """Return the hex part, which names files and directories."""
    return digest.partition(":")[2]
