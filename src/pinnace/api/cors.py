"""Cross-origin fields as the version of the client knows them."""

from collections.abc import Sequence

_REMOTE = {
    "Access-Control-Allow-Headers": "Origin, X-Requested-With, Content-Type, Accept",
    "Access-Control-Allow-Methods": "GET, POST, DELETE, PUT, OPTIONS",
}


def cors_fields(fields: Sequence[tuple[str, str]], *, remote: bool) -> Sequence[tuple[str, str]]:
    """Return the fields that the access policy gave for a request.

    Args:
        fields: What the policy of the listener allows; none without a configured origin.
        remote: Word them as API 1.0 to 1.2 did, which sent no registry credentials in headers.
    """
    if not remote or not fields:
        return fields
    return [(name, _REMOTE.get(name, value)) for name, value in fields]
