"""Chain ids: the identity of a stack of layers (OCI image-spec, config.md, "Layer ChainID")."""

from collections.abc import Iterable
from typing import NewType

from pinnace.oci.digest import Digest, sha256_digest

ChainId = NewType("ChainId", str)  # "sha256:<hex>"


def chain_id(parent: ChainId | None, diff_id: Digest) -> ChainId:
    """Return the chain id of `diff_id` on top of the stack `parent`; None is the empty stack."""
    if parent is None:
        return ChainId(diff_id)
    return ChainId(sha256_digest(f"{parent} {diff_id}".encode()))


def chain_ids(diff_ids: Iterable[Digest]) -> list[ChainId]:
    """Return the chain id of every prefix of the stack, lowest layer first."""
    chains: list[ChainId] = []
    parent: ChainId | None = None
    for diff_id in diff_ids:
        parent = chain_id(parent, diff_id)
        chains.append(parent)
    return chains
