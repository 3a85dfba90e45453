"""What an instruction changes in an image's config; shared by builds, `commit` and `import`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import replace as replaced

from msgspec.structs import replace

from pinnace.engine.builds.instructions import (
    Cmd,
    Command,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Onbuild,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from pinnace.engine.containers.signals import parse_signal
from pinnace.errors import InvalidParameter
from pinnace.model.container import ContainerConfig

DEFAULT_SHELL = ("/bin/sh", "-c")

_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_MAX_TEXT_CHARS = 4 << 20  # of an image's variables, and of its labels
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True)
class ConfigState:
    """A config on its way through a stage.

    Attributes:
        config: So far.
        has_cmd: CMD was given in this stage; an ENTRYPOINT then leaves it alone.
    """

    config: ContainerConfig
    has_cmd: bool = False


def apply(state: ConfigState, instruction: Instruction) -> ConfigState:
    """Return the state after an instruction that has been expanded.

    RUN, COPY, ADD, INSERT, ARG and MAINTAINER change nothing here.

    Raises:
        InvalidParameter: A port or signal that does not exist.
    """
    config = state.config
    match instruction:
        case Cmd(command=command):
            config = replace(config, cmd=command_words(command, config.shell), args_escaped=False)
            return ConfigState(config, has_cmd=state.has_cmd or bool(command.words))
        case Entrypoint(command=command):
            entrypoint = command_words(command, config.shell) if command.words else None
            cmd = config.cmd if state.has_cmd else None
            return replaced(state, config=replace(config, entrypoint=entrypoint, cmd=cmd))
    return replaced(state, config=_changed(config, instruction))


def command_words(command: Command, shell: list[str] | None) -> list[str]:
    """Return the words to run, the shell put in front of a shell form."""
    prefix = (shell or DEFAULT_SHELL) if command.is_shell else ()
    return [*prefix, *command.words]


def merged_environment(entries: Iterable[str], changes: Iterable[tuple[str, str]]) -> list[str]:
    """Return `entries` with variables set, each at its old place or at the end.

    Raises:
        InvalidParameter: A variable has no name, or all would be absurdly large.
    """
    given = dict(changes)
    if "" in given:
        raise InvalidParameter(f"invalid environment variable: ={given['']}")
    values = {entry.partition("=")[0]: entry for entry in entries}
    values |= {name: f"{name}={value}" for name, value in given.items()}
    _check_size("environment", values.values())
    return list(values.values())


def _check_size(what: str, texts: Iterable[str]) -> None:
    if sum(map(len, texts)) > _MAX_TEXT_CHARS:
        raise InvalidParameter(f"{what} greater than max allowed size of {_MAX_TEXT_CHARS}")


def working_directory(current: str, path: str) -> str:
    """Return the directory that WORKDIR `path` means after `current`."""
    if path.startswith("/"):
        return path
    parts: list[str] = []
    for part in f"{current}/{path}".split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _changed(config: ContainerConfig, instruction: Instruction) -> ContainerConfig:
    match instruction:
        case Env(pairs=pairs):
            changes = ((pair.key, pair.value) for pair in pairs)
            return replace(config, env=merged_environment(config.env or [], changes))
        case Label(pairs=pairs):
            labels = {**(config.labels or {}), **{pair.key: pair.value for pair in pairs}}
            _check_size("labels", (*labels, *labels.values()))
            return replace(config, labels=labels)
        case Expose(ports=ports):
            exposed: dict[str, dict[str, str]] = {
                name: {} for port in ports for name in expand_port(port)
            }
            return replace(config, exposed_ports={**(config.exposed_ports or {}), **exposed})
        case Volume(paths=paths):
            if not all(paths):
                raise InvalidParameter("VOLUME specified can not be an empty string")
            volumes = {**(config.volumes or {}), **{path: {} for path in paths}}
            return replace(config, volumes=volumes)
        case Onbuild(trigger=trigger):
            return replace(config, on_build=[*(config.on_build or []), trigger])
    return _set(config, instruction)


def _set(config: ContainerConfig, instruction: Instruction) -> ContainerConfig:
    match instruction:
        case User(user=user):
            return replace(config, user=user)
        case Workdir(path=path):
            if not path:
                raise InvalidParameter("cannot normalize nothing")
            return replace(config, working_dir=working_directory(config.working_dir, path))
        case Stopsignal(signal=signal):
            # Any number but 0 will do, as for dockerd; the kernel judges it when it is sent.
            if not _NUMBER.fullmatch(signal):
                parse_signal(signal)
            return replace(config, stop_signal=signal)
        case Healthcheck(health=health):
            return replace(config, healthcheck=health)
        case Shell(words=words):
            return replace(config, shell=list(words))
    return config


def expand_port(text: str) -> list[str]:
    """Return the `port/protocol` that one word of EXPOSE names, a range being several.

    A host's address and port in front are checked for nothing and dropped, as dockerd does.

    Raises:
        InvalidParameter: Not a port, or an unknown protocol.
    """
    spec, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    port = spec.rpartition(":")[2]
    if not port:
        raise InvalidParameter(f"No port specified: {text}<empty>")
    match = _PORTS.fullmatch(port)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not first <= last <= 65535:
        raise InvalidParameter(f"Invalid containerPort: {port}")
    if protocol not in _PROTOCOLS:
        raise InvalidParameter(f"Invalid proto: {protocol}")
    return [f"{number}/{protocol}" for number in range(first, last + 1)]
