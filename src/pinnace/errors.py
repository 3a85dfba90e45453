"""Kinds of failure and the named errors; knows nothing of HTTP.

Messages are part of the API: scripts match on them, so they follow Docker's wording.
"""


class PinnaceError(Exception):
    """Base of every failure that has a meaning for the caller."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidParameter(PinnaceError):
    """The request cannot be meant."""


class Unauthorized(PinnaceError):
    """Credentials are missing or wrong."""


class Forbidden(PinnaceError):
    """The caller may not do this."""


class NotFound(PinnaceError):
    """The named object does not exist."""


class Conflict(PinnaceError):
    """The object's state, or another object, stands against the request."""


class NotModified(PinnaceError):
    """Nothing to do: the object is already as asked."""


class NotSupported(PinnaceError):
    """The request is understood, but this engine or this host does not do it."""


class TooManyRequests(PinnaceError):
    """A registry wants fewer requests (429)."""


class Unavailable(PinnaceError):
    """Something the engine needs is missing or does not answer; trying later may help."""


class Internal(PinnaceError):
    """The engine or the host failed."""


class AlreadyExists(Conflict):
    """The key or name is taken."""


class ContainerNotFound(NotFound):
    """No container has this name, id or id prefix."""

    def __init__(self, ref: str) -> None:
        super().__init__(f"No such container: {ref}")
        self.ref = ref


class AmbiguousPrefix(InvalidParameter):
    """Several containers have an id that begins so."""

    def __init__(self, prefix: str) -> None:
        super().__init__(f"multiple IDs found with provided prefix: {prefix}")


class ExecNotFound(NotFound):
    """No exec has this id."""

    def __init__(self, ref: str) -> None:
        super().__init__(f"No such exec instance: {ref}")
        self.ref = ref


class ImageNotFound(NotFound):
    """No image has this reference, id or id prefix."""

    def __init__(self, ref: str) -> None:
        super().__init__(f"No such image: {ref}")
        self.ref = ref


class VolumeNotFound(NotFound):
    """No volume has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"get {name}: no such volume")
        self.name = name


class NetworkNotFound(NotFound):
    """No network has this name or id."""

    def __init__(self, ref: str) -> None:
        super().__init__(f"network {ref} not found")
        self.ref = ref


class RegistryUnauthorized(Unauthorized):
    """A registry refuses the credentials or wants some; our own API's caller is welcome."""


class RegistryUnavailable(Unavailable):
    """A registry cannot be reached, or keeps failing."""


class RegistryNotFound(NotFound):
    """A registry has no such repository, manifest or blob, or does not tell.

    Attributes:
        detail: The registry's own words.
    """

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class RuntimeFailure(Internal):
    """The OCI runtime refused or failed.

    Attributes:
        exit_code: What `docker run` exits with: 125, 126 (cannot execute) or 127 (not found).
    """

    def __init__(self, message: str, *, exit_code: int = 125) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StartFailed(InvalidParameter):
    """The container's command cannot be run: missing or not executable (status 400 as dockerd)."""

    def __init__(self, message: str, *, exit_code: int = 127) -> None:
        super().__init__(message)
        self.exit_code = exit_code
