"""Which filter of system calls a container gets, and its compiled form."""

import base64
import hashlib
import os
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from pinnace.contracts.control import HostFacts, SeccompChoice
from pinnace.errors import InvalidParameter
from pinnace.host.security import seccomp_bpf
from pinnace.host.security import seccomp_profile as builtin
from pinnace.oci.runtime_spec import Seccomp, SyscallArg, SyscallRule

# Docker spells platforms of profiles as Go does; x32 and x86 only occur there.
_SUB_PLATFORMS = {"amd64": ("amd64", "x86", "x32"), "arm64": ("arm64", "arm")}
_NATIVE = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}


class _ArchMap(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    architecture: str = ""
    sub_architectures: list[str] | None = None


class _Filter(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    caps: list[str] | None = None
    arches: list[str] | None = None
    min_kernel: str = ""


class _Arg(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    index: int = 0
    value: int = 0
    value_two: int = 0
    op: str = ""


class _Syscall(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: str = ""
    names: list[str] | None = None
    action: str = ""
    errno_ret: int | None = None
    args: list[_Arg] | None = None
    includes: _Filter | None = None
    excludes: _Filter | None = None


class _Profile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A custom profile as Docker's users write it."""

    default_action: str = ""
    default_errno_ret: int | None = None
    architectures: list[str] | None = None
    arch_map: list[_ArchMap] | None = None
    flags: list[str] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[_Syscall] | None = None


class Filters:
    """Chooses and compiles filters; compiled ones are kept on disk by the profile's hash.

    Args:
        cache: Directory for compiled filters; made when needed, mode 0700. Its content is
            trusted: it lies below the daemon's own directories.
        facts: What the host can do.
    """

    def __init__(self, cache: Path, facts: HostFacts) -> None:
        self._cache = cache
        self._facts = facts
        self._builtin: dict[frozenset[str], SeccompChoice] = {}
        self._compiling = threading.Lock()  # one at a time: they write the same file

    def choose(
        self, profile: str, capabilities: Collection[str], *, compiled: bool
    ) -> SeccompChoice:
        """Return the filter for a process with these capabilities. Blocks some 20 ms once.

        Args:
            profile: "" or "builtin" for the default one, or the JSON of a custom profile.
            capabilities: Effective capabilities; the profile's conditions look at them.
            compiled: Add the compiled form, for runtimes that take it.

        Raises:
            InvalidParameter: The custom profile is wrong, or the host has no filters at all.
        """
        if profile not in ("", "builtin"):
            if not self._facts.seccomp:
                raise InvalidParameter(
                    "seccomp is not enabled in your kernel, cannot run a custom seccomp profile"
                )
            chosen = SeccompChoice(custom_filter(profile, capabilities, self._facts))
            return self._compile(chosen) if compiled else chosen
        key = frozenset(capabilities) & _DECISIVE
        if key not in self._builtin:
            self._builtin[key] = SeccompChoice(default_filter(key, self._facts))
        chosen = self._builtin[key]
        if compiled and not chosen.bpf:
            chosen = self._builtin[key] = self._compile(chosen)
        return chosen

    def _compile(self, chosen: SeccompChoice) -> SeccompChoice:
        source = msgspec.json.encode(chosen.profile, order="deterministic")
        stamp = f"{seccomp_bpf.FORMAT}:{seccomp_bpf.version()}:".encode()
        path = self._cache / f"{hashlib.sha256(stamp + source).hexdigest()}.bpf"
        with self._compiling:
            try:
                code = path.read_bytes()
            except FileNotFoundError:
                code = seccomp_bpf.compile_filter(chosen.profile)
                self._keep(path, code)
        return SeccompChoice(chosen.profile, base64.b64encode(code).decode())

    def _keep(self, path: Path, code: bytes) -> None:
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(code)
        part.rename(path)


_DECISIVE = frozenset(
    name for rule in builtin.RULES for name in (*rule.capabilities, *rule.without)
)


def default_filter(capabilities: Collection[str], facts: HostFacts) -> Seccomp:
    """Return the default filter for a process with these capabilities."""
    return Seccomp(
        default_action=builtin.ERRNO,
        default_errno_ret=builtin.EPERM,
        architectures=list(builtin.ARCHITECTURES.get(facts.architecture, ())),
        syscalls=[
            _rule(rule) for rule in builtin.RULES if _counts(rule, frozenset(capabilities), facts)
        ],
    )


def _counts(rule: builtin.Rule, capabilities: frozenset[str], facts: HostFacts) -> bool:
    if rule.capabilities and capabilities.isdisjoint(rule.capabilities):
        return False
    platforms = _SUB_PLATFORMS.get(facts.architecture, (facts.architecture,))
    if rule.architectures and not set(platforms).intersection(rule.architectures):
        return False
    return capabilities.isdisjoint(rule.without) and facts.kernel >= rule.min_kernel


def _rule(rule: builtin.Rule) -> SyscallRule:
    args = [
        SyscallArg(index=test.index, value=test.value, value_two=test.datum, op=test.op)
        for test in rule.comparisons
    ]
    return SyscallRule(names=list(rule.names), action=rule.action, errno_ret=rule.errno, args=args)


def custom_filter(text: str, capabilities: Collection[str], facts: HostFacts) -> Seccomp:
    """Return the filter that a profile in Docker's JSON means for this container and host.

    Raises:
        InvalidParameter: Not such JSON, or it contradicts itself.
    """
    try:
        profile = msgspec.json.decode(text, type=_Profile)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error}") from error
    if profile.architectures and profile.arch_map:
        raise InvalidParameter(
            "'architectures' and 'archMap' were specified in the seccomp profile, "
            "use either 'architectures' or 'archMap'"
        )
    chosen = Seccomp(
        default_action=profile.default_action,
        default_errno_ret=profile.default_errno_ret,
        architectures=_architectures(profile, facts),
        flags=profile.flags or [],
        listener_path=profile.listener_path,
        listener_metadata=profile.listener_metadata,
        syscalls=list(_custom_rules(profile, frozenset(capabilities), facts)),
    )
    seccomp_bpf.check(chosen)
    return chosen


def _architectures(profile: _Profile, facts: HostFacts) -> list[str]:
    if profile.architectures:
        return profile.architectures
    native = _NATIVE.get(facts.architecture)
    for entry in profile.arch_map or []:
        if entry.architecture == native:
            return [native, *(entry.sub_architectures or [])]
    return []


def _custom_rules(
    profile: _Profile, capabilities: frozenset[str], facts: HostFacts
) -> Iterator[SyscallRule]:
    for call in profile.syscalls or []:
        if call.name and call.names:
            raise InvalidParameter(
                "both 'name' and 'names' were specified in the seccomp profile, "
                "use either 'name' or 'names'"
            )
        if call.excludes and _excluded(call.excludes, capabilities, facts):
            continue
        if call.includes and not _included(call.includes, capabilities, facts):
            continue
        yield SyscallRule(
            names=call.names or [call.name],
            action=call.action,
            errno_ret=call.errno_ret,
            args=[
                SyscallArg(index=arg.index, value=arg.value, value_two=arg.value_two, op=arg.op)
                for arg in call.args or []
            ],
        )


def _excluded(which: _Filter, capabilities: frozenset[str], facts: HostFacts) -> bool:
    """Any condition that holds takes the rule away."""
    return (
        facts.architecture in (which.arches or ())
        or not capabilities.isdisjoint(which.caps or ())
        or (bool(which.min_kernel) and facts.kernel >= _kernel(which.min_kernel))
    )


def _included(which: _Filter, capabilities: frozenset[str], facts: HostFacts) -> bool:
    """Every condition must hold; of the capabilities, all."""
    return (
        (not which.arches or facts.architecture in which.arches)
        and capabilities.issuperset(which.caps or ())
        and (not which.min_kernel or facts.kernel >= _kernel(which.min_kernel))
    )


def _kernel(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise InvalidParameter(f"invalid kernel version: {text!r}")
    return int(major), int(minor)


def security_option(options: Collection[str], name: str) -> str | None:
    """Return the value of a `--security-opt`, the last one given; None when there is none."""
    found = None
    for option in options:
        key, equal, value = option.partition("=")
        if not equal:
            key, _, value = option.partition(":")  # the old separator
        if key == name:
            found = value
    return found


def listed(facts: HostFacts) -> Literal["builtin", ""]:
    """Return what `GET /info` says about filters; "" when the host has none."""
    return "builtin" if facts.seccomp else ""
