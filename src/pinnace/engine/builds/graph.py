"""What the solver works on: vertices, each an operation on the files of its parent.

A front end (`stage` for Dockerfiles) makes vertices and asks the solver for what they lead to. A
vertex knows nothing of languages: it has a parent, an operation whose inputs are resolved and
digested, and the config that the resulting image shall have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pinnace.contracts.build_files import CopyJob, FileJob
from pinnace.model.build import StepLimits
from pinnace.model.container import ContainerConfig
from pinnace.model.image import ImageLayer, ImageRecord
from pinnace.oci.chain import ChainId
from pinnace.oci.platform import Platform


@dataclass(frozen=True, slots=True)
class Built:
    """An image that a step led to, or nothing (`scratch`).

    Attributes:
        record: None: nothing yet.
        config: The image's exact config; b"" with no image.
        platform: Of the image, or of what is built on nothing.
    """

    record: ImageRecord | None
    config: bytes
    platform: Platform

    @property
    def id(self) -> str:
        """The image's id, "" with no image."""
        return self.record.id if self.record else ""

    @property
    def top(self) -> ChainId | None:
        """The topmost layer; None without layers."""
        return self.record.top if self.record else None

    @property
    def layers(self) -> Sequence[ImageLayer]:
        """The layers, lowest first."""
        return self.record.layers if self.record else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMount:
    """A mount of an execution, its source resolved.

    Attributes:
        type: `bind`, `cache` or `tmpfs`.
        target: Absolute path in the container.
        read_only: Nothing may be written; what is written to a bind mount is lost anyway.
        source: bind: path of what is shown, in the files of `chain` and `job`.
        chain: bind: layer that has it; None: only the job does.
        job: bind: what makes it, from a context; None: nothing is made.
        digest: bind: of the content; "" for other types.
        id: cache: its key.
        sharing: cache: `shared`, `private` or `locked`.
        mode: cache: permission bits at its beginning.
        uid: cache: owner at its beginning.
        gid: cache: group at its beginning.
        size_bytes: tmpfs: its limit, 0 for none.
    """

    type: str
    target: str
    read_only: bool = False
    source: str = ""
    chain: ChainId | None = None
    job: CopyJob | None = None
    digest: str = ""
    id: str = ""
    sharing: str = "shared"
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A command to be run in a container.

    Attributes:
        words: Program and arguments.
        config: Of the container, but for the words.
        arguments: Variables for this command only, by name.
        recorded: Those of them that the result depends on.
        mounts: In the order of the instruction.
        network: `default`, `none` or `host`; "": as the limits say.
        limits: See there.
    """

    words: tuple[str, ...]
    config: ContainerConfig
    arguments: Mapping[str, str] = field(default_factory=dict)
    recorded: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[StepMount, ...] = ()
    network: str = ""
    limits: StepLimits = field(default_factory=StepLimits)

    def identity(self) -> object:
        """Return what the result depends on, besides the parent."""
        mounts = [
            (one.type, one.target, one.read_only, one.source, one.digest, one.id, one.size_bytes)
            for one in self.mounts
        ]
        network = self.network or self.limits.network_mode
        arguments = sorted(self.recorded.items())
        hosts = self.limits.extra_hosts
        return ("execution", self.words, self.config, arguments, mounts, network, hosts)


@dataclass(frozen=True, slots=True)
class Copying:
    """Files to be copied.

    Attributes:
        jobs: What goes where.
        digest: Of the content of all jobs' selections.
    """

    jobs: tuple[CopyJob, ...]
    digest: str

    def identity(self) -> object:
        """Return what the result depends on, besides the parent."""
        jobs = [
            (job.target, job.owner, job.mode, job.unpack, job.mtime_ns, job.link)
            for job in self.jobs
        ]
        return ("copying", jobs, self.digest)


@dataclass(frozen=True, slots=True)
class Making:
    """A directory to be made."""

    job: FileJob

    def identity(self) -> object:
        """Return what the result depends on, besides the parent."""
        return ("making", self.job.target, self.job.owner)


Operation = Execution | Copying | Making


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertex:
    """One step.

    Attributes:
        parent: What it stands on.
        operation: What is done to the files; None: nothing, only the config changes.
        config: Of the image that it leads to; None: the image says nothing of containers.
        created_by: For the history.
        author: For image and history.
        comment: For the history.
        created_ns: When the image is said to be made; None: when it is.
        cached: What it led to is remembered; otherwise it is done anew each time.
        further: More members of the image's config, in wire names; see `make.child_config`.
        container_config: What the image says of the container it was made in, in wire names; the
            host name of a container that was run is added. None: it says nothing.
    """

    parent: Built
    operation: Operation | None
    config: ContainerConfig | None
    created_by: str
    author: str = ""
    comment: str = ""
    created_ns: int | None = None
    cached: bool = True
    further: Mapping[str, object] = field(default_factory=dict)
    container_config: Mapping[str, object] | None = None
