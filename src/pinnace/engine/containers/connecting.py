"""Connects containers with their networks when they start, and apart again when they end."""

from dataclasses import dataclass

from msgspec.structs import replace

from pinnace.engine.containers.registry import ContainerRegistry
from pinnace.engine.containers.runner import Connecting, Connection
from pinnace.engine.networks.attaching import Attaching
from pinnace.engine.networks.request import AttachRequest
from pinnace.engine.networks.service import NetworkService
from pinnace.errors import Conflict
from pinnace.model.container import Container
from pinnace.model.endpoint import EndpointSettings
from pinnace.model.network import Attachment


@dataclass(frozen=True, slots=True)
class _Joined:
    """A `runner.Connecting` with nothing to make: the network is another container's."""

    connection: Connection

    async def open(self) -> None:
        """See `runner.Connecting`."""

    async def complete(self) -> None:
        """See `runner.Connecting`."""

    async def abandon(self) -> None:
        """See `runner.Connecting`."""


@dataclass(frozen=True, slots=True)
class _Connecting:
    """A `runner.Connecting` of a container with a network of its own, or the host's."""

    connection: Connection
    _attaching: Attaching

    async def open(self) -> None:
        """See `runner.Connecting`."""
        await self._attaching.open()

    async def complete(self) -> None:
        """See `runner.Connecting`."""
        await self._attaching.complete()

    async def abandon(self) -> None:
        """See `runner.Connecting`."""
        await self._attaching.abandon()


class Connector:
    """Implements `runner.Networks` with the network service."""

    def __init__(self, networks: NetworkService, registry: ContainerRegistry) -> None:
        self._networks = networks
        self._registry = registry

    async def connect(self, container: Container) -> Connecting:
        """See `runner.Networks`.

        Raises:
            Conflict: The container whose network is to be joined does not run; a port is taken.
            Unavailable: The host cannot do it.
        """
        mode = container.host_config.network_mode
        if mode.startswith("container:"):
            return _Joined(self._joined(mode.removeprefix("container:")))
        disabled = container.config.network_disabled
        attaching = await self._networks.begin(
            AttachRequest(
                container_id=container.id,
                container_name=container.name,
                hostname=container.config.hostname,
                network="none" if disabled else mode,
                endpoint=None if disabled else container.networks.get(mode),
                bindings=container.host_config.port_bindings,
                exposed=tuple(container.config.exposed_ports or ()),
                publish_all=container.host_config.publish_all_ports,
            )
        )
        attachment = attaching.attachment
        connection = Connection(
            sandbox=attachment.sandbox_path,
            networks={} if disabled else {attachment.network: attachment.endpoint},
            ports=attachment.ports,
        )
        return _Connecting(connection, attaching)

    def _joined(self, ref: str) -> Connection:
        other = self._registry.get(ref)
        if other.state.status not in {"running", "paused"}:
            raise Conflict(f"cannot join network of a non running container: {other.id}")
        sandbox = other.sandbox
        if other.host_config.network_mode.startswith("container:"):
            sandbox = f"/proc/{other.state.pid}/ns/net"
        return Connection(sandbox=sandbox, networks={}, ports={})

    async def disconnect(self, container: Container) -> Container:
        """See `runner.Networks`."""
        attachment = self._networks.attachment_of(container.id)
        if attachment is not None:
            await self._networks.detach(attachment)
        return replace(
            container,
            networks={name: without_address(s) for name, s in container.networks.items()},
        )

    def renamed(self, container: Container) -> None:
        """See `runner.Networks`."""
        self._networks.rename(container.id, container.name)


def without_address(settings: EndpointSettings) -> EndpointSettings:
    """Return the settings of an endpoint that is not there any more: what was asked for."""
    return EndpointSettings(
        ipam_config=settings.ipam_config,
        links=settings.links,
        aliases=settings.aliases,
        driver_opts=settings.driver_opts,
        gw_priority=settings.gw_priority,
        network_id=settings.network_id,
        mac_address=_asked_mac(settings),
    )


def _asked_mac(settings: EndpointSettings) -> str:
    """The address derived from the IP goes with it; one that was asked for stays."""
    if not settings.ip_address:
        return settings.mac_address
    derived = "02:42:" + ":".join(f"{int(part):02x}" for part in settings.ip_address.split("."))
    return "" if settings.mac_address == derived else settings.mac_address


def attachment_of(container: Container) -> Attachment | None:
    """Return what a running container holds of the network, from its record (at boot)."""
    for name, endpoint in container.networks.items():
        return Attachment(
            container_id=container.id,
            container_name=container.name,
            hostname=container.config.hostname,
            network=name,
            sandbox_path=container.sandbox,
            endpoint=endpoint,
            ports=container.ports,
        )
    if container.sandbox and not container.host_config.network_mode.startswith("container:"):
        return Attachment(
            container_id=container.id,
            container_name=container.name,
            network="none",
            sandbox_path=container.sandbox,
            endpoint=EndpointSettings(),
        )
    return None
