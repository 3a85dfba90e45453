"""Operations of the API that this engine does not carry out yet; they say so."""

from pinnace.api.call import Answer, Call, Handler
from pinnace.errors import NotFound, NotSupported, Unavailable


def _not_yet(what: str) -> Handler:
    async def refuse(_call: Call) -> Answer:
        raise NotSupported(f"{what} is not implemented by this engine yet")

    return refuse


builds = _not_yet("building images")
plugins = _not_yet("managing plugins")
attestations = _not_yet("reading attestations of images")
clusters = _not_yet("swarm mode")


async def swarm(_call: Call) -> Answer:
    """Refuse a call that only a manager of a swarm carries out."""
    raise Unavailable(
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to'
        " connect this node to swarm and try again."
    )


async def no_swarm(_call: Call) -> Answer:
    """Refuse a call that only a member of a swarm carries out."""
    raise Unavailable("This node is not part of a swarm")


async def no_plugins(_call: Call) -> Answer:
    """`GET /plugins`: none can be installed."""
    return Answer([])


async def plugin(call: Call) -> Answer:
    """Any call about one plugin: there is none."""
    raise NotFound(f'plugin "{call.name}" not found')
