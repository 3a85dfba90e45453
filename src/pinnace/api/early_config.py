"""A container's config as API 1.0 to 1.2 took it: what a request and an image make together.

Lists count as a whole there: a request with any environment has nothing of the image's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from pinnace.api import jsonfold
from pinnace.errors import InvalidParameter
from pinnace.model.image import ImageInspect
from pinnace.wire.early import EarlyConfig

if TYPE_CHECKING:
    from pinnace.api.changes.change import JsonObject

_WARNINGS = (
    (
        "Your kernel does not support memory limit",
        "Your kernel does not support memory limit capabilities. Limitation discarded.",
    ),
    (
        "Your kernel does not support swap limit",
        "Your kernel does not support memory swap capabilities. Limitation discarded.",
    ),
)


def image_config(image: ImageInspect) -> EarlyConfig:
    """Return the run config of an image; ports it exposes count as port specs."""
    written: JsonObject = msgspec.to_builtins(
        (image.origin.config if image.origin else None) or {}
    )
    try:
        # Foreign configs may hold anything; what is no config of the time says nothing.
        config = jsonfold.convert(jsonfold.fold(written, EarlyConfig), EarlyConfig)
    except InvalidParameter:
        config = EarlyConfig()
    if config.port_specs:
        return config
    return replace(config, port_specs=exposed_specs(image))


def exposed_specs(image: ImageInspect) -> list[str] | None:
    """Return the TCP ports an image exposes, each as a spec; None for none."""
    exposed = image.config.exposed_ports
    ports = [port.partition("/") for port in exposed or ()]
    numbers = [number for number, _, kind in ports if kind in ("", "tcp") and number.isdecimal()]
    return sorted(numbers, key=int) or None


def merged(request: EarlyConfig, image: EarlyConfig) -> EarlyConfig:
    """Return a request completed by the image's config.

    What is empty or zero is the image's; an image's true flags cannot be switched off. Volumes
    and what attaches are the request's alone.
    """
    return replace(
        request,
        hostname=request.hostname or image.hostname,
        user=request.user or image.user,
        memory=request.memory or image.memory,
        memory_swap=request.memory_swap or image.memory_swap,
        cpu_shares=request.cpu_shares or image.cpu_shares,
        port_specs=request.port_specs or image.port_specs,
        tty=request.tty or image.tty,
        open_stdin=request.open_stdin or image.open_stdin,
        stdin_once=request.stdin_once or image.stdin_once,
        env=_environment(request.env or image.env),
        cmd=request.cmd or image.cmd,
        dns=request.dns or image.dns,
    )


def early_warnings(warnings: Sequence[str]) -> list[str]:
    """Return warnings in the words of the time, which knew two."""
    return [
        told
        for warning in warnings
        for beginning, told in _WARNINGS
        if warning.startswith(beginning)
    ]


def _environment(entries: list[str] | None) -> list[str] | None:
    """A variable without a value was an empty one."""
    return [entry if "=" in entry else f"{entry}=" for entry in entries or ()] or None
