"""Which stages a build needs, and in which other stages they look; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pinnace.engine.builds.instructions import (
    Copy,
    Dockerfile,
    Instruction,
    Label,
    Pair,
    Run,
    Stage,
)
from pinnace.engine.builds.scope import GlobalScope
from pinnace.engine.builds.words import quoted_word
from pinnace.errors import InvalidParameter


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be built.

    Attributes:
        stages: Those needed, in the order of the file; the last one is the target.
        total: Steps shown to the client.
    """

    stages: tuple[Stage, ...]
    total: int


def make_plan(
    dockerfile: Dockerfile, scope: GlobalScope, *, target: str, labels: Mapping[str, str]
) -> Plan:
    """Return the stages that the target needs.

    Raises:
        InvalidParameter: There is no such target, or a stage name is used twice.
    """
    check_names(dockerfile.stages)
    last = find_target(dockerfile.stages, target)
    needed = {last.index}
    for stage in reversed(dockerfile.stages[: last.index + 1]):
        if stage.index in needed:
            needed |= inputs_of(stage, dockerfile.stages, scope)
    stages = [stage for stage in dockerfile.stages if stage.index in needed]
    if labels:
        stages[-1] = _labelled(stages[-1], labels, escape=dockerfile.escape)
    total = len(dockerfile.arguments) + sum(1 + len(stage.instructions) for stage in stages)
    return Plan(tuple(stages), total)


def check_names(stages: Sequence[Stage]) -> None:
    """Check that no name is used twice.

    Raises:
        InvalidParameter: `NAME stage name already used`, dockerd's words.
    """
    seen: set[str] = set()
    for stage in stages:
        name = stage.origin.name
        if name and name in seen:
            raise InvalidParameter(f"{name} stage name already used")
        seen.add(name)


def find_target(stages: Sequence[Stage], target: str) -> Stage:
    """Return the stage that a name or number means; "" is the last one.

    Raises:
        InvalidParameter: There is none.
    """
    if not target:
        return stages[-1]
    found = find_stage(stages, target)
    if found is None:
        raise InvalidParameter(f"failed to reach build target {target} in Dockerfile")
    return found


def find_stage(stages: Sequence[Stage], ref: str) -> Stage | None:
    """Return the stage with a name (case does not count) or number; None: there is none."""
    for stage in stages:
        if stage.origin.name == ref.lower():
            return stage
    number = stage_number(ref)
    return stages[number] if number is not None and number < len(stages) else None


def stage_number(ref: str) -> int | None:
    """Return the number that `ref` is; None: it is a name."""
    if not (ref.isascii() and ref.isdecimal()):
        return None
    return int(ref[:9])  # there are not that many stages


def find_base(stages: Sequence[Stage], base: str) -> Stage | None:
    """Return the stage that FROM names: only names count, not numbers."""
    return next((stage for stage in stages if stage.origin.name == base.lower()), None)


def inputs_of(stage: Stage, stages: Sequence[Stage], scope: GlobalScope) -> set[int]:
    """Return the numbers of the earlier stages that a stage reads."""
    earlier = stages[: stage.index]
    base = find_base(earlier, scope.expand_from(stage.origin).base)
    found = {base.index} if base else set()
    for instruction in stage.instructions:
        for ref in _references(instruction):
            other = find_stage(earlier, ref)
            if other is not None:
                found.add(other.index)
    return found


def _references(instruction: Instruction) -> list[str]:
    match instruction:
        case Copy(from_=ref) if ref:
            return [ref]
        case Run(mount_flags=flags):
            # Targets and sizes may have variables; where a mount comes from may not.
            mounts = [_mount_origin(flag) for flag in flags]
            return [ref for ref in mounts if ref]
    return []


def _mount_origin(flag: str) -> str:
    fields = dict(field.partition("=")[::2] for field in flag.split(","))
    return fields.get("from", "")


def _labelled(stage: Stage, labels: Mapping[str, str], *, escape: str) -> Stage:
    """Add what `--label` asks for as instructions; nothing in them is a variable."""
    location = (stage.instructions[-1] if stage.instructions else stage.origin).location
    added = [
        Label(
            original=f"LABEL {key}={value}",
            location=location,
            pairs=(Pair(quoted_word(key, escape=escape), quoted_word(value, escape=escape)),),
        )
        for key, value in sorted(labels.items())
    ]
    return Stage(stage.index, stage.origin, (*stage.instructions, *added))
