"""The networks `bridge`, `host` and `none`, and containers on them."""

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from ipaddress import IPv4Address, IPv4Interface
from typing import Protocol

from msgspec.structs import replace

from pinnace.contracts.netstack import BridgeSpec, EndpointSpec, NetStack, Published
from pinnace.engine.filters import Filters
from pinnace.engine.networks import publish
from pinnace.engine.networks.attaching import (
    Attaching,
    address_of,
    explained,
    is_bridged,
    published,
    undoing,
)
from pinnace.engine.networks.ipam import AddressInUse, AddressPool, choose_gateway
from pinnace.engine.networks.predefined import (
    BRIDGE,
    HOST,
    NetworkConfig,
    inspect_record,
    predefined_networks,
    selects,
)
from pinnace.engine.networks.request import (
    AttachRequest,
    check_request,
    choose_mac,
    derived_mac,
    wanted_address,
)
from pinnace.errors import (
    Forbidden,
    Internal,
    NetworkNotFound,
    NotSupported,
    PinnaceError,
    Unavailable,
)
from pinnace.model.endpoint import EndpointSettings
from pinnace.model.network import Attachment, Network, NetworkInspect
from pinnace.model.record import ContainerId

log = logging.getLogger(__name__)

_INTERFACE = "eth0"
_LINK_DIGITS = 9
_USER_NETWORKS = "user-defined networks are not supported yet: only bridge, host and none exist"


class PublishEvent(Protocol):
    """Puts an event into the log; never blocks."""

    def __call__(
        self, type_: str, action: str, actor_id: str, attributes: Mapping[str, str], /
    ) -> None:
        """Publish one event."""
        ...


