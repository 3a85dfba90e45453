"""Image archives of 2013: `repositories`, and one directory per layer with `json` and `layer.tar`.

Such layers have random ids and no digests, so the image config is made here, from what the `json`
files say. The same archive gives the same image id every time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from pinnace.contracts.content import ReceivedArchive
from pinnace.errors import InvalidParameter
from pinnace.oci.digest import Digest
from pinnace.oci.manifest import MAX_LAYERS
from pinnace.oci.reference import Reference, target_reference

T = TypeVar("T")


class LegacyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The `json` of one layer: an image config of that time."""

    id: str
    parent: str | None = None
    created: str | None = None
    author: str | None = None
    comment: str | None = None
    architecture: str | None = None
    os: str | None = None
    docker_version: str | None = None
    container: str | None = None
    config: dict[str, object] | None = None
    container_config: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class LegacyImage:
    """One image of the archive.

    Attributes:
        steps: From the lowest layer up.
        tags: Its names.
    """

    steps: list[LegacyDocument]
    tags: list[Reference]

    def layer_names(self) -> list[str]:
        """Return where the layers are in the archive, lowest first."""
        return [f"{step.id}/layer.tar" for step in self.steps]

    def config(self, diff_ids: list[Digest]) -> bytes:
        """Return the config of the image, now that its layers are known."""
        top = self.steps[-1]
        fields: dict[str, object] = {
            "architecture": top.architecture or "amd64",
            "author": top.author,
            "comment": top.comment,
            "config": top.config,
            "container": top.container,
            "container_config": top.container_config,
            "created": top.created,
            "docker_version": top.docker_version,
            "history": [_history(step) for step in self.steps],
            "os": top.os or "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        return msgspec.json.encode({key: value for key, value in fields.items() if value})


def legacy_images(archive: ReceivedArchive, read: Callable[[str], bytes]) -> Iterator[LegacyImage]:
    """Yield the images of an archive.

    Args:
        archive: Where they are.
        read: Returns a small file of it.

    Raises:
        InvalidParameter: The archive contradicts itself.
    """
    repositories = _decode(read("repositories"), dict[str, dict[str, str]])
    tags: dict[str, list[Reference]] = {}
    for repository, named in repositories.items():
        for tag, layer in named.items():
            reference = target_reference(repository, tag)
            tags.setdefault(layer, []).extend([reference] if reference else [])
    for layer, names in tags.items():
        yield LegacyImage(_steps(archive, read, layer), names)


def _steps(
    archive: ReceivedArchive, read: Callable[[str], bytes], top: str
) -> list[LegacyDocument]:
    steps: list[LegacyDocument] = []
    wanted: str | None = top
    while wanted:
        if len(steps) >= MAX_LAYERS:
            raise InvalidParameter("max depth exceeded")
        name = f"{wanted}/json"
        if not archive.has(name):
            raise InvalidParameter(f"open {name}: no such file in the archive")
        step = _decode(read(name), LegacyDocument)
        if step.id != wanted:
            raise InvalidParameter(f"invalid archive: {name} is of another layer")
        steps.append(step)
        wanted = step.parent
    return steps[::-1]


def _history(step: LegacyDocument) -> dict[str, object]:
    command = (step.container_config or {}).get("Cmd")
    words = [str(word) for word in command] if isinstance(command, list) else []
    fields = {
        "created": step.created,
        "created_by": " ".join(words),
        "author": step.author,
        "comment": step.comment,
    }
    return {key: value for key, value in fields.items() if value}


def _decode(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidParameter(f"invalid archive: {exc}") from exc
