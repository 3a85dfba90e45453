"""TLS towards registries: the system's authorities, and those of `certs.d`.

A registry's directory is `HOST[:PORT]`; `*.crt` are authorities trusted besides the system's,
`NAME.cert` with `NAME.key` a client certificate (docs.docker.com, "Verify repository client with
certificates").
"""

import ssl
from collections.abc import Sequence
from pathlib import Path

from pinnace.errors import RegistryUnavailable

_DEFAULT_PORT = ":443"


class Certificates:
    """Makes and keeps TLS contexts.

    Args:
        directories: Each like `/etc/docker/certs.d`; the first that has the registry counts.
    """

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = directories
        self._made: dict[tuple[str, str, bool], tuple[tuple[object, ...], ssl.SSLContext]] = {}

    def context(self, host: str, *, owner: str = "", verify: bool = True) -> ssl.SSLContext:
        """Return the context for connections to `host`; blocks on files at the first call.

        Args:
            host: `host[:port]` to talk to; its client certificate is presented.
            owner: Registry on whose behalf; its authorities are trusted as well.
            verify: Whether the certificate is checked.

        Raises:
            RegistryUnavailable: A file in `certs.d` cannot be used; the text names it.
        """
        key = (host, owner, verify)
        files = {name: self._files(name) for name in (host, owner) if name}
        stamp = tuple(_stamp(path) for found in files.values() for path in found)
        known = self._made.get(key)
        if known is not None and known[0] == stamp:
            return known[1]
        context = _new_context(verify=verify)
        for found in files.values():
            _trust(context, found)
        _present(context, files[host])
        self._made[key] = (stamp, context)
        return context

    def _files(self, host: str) -> Sequence[Path]:
        if "/" in host or host.startswith("."):
            return ()  # a redirect can name anything
        for name in (host, host.removesuffix(_DEFAULT_PORT)):
            for directory in self._directories:
                found = _files_in(directory / name)
                if found:
                    return found
        return ()


def _files_in(directory: Path) -> Sequence[Path]:
    try:
        entries = sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as exc:
        raise RegistryUnavailable(f"cannot read {directory}: {exc.strerror}") from exc
    return [path for path in entries if path.suffix in (".crt", ".cert", ".key")]


def _stamp(path: Path) -> tuple[Path, int]:
    try:
        return path, path.stat().st_mtime_ns
    except OSError as exc:
        raise RegistryUnavailable(f"cannot read {path}: {exc.strerror}") from exc


def _new_context(*, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _trust(context: ssl.SSLContext, files: Sequence[Path]) -> None:
    for path in files:
        if path.suffix == ".crt":
            try:
                context.load_verify_locations(cafile=str(path))
            except (OSError, ssl.SSLError) as exc:
                raise RegistryUnavailable(f"cannot use the certificate {path}: {exc}") from exc


def _present(context: ssl.SSLContext, files: Sequence[Path]) -> None:
    for path in files:
        if path.suffix == ".key" and path.with_suffix(".cert") not in files:
            raise RegistryUnavailable(
                f"missing client certificate {path.stem}.cert for key {path.name}"
            )
        if path.suffix != ".cert":
            continue
        key = path.with_suffix(".key")
        if key not in files:
            raise RegistryUnavailable(
                f"missing key {key.name} for client certificate {path.name}."
                " CA certificates must use the extension .crt"
            )
        try:
            context.load_cert_chain(path, key)
        except (OSError, ssl.SSLError) as exc:
            raise RegistryUnavailable(f"cannot use the certificate {path}: {exc}") from exc
