"""`RUN --mount`: its fields, their defaults and what goes with what.

Reference: "RUN --mount" of the Dockerfile reference.
"""

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from pinnace.engine.builds.instructions import CacheSharing, Mount, MountType
from pinnace.errors import InvalidParameter

Expander = Callable[[str], str]

_TYPES: tuple[MountType, ...] = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARINGS: tuple[CacheSharing, ...] = ("shared", "private", "locked")
_TRUTHS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_VARIABLE = re.compile(r"\$.")
_OWNED = ("secret", "ssh", "cache")


def check_mount(text: str) -> None:
    """Check what can be known of a `--mount` before its variables are.

    Raises:
        InvalidParameter: Not comma separated values, or `from` with a variable.
    """
    for key, value in _fields(text):
        if key == "from" and value is not None and _VARIABLE.search(value):
            raise InvalidParameter(
                "'from' doesn't support variable expansion, define alias stage instead"
            )


def parse_mount(text: str, expand: Expander) -> Mount:
    """Return the mount that `text`, the flag's value, asks for.

    Args:
        text: Comma separated `key=value`, quoted as in CSV.
        expand: Puts in variables; applied to each value.

    Raises:
        InvalidParameter: An unknown field or type, a malformed value, or fields that exclude
            each other.
    """
    mount = Mount(type="bind")
    given: set[str] = set()
    for key, value in _fields(text):
        name = _ALIASES.get(key, key)
        if value is None:
            mount = _switched(mount, name, f"{key}")
        else:
            mount = _assigned(mount, name, expand(value), field=f"{key}={value}")
        given.add("readonly" if name in ("rw", "readwrite") else name)
    return _checked(mount, given)


def _fields(text: str) -> list[tuple[str, str | None]]:
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as exc:
        raise InvalidParameter(f"failed to parse csv mounts: {exc}") from exc
    fields = []
    for field in rows[0] if rows else []:
        key, equals, value = field.partition("=")
        fields.append((key.lower(), value if equals else None))
    return fields


def _switched(mount: Mount, name: str, field: str) -> Mount:
    if name == "readonly":
        return replace(mount, read_only=True)
    if name in ("rw", "readwrite"):
        return replace(mount, read_only=False)
    if name == "required":
        return _required(mount, "true")
    raise InvalidParameter(f"invalid field '{field}' must be a key=value pair")


def _assigned(mount: Mount, name: str, value: str, *, field: str) -> Mount:
    assign = _FIELDS.get(name)
    if assign is None:
        raise InvalidParameter(f"unexpected key '{name}' in '{field}'")
    return assign(mount, value)


def _type(mount: Mount, value: str) -> Mount:
    for kind in _TYPES:
        if kind == value.lower():
            return replace(mount, type=kind)
    raise InvalidParameter(f'unsupported mount type "{value}"')


def _sharing(mount: Mount, value: str) -> Mount:
    for sharing in _SHARINGS:
        if sharing == value.lower():
            return replace(mount, sharing=sharing)
    raise InvalidParameter(f'unsupported sharing value "{value}"')


def _required(mount: Mount, value: str) -> Mount:
    if mount.type not in ("secret", "ssh"):
        raise InvalidParameter(f"unexpected key 'required' for mount type '{mount.type}'")
    return replace(mount, required=_truth("required", value))


def _size(mount: Mount, value: str) -> Mount:
    if mount.type != "tmpfs":
        raise InvalidParameter(f"unexpected key 'size' for mount type '{mount.type}'")
    match = _SIZE.fullmatch(value)
    if not match or len(value) > 20:
        raise InvalidParameter(f"invalid value for size: {value}")
    power = "_kmgtp".index(match[2].lower() or "_")
    return replace(mount, size_bytes=int(float(match[1]) * 1024**power))


def _mode(mount: Mount, value: str) -> Mount:
    if not re.fullmatch(r"[0-7]{1,10}", value):
        raise InvalidParameter(f"invalid value {value} for mode")
    return replace(mount, mode=int(value, 8))


def _truth(name: str, value: str) -> bool:
    if value not in _TRUTHS:
        raise InvalidParameter(f"invalid value for {name}: {value}")
    return _TRUTHS[value]


def _number(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", value) or int(value) >= 2**32:
        raise InvalidParameter(f"invalid value {value} for {name}")
    return int(value)


_FIELDS: Mapping[str, Callable[[Mount, str], Mount]] = {
    "type": _type,
    "from": lambda mount, value: replace(mount, from_=value),
    "source": lambda mount, value: replace(mount, source=value),
    "target": lambda mount, value: replace(mount, target=value),
    "readonly": lambda mount, value: replace(mount, read_only=_truth("readonly", value)),
    "rw": lambda mount, value: replace(mount, read_only=not _truth("rw", value)),
    "readwrite": lambda mount, value: replace(mount, read_only=not _truth("readwrite", value)),
    "required": _required,
    "size": _size,
    "id": lambda mount, value: replace(mount, id=value),
    "env": lambda mount, value: replace(mount, env=value),
    "sharing": _sharing,
    "mode": _mode,
    "uid": lambda mount, value: replace(mount, uid=_number("uid", value)),
    "gid": lambda mount, value: replace(mount, gid=_number("gid", value)),
}


def _checked(mount: Mount, given: set[str]) -> Mount:
    for key in ("mode", "uid", "gid"):
        if key in given and mount.type not in _OWNED:
            raise InvalidParameter(f'{key} not allowed for "{mount.type}" type mounts')
    if "readonly" not in given:
        mount = replace(mount, read_only=mount.type not in ("cache", "tmpfs"))
    if "sharing" in given and mount.type != "cache":
        raise InvalidParameter(f"invalid cache sharing set for {mount.type} mount")
    if "env" in given and mount.type != "secret":
        raise InvalidParameter(f"unexpected key 'env' for mount type '{mount.type}'")
    if mount.type == "secret":
        return _checked_secret(mount)
    if mount.type == "ssh":
        return mount
    if not mount.target:
        raise InvalidParameter("mount target is required")
    if mount.type == "cache" and not mount.id:
        return replace(mount, id=mount.target)
    return mount


def _checked_secret(mount: Mount) -> Mount:
    if mount.from_:
        raise InvalidParameter("secret mount should not have a from")
    if not (mount.source or mount.target or mount.id):
        raise InvalidParameter("invalid secret mount. one of source, target required")
    if mount.source and mount.id:
        raise InvalidParameter("both source and id can't be set")
    usual = mount.target.rstrip("/").rpartition("/")[2]
    return replace(mount, id=mount.id or mount.source or usual)
