"""A container on its way onto a network.

It takes three steps, because the runtime can prepare the container as soon as the namespace is
there, while its links are still being made.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from ipaddress import IPv4Address

from pinnace.contracts.netstack import EndpointSpec, NetStack, Published
from pinnace.engine.networks.ipam import AddressInUse
from pinnace.engine.networks.predefined import BRIDGE
from pinnace.engine.networks.publish import published_ports
from pinnace.engine.networks.request import AttachRequest
from pinnace.errors import AlreadyExists, Conflict, Internal, InvalidParameter, PinnaceError
from pinnace.model.network import Attachment

log = logging.getLogger(__name__)

Undo = Callable[[], Awaitable[None]]


class Attaching:
    """What a container will have of a network; its address and ports are claimed.

    `open` and `complete` are called once each, in this order; after a failure or instead of them,
    `abandon`.

    Args:
        request: What was asked for.
        attachment: What it will have; without `sandbox_path` there is nothing to make.
        stack: Where it happens.
        endpoints: Interfaces in the sandbox.
        ports: Claimed host ports, to be led to the container.
        undo: Takes back what was claimed.
        completed: Told when all is there.
    """

    def __init__(
        self,
        request: AttachRequest,
        attachment: Attachment,
        *,
        stack: NetStack,
        endpoints: Sequence[EndpointSpec],
        ports: Sequence[Published],
        undo: AsyncExitStack,
        completed: Callable[[Attachment], None],
    ) -> None:
        self.attachment = attachment
        self._request = request
        self._stack = stack
        self._endpoints = endpoints
        self._ports = ports
        self._undo = undo
        self._completed = completed

    async def open(self) -> None:
        """Make the namespace.

        Raises:
            PinnaceError: The host refused.
        """
        sandbox = self.attachment.sandbox_id
        if sandbox:
            with explained(self._request, self.attachment.endpoint.endpoint_id):
                await self._stack.create_sandbox(sandbox, [])
            self._undo.push_async_callback(undoing, partial(self._stack.remove_sandbox, sandbox))

    async def complete(self) -> None:
        """Make the links and lead the ports.

        Raises:
            PinnaceError: The host refused.
        """
        if self.attachment.sandbox_id:
            with explained(self._request, self.attachment.endpoint.endpoint_id):
                await self._stack.add_endpoints(self.attachment.sandbox_id, self._endpoints)
                await self._stack.publish(self._ports)
        self._undo.pop_all()
        self._completed(self.attachment)

    async def abandon(self) -> None:
        """Take back what was made; nothing, when it was completed. Idempotent."""
        await self._undo.aclose()


def is_bridged(attachment: Attachment) -> bool:
    """Tell whether the container has an address; a stored record may have lost it."""
    return attachment.network == BRIDGE and bool(attachment.endpoint.ip_address)


def published(attachment: Attachment) -> list[Published]:
    """Return the host ports that lead to the container."""
    if not is_bridged(attachment):
        return []
    return published_ports(attachment.ports, address_of(attachment))


def address_of(attachment: Attachment) -> IPv4Address:
    """Return the address of a container that has one."""
    return IPv4Address(attachment.endpoint.ip_address)


async def undoing(step: Undo) -> None:
    """Undo one step; a failure is logged and does not replace the first error."""
    try:
        await step()
    except PinnaceError:
        log.exception("cannot undo a step of attaching a container")


@contextmanager
def explained(request: AttachRequest, endpoint_id: str) -> Iterator[None]:
    """Say in Docker's words that it was the network which could not be set up.

    Raises:
        InvalidParameter: As it is, and `AddressInUse`: what was asked for is wrong.
        Internal: Anything else.
    """
    try:
        yield
    except (InvalidParameter, AddressInUse):
        raise
    except PinnaceError as exc:
        raise Internal(_setup_text(request, endpoint_id, exc)) from exc


def _setup_text(request: AttachRequest, endpoint_id: str, failure: PinnaceError) -> str:
    prefix = "failed to set up container networking: "
    if isinstance(failure, Conflict) and not isinstance(failure, AlreadyExists):
        prefix += (
            "driver failed programming external connectivity on endpoint "
            f"{request.container_name} ({endpoint_id}): "
        )
    return prefix + failure.message
