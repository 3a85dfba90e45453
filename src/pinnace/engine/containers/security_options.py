"""What `--security-opt` asks for. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pinnace.errors import InvalidParameter
from pinnace.model.container import HostConfig

_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """The options, read.

    Attributes:
        no_new_privileges: execve grants nothing.
        seccomp: "" default, "unconfined", or the JSON of a profile.
        apparmor: Profile name; "" default.
        labels: SELinux label words.
        writable_cgroups: The container may write its own control groups; None: not said.
    """

    no_new_privileges: bool = False
    seccomp: str = ""
    apparmor: str = ""
    labels: tuple[str, ...] = ()
    writable_cgroups: bool | None = None


def parse_security_options(options: Sequence[str]) -> SecurityOptions:
    """Read the options in order; later ones win.

    Raises:
        InvalidParameter: An option is malformed or unknown.
    """
    result = SecurityOptions()
    for option in options:
        if option == "no-new-privileges":
            result = replace(result, no_new_privileges=True)
            continue
        name, value = _split(option)
        match name:
            case "label":
                result = replace(result, labels=(*result.labels, value))
            case "apparmor":
                result = replace(result, apparmor=value)
            case "seccomp":
                result = replace(result, seccomp="" if value == "builtin" else value)
            case "no-new-privileges":
                result = replace(result, no_new_privileges=_boolean(option, value))
            case "writable-cgroups":
                result = replace(result, writable_cgroups=_boolean(option, value))
            case _:
                raise InvalidParameter(f'invalid --security-opt 2: "{option}"')
    return result


def wanted_seccomp(host_config: HostConfig) -> str | None:
    """Return the profile a container asks for: "" the default one, None no filter at all."""
    chosen = parse_security_options(host_config.security_opt or ()).seccomp
    if chosen == "unconfined" or (host_config.privileged and not chosen):
        return None
    return chosen


def _split(option: str) -> tuple[str, str]:
    if option == "disable":
        return "label", "disable"
    for separator in ("=", ":"):  # the colon is the old spelling
        name, found, value = option.partition(separator)
        if found:
            return name, value
    raise InvalidParameter(f'invalid --security-opt 1: "{option}"')


def _boolean(option: str, value: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise InvalidParameter(f'invalid --security-opt 2: "{option}"')
    return _BOOLEANS[value.lower()]
