"""Cache keys; pure.

A key is a digest of everything that the result of a vertex depends on: the image below it by its
id, which covers all layers and the whole config, or for `scratch` the platform; the operation with
the digests of all content it reads; the config of the result; what history will say. Nothing is
taken from anything else that happens to look alike (the class of CVE-2024-24557).
"""

import hashlib

import msgspec

from pinnace.engine.builds.graph import Vertex

_FORM = 1  # to be counted up when the meaning of keys changes


def cache_key(vertex: Vertex) -> str:
    """Return the key of a vertex, 64 hex digits."""
    operation = None if vertex.operation is None else vertex.operation.identity()
    parent = vertex.parent
    covered: tuple[object, ...] = (
        _FORM,
        ("image", parent.id) if parent.record else ("scratch",),
        parent.platform.text(),
        operation,
        vertex.config,
        vertex.created_by,
        vertex.author,
        vertex.created_ns,
    )
    if vertex.comment or vertex.further or vertex.container_config is not None:
        covered += (vertex.comment, vertex.further, vertex.container_config)
    return hashlib.sha256(msgspec.json.encode(covered, enc_hook=_sortable)).hexdigest()


def _sortable(value: object) -> object:
    raise TypeError(f"not part of a cache key: {type(value)}")
