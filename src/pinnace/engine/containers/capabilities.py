"""Capabilities: names, the default set, and what `CapAdd` and `CapDrop` make of it. Pure."""

from collections.abc import Collection, Sequence

from pinnace.errors import InvalidParameter
from pinnace.oci.capability import ALL

_GIVEN = """
CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE
SYS_CHROOT KILL AUDIT_WRITE
"""
DEFAULT = tuple(f"CAP_{name}" for name in _GIVEN.split())

_EVERY = "ALL"


def normalise(names: Sequence[str], available: Collection[str]) -> list[str]:
    """Return capability names in upper case with their prefix; `ALL` stays `ALL`.

    Args:
        names: As the user wrote them, any letter case, with or without `CAP_`.
        available: What the daemon may hand on.

    Raises:
        InvalidParameter: A name does not exist, or the host does not have the capability.
    """
    result = []
    for given in names:
        name = given.upper()
        if name != _EVERY and not name.startswith("CAP_"):
            name = f"CAP_{name}"
        if name not in (_EVERY, *ALL):
            raise InvalidParameter(f'unknown capability: "{name}"')
        if name != _EVERY and name not in available:
            raise InvalidParameter(
                "capability not supported by your kernel or not available in the current "
                f'environment: "{name}"'
            )
        result.append(name)
    return result


def effective(
    add: Sequence[str], drop: Sequence[str], *, privileged: bool, available: Collection[str]
) -> list[str]:
    """Return the capabilities of a container's processes, in the order of their numbers.

    What the daemon itself lacks is left out of the sets that were not named one by one.

    Raises:
        InvalidParameter: `add` or `drop` names something unknown.
    """
    plus = _normalise_as("CapAdd", add, available)
    minus = _normalise_as("CapDrop", drop, ALL)
    if privileged:
        return [name for name in ALL if name in available]
    if _EVERY in plus:
        chosen = set(ALL).intersection(available) - set(minus)
    elif _EVERY in minus:
        chosen = set(plus)
    else:
        chosen = (set(DEFAULT).intersection(available) - set(minus)) | set(plus)
    return [name for name in ALL if name in chosen]


def _normalise_as(option: str, names: Sequence[str], available: Collection[str]) -> list[str]:
    try:
        return normalise(names, available)
    except InvalidParameter as error:
        raise InvalidParameter(f"invalid {option}: {error.message}") from error
