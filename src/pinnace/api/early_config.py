"""What a create request of API 1.0 to 1.2 is completed with, and warned of."""

from collections.abc import Sequence

from msgspec.structs import replace

from pinnace.model.early import EarlyConfig, read_config
from pinnace.model.image import ImageInspect

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
    config = read_config(image.origin.config if image.origin else None)
    if config.port_specs:
        return config
    return replace(config, port_specs=exposed_specs(image))


def exposed_specs(image: ImageInspect) -> list[str] | None:
    """Return the TCP ports an image exposes, each as a spec; None for none."""
    exposed = image.config.exposed_ports
    ports = [port.partition("/") for port in exposed or ()]
    numbers = [number for number, _, kind in ports if kind in ("", "tcp") and number.isdecimal()]
    return sorted(numbers, key=int) or None


def early_warnings(warnings: Sequence[str]) -> list[str]:
    """Return warnings in the words of the time, which knew two."""
    return [
        told
        for warning in warnings
        for beginning, told in _WARNINGS
        if warning.startswith(beginning)
    ]
