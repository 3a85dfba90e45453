"""aiohttp's failures as ours."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pinnace.host.registry.failures import (
    ConnectionFailed,
    dial_reason,
    one_line,
    system_reason,
    tls_reason,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp


@contextmanager
def translated(method: str, url: str) -> Iterator[None]:
    """Turn what aiohttp raises in the `with` block into ConnectionFailed."""
    import aiohttp

    try:
        yield
    except (aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError) as exc:
        raise ConnectionFailed(method, url, f"proxyconnect tcp: {_proxy_reason(exc)}") from exc
    except aiohttp.ClientConnectorCertificateError as exc:
        cause = exc.certificate_error
        reason, passing = (
            tls_reason(exc.host, cause) if isinstance(cause, ssl.SSLError) else ("", False)
        )
        raise ConnectionFailed(
            method, url, reason or one_line(str(cause)), passing=passing
        ) from exc
    except aiohttp.ClientConnectorError as exc:
        raise _not_connected(method, url, exc) from exc
    except aiohttp.ServerDisconnectedError as exc:
        raise ConnectionFailed(method, url, "EOF") from exc
    except aiohttp.ClientPayloadError as exc:
        raise ConnectionFailed(method, url, "unexpected EOF") from exc
    except aiohttp.ClientResponseError as exc:
        reason = f"malformed HTTP response: {one_line(exc.message)}"
        raise ConnectionFailed(method, url, reason) from exc
    except aiohttp.InvalidURL as exc:
        raise ConnectionFailed(method, url, "invalid URL", passing=False) from exc
    except TimeoutError as exc:
        reason = "net/http: request canceled (Client.Timeout exceeded while awaiting headers)"
        raise ConnectionFailed(method, url, reason) from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise _broken(method, url, exc) from exc


def _not_connected(
    method: str, url: str, failure: aiohttp.ClientConnectorError
) -> ConnectionFailed:
    cause = failure.os_error
    if isinstance(cause, ssl.SSLError):
        reason, passing = tls_reason(failure.host, cause)
        return ConnectionFailed(method, url, reason, passing=passing)
    return ConnectionFailed(method, url, dial_reason(failure.host, failure.port or 0, cause))


def _broken(method: str, url: str, failure: aiohttp.ClientError | OSError) -> ConnectionFailed:
    """Return the failure of a connection that had been made."""
    for error in (failure, failure.__cause__):
        if isinstance(error, ssl.SSLError):  # its errno is none of the kernel's
            reason, passing = tls_reason("", error)
            return ConnectionFailed(method, url, reason, passing=passing)
    reason = system_reason(failure) if isinstance(failure, OSError) else one_line(str(failure))
    return ConnectionFailed(method, url, reason or type(failure).__name__)


def _proxy_reason(
    failure: aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError,
) -> str:
    import aiohttp

    if isinstance(failure, aiohttp.ClientHttpProxyError):
        return one_line(f"{failure.status} {failure.message}")
    return dial_reason(failure.host, failure.port or 0, failure.os_error)
