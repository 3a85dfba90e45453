"""Where an image came from: what its own config says of the container it was committed from; pure.

Engines up to 1.6 kept limits, name servers and port specs in a container's config, and so in
images; what is kept here is in their form, so that configs of then and of now can be compared.
"""

from collections.abc import Mapping

import msgspec

from pinnace.model.container import Container, ContainerConfig
from pinnace.model.endpoint import PortBinding
from pinnace.model.image import ImageOrigin
from pinnace.oci.manifest import parse_image_document

_COMPARED_FLAGS = ("AttachStdout", "AttachStderr", "Tty")
_COMPARED_VALUES = ("User", "Memory", "CpuShares")
_COMPARED_LISTS = ("Cmd", "Dns", "Env")


def image_origin(config: bytes) -> ImageOrigin:
    """Return what the exact bytes of an image's config say.

    Raises:
        InvalidParameter: It is broken.
    """
    document = parse_image_document(config)
    return ImageOrigin(
        container=document.container or "",
        container_config=document.container_config,
        config=document.config,
    )


def container_fields(container: Container) -> dict[str, object]:
    """Return a container's config as images keep it, in wire names; what is empty is left out."""
    host = container.host_config
    fields: dict[str, object] = config_fields(container.config)
    fields["Memory"] = host.memory
    fields["MemorySwap"] = host.memory_swap
    fields["CpuShares"] = host.cpu_shares
    fields["Dns"] = host.dns
    fields["PortSpecs"] = port_specs(host.port_bindings or {})
    fields["VolumesFrom"] = ",".join(host.volumes_from or [])
    return {name: value for name, value in fields.items() if value}


def config_fields(config: ContainerConfig) -> dict[str, object]:
    """Return a config in wire names; what is empty is left out."""
    fields: Mapping[str, object] = msgspec.to_builtins(config)
    return {name: value for name, value in fields.items() if value}


def port_specs(bindings: Mapping[str, list[PortBinding] | None]) -> list[str]:
    """Return published TCP ports as `80` (any port of the host) or `8080:80`, sorted."""
    specs = []
    for port, bound in bindings.items():
        number, _, protocol = port.partition("/")
        if protocol not in ("", "tcp"):
            continue
        for binding in bound or [PortBinding()]:
            public = binding.host_port
            specs.append(f"{public}:{number}" if public else number)
    return sorted(specs)


def same_command(found: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    """Whether two container configs do the same, by what the build cache of 2013 compared.

    Host name, image, standard input and volumes do not count; an open standard input never
    compares equal.
    """
    if found.get("OpenStdin") or wanted.get("OpenStdin"):
        return False
    if any(bool(found.get(name)) != bool(wanted.get(name)) for name in _COMPARED_FLAGS):
        return False
    if any((found.get(name) or 0) != (wanted.get(name) or 0) for name in _COMPARED_VALUES):
        return False
    if any((found.get(name) or []) != (wanted.get(name) or []) for name in _COMPARED_LISTS):
        return False
    unlimited = [_is_negative(config.get("MemorySwap")) for config in (found, wanted)]
    ports = [_plain_specs(config.get("PortSpecs")) for config in (found, wanted)]
    return unlimited[0] == unlimited[1] and ports[0] == ports[1]


def _is_negative(value: object) -> bool:
    """Swap is without a limit; 0 and all other numbers meant twice the memory."""
    return isinstance(value, int) and value < 0


def _plain_specs(specs: object) -> list[str]:
    """Return port specs in one spelling: `:80` is `80:80`, `0:80` is `80`."""
    plain = []
    for spec in specs if isinstance(specs, list) else []:
        public, colon, private = str(spec).rpartition(":")
        public = private if colon and not public else public
        plain.append(private if public in ("", "0") else f"{public}:{private}")
    return sorted(plain)
