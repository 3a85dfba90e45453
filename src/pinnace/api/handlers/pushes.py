"""Handler of the push of images to registries."""

from pinnace.api.call import MAX_JSON_BYTES, Call
from pinnace.api.credentials import AUTH_HEADER, header_credentials, parse_auth
from pinnace.api.handlers.sending import send_progress
from pinnace.api.platforms import read_platform
from pinnace.api.streams import while_connected
from pinnace.contracts.registry import ANONYMOUS, Credentials
from pinnace.errors import InvalidParameter


async def push(call: Call) -> None:
    """`POST /images/{name}/push`; the push ends with its client."""
    credentials = await read_credentials(call)
    messages = call.engine.images.push(
        call.name,
        tag=call.query.text("tag"),
        platform=read_platform(call.query.text("platform")),
        credentials=credentials,
    )
    await while_connected(call.exchange, send_progress(call, messages))


async def read_credentials(call: Call) -> Credentials:
    """Return the credentials of the header, or of the body when there is no header.

    Raises:
        InvalidParameter: There is no header, and a body that is none.
    """
    content = await call.exchange.body.read(MAX_JSON_BYTES)
    header = call.exchange.request.headers.get(AUTH_HEADER)
    if header is not None:
        return header_credentials(header)
    if not content.strip():
        return ANONYMOUS
    config = parse_auth(content)
    if config is None:
        raise InvalidParameter("Bad parameters and missing X-Registry-Auth: invalid JSON")
    return config.credentials()
