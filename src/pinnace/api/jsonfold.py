"""JSON bodies into structs as Go's decoder reads them.

Keys match in any letter case, unknown keys are ignored, `null` leaves the default, and the words
of a command may be one string. Structs are decoded strictly otherwise.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import msgspec
from msgspec import inspect

from pinnace.api.changes.change import Json, JsonObject
from pinnace.errors import InvalidParameter

Struct = TypeVar("Struct", bound=msgspec.Struct)

# Go's strslice.StrSlice: a list of strings, or one string.
_WORD_LISTS = frozenset({"Cmd", "Entrypoint", "Shell", "CapAdd", "CapDrop"})
_MAX_DEPTH = 64
_EXPECTED = re.compile(r"Expected `([^`]*)`, got `([^`]*)`(?: - at `\$([^`]*)`)?")
_GO_TYPES = {"int": "int64", "str": "string", "array": "[]string", "object": "struct"}
_GO_VALUES = {"str": "string", "int": "number", "float": "number"}


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is known of a type.

    Attributes:
        fields: Struct fields by lower-case wire name: the wire name and the value's shape.
        items: Shape of list elements or map values.
        nullable: `null` is a value of its own.
        is_map: Keys are data.
        is_set: A map whose values say nothing (Go's `map[string]struct{}`).
        zero: What `null` becomes inside a list or map.
    """

    fields: "dict[str, tuple[str, _Shape]] | None" = None
    items: "_Shape | None" = None
    nullable: bool = False
    is_map: bool = False
    is_set: bool = False
    zero: Json = None


def decode_object(content: bytes) -> JsonObject:
    """Return the JSON object in a request body; bytes that are no UTF-8 become U+FFFD.

    Raises:
        InvalidParameter: Empty, not JSON, more than one value, or not an object.
    """
    if not content.strip():
        raise InvalidParameter("invalid JSON: got EOF while reading request body")
    try:
        value: Json = msgspec.json.decode(content.decode(errors="replace"))
    except msgspec.DecodeError as exc:
        raise InvalidParameter(f"invalid JSON: {exc}") from exc
    except RecursionError as exc:
        raise InvalidParameter("invalid JSON: nested too deeply") from exc
    if not isinstance(value, dict):
        raise InvalidParameter(
            f"invalid JSON: json: cannot unmarshal {_kind(value)} into Go value of type struct"
        )
    return value


def fold(
    body: JsonObject, target: type[msgspec.Struct], *, extra: Collection[str] = ()
) -> JsonObject:
    """Return `body` with the spelling and the nulls that `target` wants.

    Args:
        body: Any JSON object.
        target: A msgspec struct.
        extra: Further keys of the top level that are kept, for changes that read them.

    Raises:
        InvalidParameter: Nested too deeply.
    """
    shape = _shape(target)
    folded = _fold(body, shape, 0)
    if not isinstance(folded, dict):
        raise InvalidParameter("invalid JSON: not an object")
    known = {name.lower(): name for name in extra}
    for key, value in body.items():
        spelled = known.get(key.lower())
        if spelled is not None and spelled not in folded:
            folded[spelled] = value
    return folded


def convert(body: JsonObject, target: type[Struct]) -> Struct:
    """Return a folded object as a struct.

    Raises:
        InvalidParameter: A value has the wrong type; worded as Go's decoder words it.
    """
    try:
        return msgspec.convert(body, target)
    except msgspec.ValidationError as exc:
        raise InvalidParameter(f"invalid JSON: {_go_message(str(exc), target.__name__)}") from exc


def _fold(value: Json, shape: _Shape, depth: int) -> Json:
    if depth > _MAX_DEPTH:
        raise InvalidParameter("invalid JSON: nested too deeply")
    if isinstance(value, dict):
        if shape.fields is not None:
            return _fold_struct(value, shape.fields, depth)
        if shape.is_map and shape.items is not None:
            return _fold_map(value, shape, shape.items, depth)
    elif isinstance(value, list) and shape.items is not None and not shape.is_map:
        items = shape.items
        return [
            items.zero if item is None and not items.nullable else _fold(item, items, depth + 1)
            for item in value
        ]
    return value


def _fold_struct(
    value: JsonObject, fields: dict[str, tuple[str, _Shape]], depth: int
) -> JsonObject:
    folded: JsonObject = {}
    for key, item in value.items():
        known = fields.get(key.lower())
        if known is None:
            continue
        name, shape = known
        if item is None and not shape.nullable:
            continue
        if isinstance(item, str) and name in _WORD_LISTS:
            folded[name] = [item]
            continue
        folded[name] = _fold(item, shape, depth + 1)
    return folded


def _fold_map(value: JsonObject, shape: _Shape, items: _Shape, depth: int) -> JsonObject:
    if shape.is_set:
        return {key: {} if isinstance(item, dict) else item or {} for key, item in value.items()}
    return {
        key: items.zero if item is None and not items.nullable else _fold(item, items, depth + 1)
        for key, item in value.items()
    }


@cache
def _shape(target: type[msgspec.Struct]) -> _Shape:
    return _shape_of(inspect.type_info(target))


def _shape_of(info: inspect.Type) -> _Shape:
    if isinstance(info, inspect.UnionType):
        return _union_shape(info)
    if isinstance(info, inspect.StructType):
        fields = {
            field.encode_name.lower(): (field.encode_name, _shape_of(field.type))
            for field in info.fields
        }
        return _Shape(fields=fields, zero={})
    if isinstance(info, inspect.ListType):
        return _Shape(items=_shape_of(info.item_type), zero=[])
    if isinstance(info, inspect.DictType):
        items = _shape_of(info.value_type)
        is_set = items.is_map and items.items is not None and items.items.zero == ""
        return _Shape(items=items, is_map=True, is_set=is_set, zero={})
    if isinstance(info, inspect.AnyType):
        return _Shape(nullable=True)
    return _Shape(zero=_scalar_zero(info))


def _union_shape(info: inspect.UnionType) -> _Shape:
    members = [
        member
        for member in info.types
        if not isinstance(member, inspect.NoneType) and "Unset" not in type(member).__name__
    ]
    nullable = any(isinstance(member, inspect.NoneType) for member in info.types)
    if len(members) != 1:
        return _Shape(nullable=True)
    shape = _shape_of(members[0])
    return _Shape(
        fields=shape.fields,
        items=shape.items,
        nullable=nullable,
        is_map=shape.is_map,
        is_set=shape.is_set,
        zero=shape.zero,
    )


def _scalar_zero(info: inspect.Type) -> Json:
    if isinstance(info, inspect.StrType | inspect.LiteralType):
        return ""
    if isinstance(info, inspect.BoolType):
        return False
    return 0


def _go_message(message: str, name: str) -> str:
    match = _EXPECTED.fullmatch(message)
    if match is None:
        return message
    wanted = match[1].replace(" | null", "")
    path = re.sub(r"\[[^\]]*\]", "", match[3] or "")
    got = _GO_VALUES.get(match[2], match[2])
    return (
        f"json: cannot unmarshal {got} into Go struct field {name}{path} of type"
        f" {_GO_TYPES.get(wanted, wanted)}"
    )


def _kind(value: Json) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "null"