class NetworkService:
    """Networks by name and id, and who is on them.

    Callers hold the container's lock; attaching different containers at once is fine.

    Args:
        stack: Where it happens.
        config: Settings of the default networks.
        token: Makes 64 random hex digits.
        publish_event: Told of containers that come and go; None: nobody is.
    """

    def __init__(
        self,
        stack: NetStack,
        config: NetworkConfig,
        *,
        token: Callable[[], str] = lambda: secrets.token_hex(32),
        publish_event: PublishEvent | None = None,
    ) -> None:
        self._stack = stack
        self._config = config
        self._token = token
        self._publish_event = publish_event
        self._attachments: dict[ContainerId, Attachment] = {}
        self._networks: dict[str, Network] = {}
        self._pool: AddressPool | None = None
        self._has_bridge = False  # made; whoever removed it since is noticed by the stack
        # Had another hardware address than the derived one at some time: neighbours may know it.
        self._redirected: set[IPv4Address] = set()

    async def setup(self, attachments: Iterable[Attachment] = ()) -> Sequence[str]:
        """Choose the default bridge's subnet, take running containers back, remove leftovers.

        Nothing is made before a container needs it. The subnet is the configured one, or the one
        that running containers use, or the existing bridge's, or the first that the host does not
        route.

        Args:
            attachments: Of every container that still runs.

        Returns:
            What was repaired, one sentence each.
        """
        adopted = list(attachments)
        gateway = await self._choose_gateway(adopted)
        self._networks = predefined_networks(self._config, gateway)
        bridge = self._networks[BRIDGE]
        self._pool = AddressPool(gateway, network=f"{bridge.name} ({bridge.id})")
        return await self.adopt(adopted)

    async def adopt(self, attachments: Iterable[Attachment]) -> Sequence[str]:
        """Take the attachments of running containers back; remove everything else of ours.

        A port that somebody else has taken in the meantime is logged and left to them.

        Returns:
            What was repaired, one sentence each.
        """
        trouble: list[str] = []
        for attachment in attachments:
            self._attachments[attachment.container_id] = attachment
            if is_bridged(attachment):
                trouble += await self._take_back(attachment)
        return [*trouble, *await self.repair()]

    async def repair(self) -> Sequence[str]:
        """Make the host agree with the attachments known; say what was done.

        Where packet rules cannot be changed, that is said; containers on the bridge cannot start
        then, others can.
        """
        try:
            done = await self._repair()
        except Unavailable as exc:
            log.error("bridge networks do not work: %s", exc.message)  # noqa: TRY400
            return []
        for sentence in done:
            log.warning("network repaired: %s", sentence)
        return done

    async def _repair(self) -> Sequence[str]:
        self._has_bridge = False
        if self._bridged():
            await self._ensure_bridge()
        sandboxes = [a.sandbox_id for a in self._attachments.values() if a.sandbox_path]
        ports = [port for a in self._bridged() for port in published(a)]
        done = await self._stack.repair(sandboxes, ports)
        if not self._bridged():
            await self._stack.remove_bridge(self._config.bridge_name)
        return done

    async def close(self) -> None:
        """Remove the bridge and its rules if no container is on it; others go on running."""
        if self._bridged():
            return
        try:
            await self._stack.remove_bridge(self._config.bridge_name)
        except Unavailable as exc:
            log.error("the bridge stays: %s", exc.message)  # noqa: TRY400

    async def warnings(self) -> Sequence[str]:
        """Say what on this host stands in the way of containers' traffic."""
        try:
            return await self._stack.warnings()
        except Unavailable as exc:
            return [f"bridge networks do not work: {exc.message}"]

    async def attach(self, request: AttachRequest) -> Attachment:
        """Give a container its network, up and with its ports published.

        Nothing remains after a failure.

        Raises:
            PinnaceError: As `begin`, or the host refused.
        """
        attaching = await self.begin(request)
        try:
            await attaching.open()
            await attaching.complete()
        except BaseException:
            await attaching.abandon()
            raise
        return attaching.attachment

    async def begin(self, request: AttachRequest) -> Attaching:
        """Claim a container's address and ports; the rest is up to the caller.

        Nothing remains after a failure.

        Raises:
            NetworkNotFound: No such network.
            InvalidParameter: A port or an address cannot be read, or is not for this network.
            Forbidden: The address asked for is somebody's.
            Internal: A host port is taken, no address is left, or the host refused; Docker's text.
        """
        network = self.get(request.network)
        check_request(request, network.name, addressed=network.name == BRIDGE)
        if network.name == BRIDGE:
            return await self._begin_on_bridge(request, network)
        path = "" if network.name == HOST else self._stack.sandbox_path(self._token())
        return Attaching(
            request,
            self._placed(request, network, sandbox_path=path),
            stack=self._stack,
            endpoints=(),
            ports=(),
            undo=AsyncExitStack(),
            completed=self._completed,
        )

    async def detach(self, attachment: Attachment) -> None:
        """Take a container's network away. Idempotent; every step is tried.

        Raises:
            PinnaceError: The last step that failed; the sandbox may remain until `repair`.
        """
        known = self._attachments.get(attachment.container_id)
        if known is None or known.endpoint.endpoint_id != attachment.endpoint.endpoint_id:
            return  # detached before: its address and ports may be somebody else's by now
        ports = published(attachment)
        async with AsyncExitStack() as steps:
            steps.callback(self._tell, "disconnect", attachment)
            steps.callback(self._forget, attachment)
            steps.push_async_callback(publish.release, self._stack, ports)
            if attachment.sandbox_path:
                steps.push_async_callback(self._stack.remove_sandbox, attachment.sandbox_id)
            steps.push_async_callback(self._stack.unpublish, ports)

    def attachment_of(self, container_id: ContainerId) -> Attachment | None:
        """Return what a running container holds; None: it is on no network."""
        return self._attachments.get(container_id)

    def rename(self, container_id: ContainerId, name: str) -> None:
        """Show a running container under its new name."""
        known = self._attachments.get(container_id)
        if known is not None:
            self._attachments[container_id] = replace(known, container_name=name)

    def get(self, ref: str) -> Network:
        """Find a network by name, id or id prefix; "" and `default` mean bridge.

        Raises:
            NetworkNotFound: None is, or several are, meant.
        """
        if ref in {"", "default"}:
            ref = BRIDGE
        if ref in self._networks:
            return self._networks[ref]
        found = [network for network in self._networks.values() if network.id.startswith(ref)]
        if len(found) != 1:
            raise NetworkNotFound(ref)
        return found[0]

    async def list(self, filters: Filters | None = None) -> Sequence[Network]:
        """List the networks that the filters select.

        Raises:
            InvalidParameter: An unknown filter.
        """
        wanted = filters or Filters()
        return [network for network in self._networks.values() if selects(wanted, network)]

    async def inspect(self, ref: str, *, verbose: bool = False) -> NetworkInspect:
        """Show a network and the containers on it.

        Args:
            ref: Name, id or id prefix.
            verbose: Services of a swarm, of which there are none.

        Raises:
            NetworkNotFound: No such network.
        """
        del verbose
        network = self.get(ref)
        members = [a for a in self._attachments.values() if a.network == network.name]
        return inspect_record(network, members, self._pool if network.name == BRIDGE else None)

    async def create(self, name: str) -> str:
        """Refuse to create a network.

        Raises:
            Forbidden: The name is a predefined network's.
            NotSupported: Always otherwise.
        """
        if name in {*self._networks, "default"}:
            raise Forbidden(f"operation is not permitted on predefined {name} network ")
        raise NotSupported(_USER_NETWORKS)

    async def remove(self, ref: str) -> None:
        """Refuse to remove a network.

        Raises:
            NetworkNotFound: No such network.
            Forbidden: Always otherwise: all are predefined.
        """
        network = self.get(ref)
        raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")

    async def connect(self, ref: str, container: str) -> None:
        """Refuse to connect a container.

        Raises:
            NetworkNotFound: No such network.
            Forbidden: The host's network.
            NotSupported: Always otherwise.
        """
        if self.get(ref).name == HOST:
            raise Forbidden(
                "cannot connect container to host network - container must be created in host "
                "network mode"
            )
        raise NotSupported(f"cannot connect container {container}: {_USER_NETWORKS}")

    async def disconnect(self, ref: str, container: str) -> None:
        """Refuse to disconnect a container.

        Raises:
            NetworkNotFound: No such network.
            Forbidden: The host's network.
            NotSupported: Always otherwise.
        """
        if self.get(ref).name == HOST:
            raise Forbidden(
                "cannot disconnect container from host network - container was created in host "
                "network mode"
            )
        raise NotSupported(f"cannot disconnect container {container}: {_USER_NETWORKS}")

    async def prune(self) -> Sequence[str]:
        """Remove unused user-defined networks, of which there are none; return their names."""
        return []

    async def _choose_gateway(self, adopted: Sequence[Attachment]) -> IPv4Interface:
        if self._config.bip is not None:
            return self._config.bip
        for attachment in adopted:
            if is_bridged(attachment):
                endpoint = attachment.endpoint
                return IPv4Interface(f"{endpoint.gateway}/{endpoint.ip_prefix_len}")
        existing = await self._stack.bridge_address(self._config.bridge_name)
        return existing or choose_gateway(await self._stack.routes())

    async def _take_back(self, attachment: Attachment) -> Sequence[str]:
        trouble: list[str] = []
        self._may_be_remembered(address_of(attachment), attachment.endpoint.mac_address)
        try:
            self._addresses().allocate(address_of(attachment))
        except PinnaceError as exc:
            trouble.append(f"{attachment.endpoint.ip_address}: {exc.message}")
        for port in published(attachment):
            try:
                await self._stack.reserve(port.proto, port.host_ip, port.host_port)
            except PinnaceError as exc:
                trouble.append(f"container {attachment.container_name}: {exc.message}")
        for sentence in trouble:
            log.warning("network of a running container: %s", sentence)
        return trouble

    async def _begin_on_bridge(self, request: AttachRequest, network: Network) -> Attaching:
        wanted = publish.wanted_ports(
            request.bindings,
            request.exposed,
            publish_all=request.publish_all,
            default_ip=self._config.default_binding,
        )
        asked = wanted_address(request)
        endpoint_id, stack = self._token(), self._stack
        async with AsyncExitStack() as undo:
            with explained(request, endpoint_id):
                address = self._allocate(asked)
                undo.callback(self._addresses().release, address)
                mac = choose_mac(request, address)
                self._may_be_remembered(address, mac)
                await self._ensure_bridge()
                ports = await publish.claim(stack, wanted, address)
                undo.push_async_callback(undoing, partial(publish.release, stack, ports))
            return Attaching(
                request,
                self._addressed(request, network, endpoint_id, address, mac, ports),
                stack=stack,
                endpoints=[self._endpoint_spec(endpoint_id, address, mac)],
                ports=ports,
                undo=undo.pop_all(),
                completed=self._completed,
            )

    def _addressed(
        self,
        request: AttachRequest,
        network: Network,
        endpoint_id: str,
        address: IPv4Address,
        mac: str,
        ports: Sequence[Published],
    ) -> Attachment:
        placed = self._placed(
            request,
            network,
            sandbox_path=self._stack.sandbox_path(self._token()),
            endpoint_id=endpoint_id,
        )
        return replace(
            placed,
            endpoint=replace(
                placed.endpoint,
                gateway=str(self._addresses().gateway.ip),
                ip_address=str(address),
                ip_prefix_len=self._addresses().subnet.prefixlen,
                mac_address=mac,
            ),
            ports=publish.port_map(ports, request.exposed),
        )

    def _completed(self, attachment: Attachment) -> None:
        self._attachments[attachment.container_id] = attachment
        self._tell("connect", attachment)

    async def _ensure_bridge(self) -> None:
        if not self._has_bridge:
            await self._stack.ensure_bridge(self._bridge_spec())
            self._has_bridge = True

    def _allocate(self, asked: IPv4Address | None) -> IPv4Address:
        """Give out an address; a refusal names the container that has it."""
        try:
            return self._addresses().allocate(asked)
        except AddressInUse:
            owners = (a for a in self._bridged() if a.endpoint.ip_address == str(asked))
            owner = next(owners, None)
            holder = f"container {owner.container_name}" if owner else "reserved by the network"
            raise AddressInUse(f"{asked}: {holder}") from None

    def _placed(
        self, request: AttachRequest, network: Network, *, sandbox_path: str, endpoint_id: str = ""
    ) -> Attachment:
        return Attachment(
            container_id=request.container_id,
            container_name=request.container_name,
            hostname=request.hostname,
            network=network.name,
            sandbox_path=sandbox_path,
            endpoint=replace(
                request.endpoint or EndpointSettings(),
                network_id=network.id,
                endpoint_id=endpoint_id or self._token(),
            ),
        )

    def _endpoint_spec(self, endpoint_id: str, address: IPv4Address, mac: str) -> EndpointSpec:
        bridge = self._bridge_spec()
        return EndpointSpec(
            bridge=bridge.name,
            host_link=f"pn{endpoint_id[:_LINK_DIGITS]}",
            name=_INTERFACE,
            address=IPv4Interface((address, bridge.gateway.network.prefixlen)),
            gateway=bridge.gateway.ip,
            mac=mac,
            mtu=bridge.mtu,
            isolated=not bridge.icc,
            announced=address in self._redirected,
        )

    def _may_be_remembered(self, address: IPv4Address, mac: str) -> None:
        """Note what neighbours may go on believing of an address after its container is gone.

        A daemon that starts again does not know what those before it gave out; then a neighbour
        finds out by itself, some seconds after its first failure (arp(7), "ucast_solicit").
        """
        if mac != derived_mac(address):
            self._redirected.add(address)

    def _bridge_spec(self) -> BridgeSpec:
        return BridgeSpec(
            name=self._config.bridge_name,
            gateway=self._addresses().gateway,
            mtu=self._config.mtu,
            icc=self._config.icc,
            masquerade=self._config.masquerade,
        )

    def _addresses(self) -> AddressPool:
        if self._pool is None:
            raise Internal("the networks are used before they are set up")
        return self._pool

    def _bridged(self) -> Sequence[Attachment]:
        return [a for a in self._attachments.values() if is_bridged(a)]

    def _tell(self, action: str, attachment: Attachment) -> None:
        if self._publish_event is None:
            return
        network = self._networks[attachment.network]
        attributes = {
            "container": attachment.container_id,
            "name": network.name,
            "type": network.driver,
        }
        self._publish_event("network", action, network.id, attributes)

    def _forget(self, attachment: Attachment) -> None:
        del self._attachments[attachment.container_id]
        if is_bridged(attachment):
            self._addresses().release(address_of(attachment))
