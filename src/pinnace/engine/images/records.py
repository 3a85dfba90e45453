"""From the bytes of an image config to the engine's record; pure."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from pinnace.errors import InvalidParameter
from pinnace.model.container import ContainerConfig
from pinnace.model.image import HistoryEntry, ImageLayer, ImageRecord
from pinnace.model.record import ImageId
from pinnace.oci.descriptor import Descriptor
from pinnace.oci.digest import sha256_digest
from pinnace.oci.manifest import History, ImageDocument, parse_image_document

_SETS = ("ExposedPorts", "Volumes")  # JSON objects that stand for sets; null values count


def image_record(
    config: bytes, layers: Sequence[ImageLayer], *, manifest: Descriptor | None = None
) -> ImageRecord:
    """Return the record of the image whose config is `config`.

    Raises:
        InvalidParameter: The config is broken, or lists other layers.
    """
    document = parse_image_document(config)
    if list(document.diff_ids()) != [layer.diff_id for layer in layers]:
        raise InvalidParameter("invalid image config: its layers are not those of the image")
    return ImageRecord(
        id=ImageId(sha256_digest(config)),
        created=document.created or "",
        created_ns=parse_time(document.created),
        layers=list(layers),
        config=container_config(document.config),
        history=_history(document),
        architecture=document.architecture,
        os=document.os or "linux",
        os_version=document.os_version or "",
        variant=document.variant or "",
        author=document.author or "",
        comment=document.comment or "",
        docker_version=document.docker_version or "",
        manifest=manifest,
    )


def container_config(fields: dict[str, object] | None) -> ContainerConfig:
    """Return the container defaults of an image config.

    Raises:
        InvalidParameter: A field has the wrong type.
    """
    cleaned = {key: value for key, value in (fields or {}).items() if value is not None}
    for key in _SETS:
        names = cleaned.get(key)
        if isinstance(names, dict):
            cleaned[key] = {name: {} for name in names}
    health = cleaned.get("Healthcheck")
    if isinstance(health, dict):
        cleaned["Healthcheck"] = {key: value for key, value in health.items() if value is not None}
    try:
        return msgspec.convert(cleaned, ContainerConfig)
    except msgspec.ValidationError as exc:
        raise InvalidParameter(f"invalid image config: {exc}") from exc


def parse_time(text: str | None) -> int:
    """Return the Unix nanoseconds of an RFC 3339 time; 0 when there is none or it is broken."""
    if not text:
        return 0
    try:
        moment = msgspec.convert(text, datetime, strict=False)
    except msgspec.ValidationError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = int(moment.replace(microsecond=0).timestamp())
    return seconds * 1_000_000_000 + _nanoseconds(text)


def format_time(ns: int) -> str:
    """Return Unix nanoseconds as RFC 3339 in UTC, as Go writes it (no trailing zeros)."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def _nanoseconds(text: str) -> int:
    _, dot, rest = text.partition(".")
    digits = ""
    for letter in rest if dot else "":
        if not letter.isdigit():
            break
        digits += letter
    return int((digits + "000000000")[:9])


def _history(document: ImageDocument) -> list[HistoryEntry]:
    entries = []
    layer = -1
    for step in document.history or []:
        if not step.empty_layer:
            layer += 1
        entries.append(_entry(step, layer))
    return entries


def _entry(step: History, layer: int) -> HistoryEntry:
    return HistoryEntry(
        created_ns=parse_time(step.created),
        created_by=step.created_by or "",
        comment=step.comment or "",
        layer=-1 if step.empty_layer else layer,
    )
