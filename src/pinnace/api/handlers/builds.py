"""Handlers of builds."""

from collections.abc import Mapping
from contextlib import aclosing
from typing import TypeVar

import msgspec

from pinnace.api.call import Answer, Call
from pinnace.api.credentials import CONFIG_HEADER, config_credentials
from pinnace.api.handlers.sending import send_progress
from pinnace.api.query import Query
from pinnace.contracts.registry import Credentials
from pinnace.engine.builds.params import BuildParams
from pinnace.engine.filters import parse_filters
from pinnace.errors import InvalidParameter, NotSupported
from pinnace.model.build import StepLimits
from pinnace.model.container import Ulimit
from pinnace.wire.images import BuildPruneReport

T = TypeVar("T")

_CLASSIC, _BUILDKIT = "1", "2"


async def build(call: Call) -> Answer | None:
    """`POST /build`."""
    header = call.exchange.request.headers.get(CONFIG_HEADER)
    params = build_params(call.query, config_credentials(header))
    messages = call.engine.builds.build(params, aiter(call.exchange.body))
    async with aclosing(messages):
        await send_progress(call, messages)
    return None


async def prune(call: Call) -> Answer:
    """`POST /build/prune`."""
    query = call.query
    await call.discard_body()
    keep_bytes = max(
        query.integer(name, 0) for name in ("keep-storage", "reserved-space", "max-used-space")
    )
    work = call.engine.builds.prune(
        parse_filters(query.optional("filters")),
        everything=query.flag("all"),
        keep_bytes=keep_bytes,
    )
    pruned = await call.mutate(work, "prune build cache")
    report = BuildPruneReport(caches_deleted=pruned.ids or None, space_reclaimed=pruned.reclaimed)
    return Answer(report)


def build_params(query: Query, credentials: Mapping[str, Credentials]) -> BuildParams:
    """Return the parameters of a build.

    Raises:
        InvalidParameter: One cannot be meant.
        NotSupported: It asks for what this builder does not do.
    """
    _check_supported(query)
    return BuildParams(
        dockerfile=query.text("dockerfile"),
        tags=tuple(tag for tag in query.all("t") if tag),
        remote=query.text("remote"),
        quiet=query.flag("q"),
        no_cache=query.flag("nocache"),
        pull=query.flag("pull"),
        remove=query.flag("rm", default=True),
        force_remove=query.flag("forcerm"),
        build_args=_json(query, "buildargs", dict[str, str | None], {}, "build args"),
        labels=_json(query, "labels", dict[str, str], {}),
        target=query.text("target"),
        cache_from=tuple(_json(query, "cachefrom", list[str], [])),
        platform=query.text("platform").lower(),
        credentials=credentials,
        limits=step_limits(query),
    )


def step_limits(query: Query) -> StepLimits:
    """Return what the containers of steps get.

    Raises:
        InvalidParameter: A value cannot be meant.
    """
    return StepLimits(
        network_mode=query.text("networkmode"),
        extra_hosts=tuple(host for given in query.all("extrahosts") for host in given.split(",")),
        shm_size=query.integer("shmsize", 0),
        memory=query.integer("memory", 0),
        memory_swap=query.integer("memswap", 0),
        cpu_shares=query.integer("cpushares", 0),
        cpu_period=query.integer("cpuperiod", 0),
        cpu_quota=query.integer("cpuquota", 0),
        cpuset_cpus=query.text("cpusetcpus"),
        cpuset_mems=query.text("cpusetmems"),
        cgroup_parent=query.text("cgroupparent"),
        ulimits=tuple(_json(query, "ulimits", list[Ulimit], [])),
        security_opt=tuple(_json(query, "securityopt", list[str], [])),
    )


def _check_supported(query: Query) -> None:
    version = query.text("version", _CLASSIC) or _CLASSIC
    if version == _BUILDKIT:
        raise NotSupported(
            "BuildKit is not supported by this engine: use the classic builder (DOCKER_BUILDKIT=0)"
        )
    if version != _CLASSIC:
        raise InvalidParameter(f"invalid version {version}")
    if query.flag("squash"):
        raise NotSupported("squashing is not supported by this engine")
    if query.text("outputs") not in ("", "null", "[]"):
        raise NotSupported("outputs other than an image need BuildKit, which this engine lacks")
    if query.text("isolation") not in ("", "default"):
        raise InvalidParameter(f"Unsupported isolation: {query.text('isolation')!r}")


def _json(query: Query, name: str, kind: type[T], default: T, shown: str = "") -> T:
    text = query.text(name)
    if text in ("", "null"):
        return default
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeError) as exc:
        raise InvalidParameter(f"error reading {shown or name}: {exc}") from exc
