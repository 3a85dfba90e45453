"""Image references: `name[:tag][@digest]`, with Docker's short forms.

Grammar: github.com/distribution/reference, reference.go. The normalised name always has a
domain (`docker.io/library/busybox`), the familiar one leaves out what Docker adds.
"""

import re
from dataclasses import dataclass, replace

from pinnace.errors import InvalidParameter
from pinnace.oci.digest import Digest, parse_digest

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_MAX_NAME = 255

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HEX64 = re.compile(r"[a-f0-9]{64}")


class InvalidReference(InvalidParameter):
    """The text is no image reference."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("invalid reference format" + (f": {detail}" if detail else ""))


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference.

    Attributes:
        domain: Registry host with optional port.
        path: Repository below it.
        tag: None when not given.
        digest: None when not given.
    """

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """The normalised repository, `docker.io/library/busybox`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository as Docker shows it, `busybox`."""
        first, slash, _ = self.path.partition("/")
        if self.domain != DEFAULT_DOMAIN or (slash and _is_domain(first)):
            return self.name
        short = self.path.removeprefix(_OFFICIAL)
        return self.path if "/" in short else short

    def normalized(self) -> str:
        """Return the reference in full, `docker.io/library/busybox:latest`."""
        return self.name + self._suffix()

    def familiar(self) -> str:
        """Return the reference as Docker shows it, `busybox:latest`."""
        return self.familiar_name + self._suffix()

    def tagged(self) -> "Reference":
        """Return the reference with the tag `latest` if it has neither tag nor digest."""
        if self.tag or self.digest:
            return self
        return replace(self, tag=DEFAULT_TAG)

    def without_digest(self) -> "Reference":
        """Return the reference without its digest."""
        return replace(self, digest=None)

    def without_tag(self) -> "Reference":
        """Return the reference without its tag."""
        return replace(self, tag=None)

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """Return the reference that `text` means.

    Raises:
        InvalidReference: It is none; the text follows Docker's.
    """
    if _HEX64.fullmatch(text):
        raise InvalidParameter(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    rest, digest = _split_digest(text)
    rest, tag = _split_tag(rest)
    domain, path = _split_domain(rest)
    if any(letter.isupper() for letter in path):
        raise InvalidReference(f"repository name ({path}) must be lowercase")
    if not _DOMAIN.fullmatch(domain) or not _PATH.fullmatch(path):
        raise InvalidReference
    if len(domain) + 1 + len(path) > _MAX_NAME:
        raise InvalidParameter(f"repository name must not be more than {_MAX_NAME} characters")
    return Reference(domain, path, tag, digest)


def parse_repository(text: str) -> Reference:
    """Return a reference that is only a repository.

    Raises:
        InvalidReference: It has a tag or a digest, or is none.
    """
    reference = parse_reference(text)
    if reference.tag or reference.digest:
        raise InvalidReference
    return reference


def target_reference(repository: str, tag: str) -> Reference | None:
    """Return what an image shall be called; None when `repository` is empty.

    Args:
        repository: Possibly with a tag in it.
        tag: Wins over the one in `repository`; "": that one, or `latest`.

    Raises:
        InvalidParameter: No such name can be given; the texts are Docker's.
    """
    if not repository:
        return None
    reference = parse_reference(repository)
    if reference.digest:
        raise InvalidParameter("refusing to create a tag with a digest reference")
    if reference.familiar_name == "sha256":
        raise InvalidParameter(
            "refusing to create an ambiguous tag using digest algorithm as name"
        )
    if tag:
        reference = replace(reference, tag=check_tag(tag))
    return reference.tagged()


def check_tag(tag: str) -> str:
    """Return `tag`.

    Raises:
        InvalidReference: It cannot be a tag.
    """
    if not _TAG.fullmatch(tag):
        raise InvalidParameter("invalid tag format")
    return tag


def _split_digest(text: str) -> tuple[str, Digest | None]:
    rest, at, digest = text.partition("@")
    if not at:
        return text, None
    try:
        return rest, parse_digest(digest)
    except InvalidParameter as exc:
        raise InvalidReference from exc


def _split_tag(text: str) -> tuple[str, str | None]:
    head, slash, last = text.rpartition("/")
    base, colon, tag = last.partition(":")
    if not colon:
        return text, None
    if not _TAG.fullmatch(tag):
        raise InvalidReference
    return head + slash + base, tag


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    domain, path = (first, rest) if slash and _is_domain(first) else (DEFAULT_DOMAIN, name)
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    return domain, path


def _is_domain(first: str) -> bool:
    """Whether the first component of a name is a registry rather than a part of the path."""
    return "." in first or ":" in first or first == "localhost" or first.lower() != first
