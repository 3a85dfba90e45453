"""API 1.7."""

from pinnace.api.changes.change import (
    Change,
    Json,
    JsonObject,
    ResponseMessage,
    objects,
    text,
    words,
)
from pinnace.api.versions import Version

_SIZES = ("Size", "VirtualSize")


def _one_entry_per_tag(message: ResponseMessage) -> None:
    entries: list[Json] = []
    for image in objects(message.body):
        facts: JsonObject = {
            "Id": text(image, "Id").removeprefix("sha256:"),
            "Created": image.get("Created", 0),
        }
        facts.update({key: image[key] for key in _SIZES if key in image})
        tags = [tag for tag in words(image.get("RepoTags")) if tag != "<none>:<none>"]
        for tag in tags:
            repository, _, label = tag.rpartition(":")
            entries.append({"Repository": repository, "Tag": label, **facts})
        if not tags:
            entries.append(facts)
    # Tagged entries come first.
    entries.sort(key=lambda entry: not (isinstance(entry, dict) and "Tag" in entry))
    message.body = entries


def _name_and_description(body: JsonObject) -> None:
    found: JsonObject = {"Name": body.get("name", ""), "Description": body.get("description", "")}
    body.clear()
    body.update(found)


CHANGES = (
    Change(
        version=Version(1, 7),
        operation="ImageList",
        reshape=_one_entry_per_tag,
        summary="One entry per image; older clients get one per tag.",
    ),
    Change(
        version=Version(1, 7),
        operation="ImageSearch",
        downgrade=_name_and_description,
        summary="Search tells stars and whether a repository is official; two fields before.",
    ),
)
