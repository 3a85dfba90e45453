"""Which variables an instruction sees: ARG before the first FROM, ARG in a stage, ENV.

Reference: "ARG" of the Dockerfile reference: "Scope", "Predefined ARGs", "Automatic platform ARGs
in the global scope", "Impact on build caching".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pinnace.engine.builds.expand import expand
from pinnace.engine.builds.instructions import Arg, Dockerfile, From, Stage
from pinnace.engine.builds.words import expand_word
from pinnace.errors import InvalidParameter
from pinnace.oci.platform import Platform

PREDEFINED = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)
"""Arguments that need no ARG and, unless declared, appear neither in history nor in cache keys."""


def platform_arguments(
    target: Platform, build: Platform, *, stage: str = "default"
) -> dict[str, str]:
    """Return the automatic arguments.

    Args:
        target: What the image is for.
        build: What the build runs on.
        stage: Target stage asked for.
    """
    arguments = {"TARGETSTAGE": stage}
    for prefix, platform in (("TARGET", target), ("BUILD", build)):
        parts = (platform.os, platform.architecture, platform.variant)
        arguments[f"{prefix}PLATFORM"] = "/".join(part for part in parts if part)
        arguments[f"{prefix}OS"] = platform.os
        arguments[f"{prefix}ARCH"] = platform.architecture
        arguments[f"{prefix}VARIANT"] = platform.variant
    return arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalScope:
    """Arguments before the first FROM.

    Attributes:
        given: Build arguments of the request; None: named, but without a value.
        automatic: See `platform_arguments`.
        defaults: Values of the global ARG instructions, expanded; None: declared without one.
        escape: The file's escape character.
    """

    given: Mapping[str, str | None]
    automatic: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str | None] = field(default_factory=dict)
    escape: str = "\\"

    @classmethod
    def of_file(
        cls,
        dockerfile: Dockerfile,
        given: Mapping[str, str | None],
        automatic: Mapping[str, str],
    ) -> "GlobalScope":
        """Return the scope in which all FROM of `dockerfile` are read.

        Raises:
            InvalidParameter: A default cannot be expanded.
        """
        scope = cls(given=given, automatic=automatic, escape=dockerfile.escape)
        for instruction in dockerfile.arguments:
            expanded = expand(instruction, scope.variables(), escape=scope.escape)
            defaults = {argument.name: argument.default for argument in expanded.arguments}
            scope = replace(scope, defaults={**scope.defaults, **defaults})
        return scope

    def variables(self) -> dict[str, str]:
        """Return what FROM and global ARG see."""
        values = dict(self.automatic)
        for name in (*self.automatic, *self.defaults, *PREDEFINED):
            value = self.value(name)
            if value is not None:
                values[name] = value
        return values

    def value(self, name: str) -> str | None:
        """Return the global value of an argument; None: it has none."""
        given = self.given.get(name)
        if given is not None:
            return given
        default = self.defaults.get(name)
        return self.automatic.get(name) if default is None else default

    def expand_from(self, origin: From) -> From:
        """Return FROM with its final words.

        Raises:
            InvalidParameter: They cannot be expanded, or the base is blank.
        """
        variables = self.variables()
        base = expand_word(origin.base, variables, escape=self.escape)
        if not base:
            raise InvalidParameter(f"base name ({origin.base}) should not be blank")
        platform = expand_word(origin.platform, variables, escape=self.escape)
        return replace(origin, base=base, platform=platform)

    def stage(self, base: "StageScope | None" = None) -> "StageScope":
        """Return the scope at the start of a stage; `base`: that of the stage it is FROM."""
        return StageScope(self, base.declared if base else {})


@dataclass(frozen=True, slots=True)
class StageScope:
    """Arguments of a stage, up to some instruction.

    Attributes:
        outer: Arguments before the first FROM.
        declared: Names of the stage's ARG with their defaults, expanded; None: without one.
    """

    outer: GlobalScope
    declared: Mapping[str, str | None] = field(default_factory=dict)

    def declare(self, instruction: Arg) -> "StageScope":
        """Return the scope after an ARG that has been expanded."""
        defaults = {argument.name: argument.default for argument in instruction.arguments}
        return replace(self, declared={**self.declared, **defaults})

    def variables(self, environment: Iterable[str]) -> dict[str, str]:
        """Return what an instruction sees; ENV goes before ARG.

        Args:
            environment: `name=value` of the stage so far.
        """
        return {**self._arguments(), **_environment(environment)}

    def run_arguments(self, environment: Iterable[str]) -> dict[str, str]:
        """Return what RUN gets besides the environment, sorted; never part of the image."""
        taken = _environment(environment)
        arguments = self._arguments()
        return {name: arguments[name] for name in sorted(arguments) if name not in taken}

    def recorded_arguments(self, environment: Iterable[str]) -> dict[str, str]:
        """Return those of `run_arguments` that history and cache keys name."""
        arguments = self.run_arguments(environment)
        return {
            name: value
            for name, value in arguments.items()
            if name in self.declared or name not in PREDEFINED
        }

    def _arguments(self) -> dict[str, str]:
        values = {}
        for name in (*self.declared, *PREDEFINED):
            value = self._value(name)
            if value is not None:
                values[name] = value
        return values

    def _value(self, name: str) -> str | None:
        given = self.outer.given.get(name)
        if given is not None:
            return given
        default = self.declared.get(name)
        if default is None and name in self.declared:
            return self.outer.value(name)
        return default


def unused_arguments(given: Iterable[str], stages: Iterable[Stage]) -> list[str]:
    """Return the build arguments that no ARG of `stages` declares, sorted."""
    declared = {
        argument.name
        for stage in stages
        for instruction in stage.instructions
        if isinstance(instruction, Arg)
        for argument in instruction.arguments
    }
    return sorted(set(given) - declared - PREDEFINED)


def _environment(entries: Iterable[str]) -> dict[str, str]:
    return {name: value for name, _, value in (entry.partition("=") for entry in entries)}
