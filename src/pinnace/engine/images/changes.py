"""Dockerfile instructions that `commit` and `import` apply to an image's config; pure."""

from collections.abc import Sequence

from pinnace.engine.builds.config import ConfigState, apply
from pinnace.engine.builds.dockerfile import parse_changes
from pinnace.engine.builds.expand import expand
from pinnace.errors import InvalidParameter
from pinnace.model.container import ContainerConfig


def apply_changes(config: ContainerConfig, changes: Sequence[str]) -> ContainerConfig:
    """Return `config` after the instructions, in order; variables are those of its environment.

    Args:
        config: To begin with.
        changes: Lines of a Dockerfile; one may hold several.

    Raises:
        InvalidParameter: An unknown or malformed instruction, or nothing but empty lines.
    """
    if not changes:
        return config
    instructions = parse_changes(changes)
    if not instructions:
        raise InvalidParameter("file with no instructions")
    state = ConfigState(config)
    for instruction in instructions:
        variables = dict(entry.split("=", 1) for entry in state.config.env or [] if "=" in entry)
        state = apply(state, expand(instruction, variables))
    return state.config
