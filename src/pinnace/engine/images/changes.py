"""Dockerfile instructions that `commit` and `import` apply to an image's config; pure."""

import re
import shlex
from collections.abc import Callable, Iterable

import msgspec
from msgspec.structs import replace

from pinnace.engine.times import parse_duration
from pinnace.errors import InvalidParameter
from pinnace.model.container import ContainerConfig, HealthConfig

_SHELL = ["/bin/sh", "-c"]
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"[A-Za-z0-9_.-]+=")

Change = Callable[[ContainerConfig, str], ContainerConfig]


def apply_changes(config: ContainerConfig, changes: Iterable[str]) -> ContainerConfig:
    """Return `config` after the instructions, in order.

    Raises:
        InvalidParameter: An unknown or malformed instruction.
    """
    for line in changes:
        word, _, rest = line.strip().partition(" ")
        change = _INSTRUCTIONS.get(word.upper())
        if change is None:
            raise InvalidParameter(f"{word.lower() or line} is not a valid change command")
        if not rest.strip():
            raise InvalidParameter(f"{word.upper()} requires at least one argument")
        config = change(config, rest.strip())
    return config


def _cmd(config: ContainerConfig, text: str) -> ContainerConfig:
    return replace(config, cmd=_command(config, text), args_escaped=False)


def _entrypoint(config: ContainerConfig, text: str) -> ContainerConfig:
    # An entry point set after the image's command makes that command void.
    return replace(config, entrypoint=_command(config, text), cmd=None)


def _env(config: ContainerConfig, text: str) -> ContainerConfig:
    given = _pairs(text)
    kept = [entry for entry in config.env or [] if entry.partition("=")[0] not in given]
    return replace(config, env=[*kept, *(f"{key}={value}" for key, value in given.items())])


def _label(config: ContainerConfig, text: str) -> ContainerConfig:
    return replace(config, labels={**(config.labels or {}), **_pairs(text)})


def _expose(config: ContainerConfig, text: str) -> ContainerConfig:
    ports = dict(config.exposed_ports or {})
    for word in _words(text):
        match = _PORT.fullmatch(word)
        if not match or not 1 <= int(match[1]) <= int(match[2] or match[1]) <= 65535:
            raise InvalidParameter(f"invalid containerPort: {word}")
        for port in range(int(match[1]), int(match[2] or match[1]) + 1):
            ports[f"{port}/{(match[3] or 'tcp').lower()}"] = {}
    return replace(config, exposed_ports=ports)


def _volume(config: ContainerConfig, text: str) -> ContainerConfig:
    paths = _json_words(text) or _words(text)
    return replace(config, volumes={**(config.volumes or {}), **{path: {} for path in paths}})


def _user(config: ContainerConfig, text: str) -> ContainerConfig:
    return replace(config, user=text)


def _workdir(config: ContainerConfig, text: str) -> ContainerConfig:
    if not text.startswith("/"):
        text = f"{config.working_dir.rstrip('/')}/{text}"
    return replace(config, working_dir=text)


def _on_build(config: ContainerConfig, text: str) -> ContainerConfig:
    word = text.partition(" ")[0].upper()
    if word in ("ONBUILD", "FROM", "MAINTAINER"):
        raise InvalidParameter(f"{word} isn't allowed as an ONBUILD trigger")
    return replace(config, on_build=[*(config.on_build or []), text])


def _stop_signal(config: ContainerConfig, text: str) -> ContainerConfig:
    return replace(config, stop_signal=text)


def _shell(config: ContainerConfig, text: str) -> ContainerConfig:
    words = _json_words(text)
    if not words:
        raise InvalidParameter("SHELL requires the arguments to be in JSON form")
    return replace(config, shell=words)


def _healthcheck(config: ContainerConfig, text: str) -> ContainerConfig:
    durations: dict[str, int] = {}
    words = text.split()
    while words and words[0].startswith("--"):
        key, _, value = words.pop(0)[2:].partition("=")
        if key not in ("interval", "timeout", "start-period", "start-interval", "retries"):
            raise InvalidParameter(f"unknown flag: {key}")
        if key != "retries":
            durations[key] = parse_duration(value)
        elif value.isdecimal():
            durations[key] = int(value)
        else:
            raise InvalidParameter(f"invalid value {value!r} for flag retries")
    kind = words.pop(0).upper() if words else ""
    rest = text.split(None, len(text.split()) - len(words))[-1] if words else ""
    if kind == "NONE" and not rest:
        test = ["NONE"]
    elif kind == "CMD" and rest:
        exec_form = _json_words(rest)
        test = ["CMD", *exec_form] if exec_form else ["CMD-SHELL", rest]
    else:
        raise InvalidParameter(f"unknown type {kind!r} in HEALTHCHECK (try CMD)")
    health = HealthConfig(
        test=test,
        interval=durations.get("interval", 0),
        timeout=durations.get("timeout", 0),
        start_period=durations.get("start-period", 0),
        start_interval=durations.get("start-interval", 0),
        retries=durations.get("retries", 0),
    )
    return replace(config, healthcheck=health)


_INSTRUCTIONS: dict[str, Change] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}


def _command(config: ContainerConfig, text: str) -> list[str]:
    words = _json_words(text)
    return words if words is not None else [*(config.shell or _SHELL), text]


def _json_words(text: str) -> list[str] | None:
    """Return the words of the JSON form; None when `text` is not in that form."""
    if not text.startswith("["):
        return None
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError:
        return None


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as exc:
        raise InvalidParameter(f"unbalanced quotes in {text!r}") from exc


def _pairs(text: str) -> dict[str, str]:
    """Return `k=v k2="v 2"`, or the old form `k the rest`."""
    if not _ASSIGNMENT.match(text):
        key, space, value = text.partition(" ")
        if not space:
            raise InvalidParameter(
                f"Syntax error - can't find = in {text!r}. Must be of the form: name=value"
            )
        return {key: value.strip()}
    pairs = {}
    for word in _words(text):
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise InvalidParameter(
                f"Syntax error - can't find = in {word!r}. Must be of the form: name=value"
            )
        pairs[key] = value
    return pairs
