"""What the API edge hands to `build`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pinnace.contracts.registry import Credentials
from pinnace.model.build import StepLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildParams:
    """A build as it was asked for.

    Attributes:
        dockerfile: Path in the context; "": `Dockerfile`.
        tags: Names for the image.
        remote: URL of a Dockerfile, of an archive or of a Git repository; "": none.
        quiet: Tell only the image's id, and everything if the build fails.
        no_cache: Take no step from the cache.
        pull: Ask the registry for newer base images.
        remove: Remove the containers of steps when they have succeeded.
        force_remove: Also when they have failed.
        build_args: None: named without a value.
        labels: For the last stage.
        target: Stage to build; "": the last one.
        cache_from: Images whose steps may be taken instead of being run.
        platform: Of base images and result; "": the host's.
        limits: Of RUN.
        credentials: By host name of the registry.
    """

    dockerfile: str = ""
    tags: tuple[str, ...] = ()
    remote: str = ""
    quiet: bool = False
    no_cache: bool = False
    pull: bool = False
    remove: bool = True
    force_remove: bool = False
    build_args: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    cache_from: tuple[str, ...] = ()
    platform: str = ""
    limits: StepLimits = field(default_factory=StepLimits)
    credentials: Mapping[str, Credentials] = field(default_factory=dict)
