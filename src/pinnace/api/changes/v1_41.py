"""API 1.41."""

import json

from pinnace.api.changes.change import Change, QueryMap, RequestMessage, child, ignore_query
from pinnace.api.versions import Version
from pinnace.errors import InvalidParameter


def _refuse_capabilities(message: RequestMessage) -> None:
    if child(message.body, "HostConfig").pop("Capabilities", None):
        raise InvalidParameter("HostConfig.Capabilities is not supported: use CapAdd and CapDrop")


def _filter_by_reference(query: QueryMap) -> None:
    """Turn the old `filter=<glob>` into a reference filter."""
    globs = [value for value in query.pop("filter", []) if value]
    if not globs:
        return
    raw = (query.get("filters") or [""])[0]
    try:
        filters = json.loads(raw) if raw else {}
    except (ValueError, RecursionError):
        return  # the filter parser will say what is wrong with it
    if isinstance(filters, dict):
        filters["reference"] = globs[:1]
        query["filters"] = [json.dumps(filters)]


CHANGES = (
    Change(
        version=Version(1, 41),
        operation="ContainerCreate",
        upgrade_query=ignore_query("platform"),
        upgrade=_refuse_capabilities,
        behaviour={"host_cgroupns": True},
        summary="Platform at create; cgroup namespaces are private, also with cgroup v1.",
    ),
    Change(
        version=Version(1, 41),
        operation="ContainerStats",
        upgrade_query=ignore_query("one-shot"),
        summary="One-shot stats; from older clients the parameter is ignored.",
    ),
    Change(
        version=Version(1, 41),
        operation="ImageList",
        upgrade_query=_filter_by_reference,
        summary="The parameter filter is gone; from older clients it filters by reference.",
    ),
)
