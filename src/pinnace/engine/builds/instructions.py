"""What a Dockerfile says: stages and instructions, as parsed and before variables are expanded.

The way of a file through the front end, every step pure:

    dockerfile = parse(data)                         # dockerfile.py: bytes -> Dockerfile
    scope = GlobalScope.of_file(dockerfile, ...)     # scope.py: ARG, global and per stage
    origin = scope.expand_from(stage.origin)         # FROM's final words
    instruction = expand(instruction, variables)     # expand.py: same type, final words
    state = apply(state, instruction)                # config.py: what it changes in the config

A parsed instruction holds its words raw: quotes, escapes and `$names` are still in them, because
their meaning depends on the ENV and ARG before it. `expand` returns the same type with words
expanded and unquoted; only then the fields below hold what the image gets. Never expanded: the
command lines of RUN, CMD, ENTRYPOINT and HEALTHCHECK, the trigger of ONBUILD, SHELL, MAINTAINER.

Reference: the Dockerfile reference (docs.docker.com/reference/dockerfile), BuildKit's included.
"""

from dataclasses import dataclass, field
from typing import Literal

from pinnace.model.container import HealthConfig

MountType = Literal["bind", "cache", "tmpfs", "secret", "ssh"]
CacheSharing = Literal["shared", "private", "locked"]


@dataclass(frozen=True, slots=True)
class Location:
    """Lines of the Dockerfile, 1-based, both inclusive; heredoc bodies count."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document of RUN, COPY or ADD.

    Attributes:
        name: The word after `<<`, unquoted; for COPY and ADD the file's name.
        content: Body as written, every line with its line end.
        expands: Variables in `content` are expanded; false if the word was quoted.
            `expand` leaves RUN's to the shell and does COPY's and ADD's.
        strips_tabs: Written `<<-`: `text` is without leading tabs.
        fd: File descriptor before `<<`; 0 is the usual one.
    """

    name: str
    content: str
    expands: bool = True
    strips_tabs: bool = False
    fd: int = 0

    @property
    def text(self) -> str:
        """Return the body as the reader of the document sees it."""
        if not self.strips_tabs:
            return self.content
        return "".join(line.lstrip("\t") for line in self.content.splitlines(keepends=True))


@dataclass(frozen=True, slots=True)
class Command:
    """A command line.

    Attributes:
        words: Exec form: program and arguments. Shell form: one word, the line. Empty: nothing
            was written.
        is_shell: Shell form: the stage's SHELL is put in front of the line when it is run.
    """

    words: tuple[str, ...]
    is_shell: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """One `key=value` of ENV or LABEL; `is_old_form` for `ENV key the rest of the line`."""

    key: str
    value: str
    is_old_form: bool = False


@dataclass(frozen=True, slots=True)
class Argument:
    """One name declared by ARG; `default` is None without `=`."""

    name: str
    default: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One `RUN --mount`, variables expanded, defaults filled in.

    Attributes:
        type: Kind of mount.
        target: Path in the container; relative to WORKDIR. "" only for secret and ssh.
        source: Path inside `from_`; "" is its root.
        from_: Stage name, stage number or image; "" is the build context (cache: nothing).
        read_only: bind: true unless `rw`; cache: false unless `ro`.
        id: cache: its key, the target by default. secret, ssh: the name of what is wanted.
        sharing: cache: how builds at the same time share it.
        required: secret, ssh: fail if the client has none.
        env: secret: name of the environment variable that gets it.
        mode: Permission bits; None is the usual: cache 0o755, secret 0o400, ssh 0o600.
        uid: Owner, cache, secret and ssh.
        gid: Group, cache, secret and ssh.
        size_bytes: tmpfs: its limit, 0 for none.
    """

    type: MountType
    target: str = ""
    source: str = ""
    from_: str = ""
    read_only: bool = False
    id: str = ""
    sharing: CacheSharing = "shared"
    required: bool = False
    env: str = ""
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What all instructions have.

    Attributes:
        original: The logical line as written: continuation lines joined, comments gone, trimmed;
            without heredoc bodies. What `Step 1/3 : …` shows.
        location: Where it is.
    """

    original: str
    location: Location

    @property
    def keyword(self) -> str:
        """Return the instruction's word in upper case, such as `COPY`."""
        return type(self).__name__.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Instruction):
    """RUN.

    Attributes:
        command: What is run. With heredocs its line still has their `<<EOF` words.
        heredocs: Bodies, in order.
        is_script: The line is nothing but one heredoc: its text is run by the shell, or, if it
            begins with `#!`, as an executable file.
        mount_flags: Values of `--mount` as written.
        mounts: Parsed `mount_flags`; empty until `expand`.
        network: `default`, `none` or `host`; "" when not given.
        security: `sandbox` or `insecure`; "" when not given.
    """

    command: Command
    heredocs: tuple[Heredoc, ...] = ()
    is_script: bool = False
    mount_flags: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    network: str = ""
    security: str = ""

    @property
    def shell_line(self) -> str:
        """Return what the shell gets in shell form: the line and the heredocs below it."""
        if self.is_script:
            return self.heredocs[0].text
        return "".join(self.command.words) + "".join(
            f"\n{heredoc.content}{heredoc.name}" for heredoc in self.heredocs
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Instruction):
    """What COPY and ADD share.

    Attributes:
        sources: Paths, patterns and (ADD) URLs, without heredocs; may be empty beside some.
        target: Last word; ends in `/` when a directory is meant.
        heredocs: Files given inline. They come after `sources`.
        chown: `user[:group]`, "" when not given.
        chmod: Octal or symbolic mode, "" when not given.
        link: Independent of what the target path is in the layers below.
        excludes: Patterns of `--exclude`.
    """

    sources: tuple[str, ...]
    target: str
    heredocs: tuple[Heredoc, ...] = ()
    chown: str = ""
    chmod: str = ""
    link: bool = False
    excludes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Transfer):
    """COPY; `from_` is a stage name, stage number or image, "" for the build context."""

    from_: str = ""
    parents: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Transfer):
    """ADD.

    Attributes:
        checksum: `algorithm:hex` that a remote source must have, "" when not given.
        keep_git_dir: Keep `.git` of a Git source.
        unpack: Unpack archives, local and remote; None: the usual rule, local ones only.
    """

    checksum: str = ""
    keep_git_dir: bool = False
    unpack: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Insert(Instruction):
    """INSERT of 2013: fetch a URL into a file; takes exactly two words."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Instruction):
    """CMD."""

    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Instruction):
    """ENTRYPOINT."""

    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    """ENV; all pairs see the variables from before the instruction."""

    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Instruction):
    """LABEL."""

    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    """MAINTAINER, deprecated; sets the image's author."""

    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    """EXPOSE; `ports` as written, such as `80`, `53/udp`, `8000-8010`."""

    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    """VOLUME."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    """USER."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    """WORKDIR; relative to the one before."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    """ARG."""

    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild(Instruction):
    """ONBUILD; `trigger` is the text kept in the image, checked when parsed.

    `dockerfile.parse_triggers` makes instructions of an image's triggers.
    """

    trigger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopsignal(Instruction):
    """STOPSIGNAL; a name or number, checked when the image is made."""

    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Instruction):
    """HEALTHCHECK; `test` is `NONE`, `CMD …` or `CMD-SHELL line`."""

    health: HealthConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    """SHELL; always at least one word."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    """FROM.

    Attributes:
        base: Image, stage name or `scratch`, variables still in it.
        name: After AS, in lower case; "" when not given.
        platform: Value of `--platform`, variables still in it; "" when not given.
    """

    base: str
    name: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """FROM and the instructions up to the next FROM; `index` counts from 0."""

    index: int
    origin: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        """Return the stage's name, its number as text if it has none."""
        return self.origin.name or str(self.index)


@dataclass(frozen=True, slots=True)
class Dockerfile:
    r"""A parsed file.

    Attributes:
        arguments: ARG instructions before the first FROM.
        stages: At least one.
        escape: The escape character, `\` or a backtick; `expand` needs it.
        syntax: Value of the `syntax` directive, "" without one. It is never obeyed.
        check: Value of the `check` directive, "" without one.
        warnings: Texts for the client, such as empty continuation lines.
    """

    arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    escape: str = "\\"
    syntax: str = ""
    check: str = ""
    warnings: tuple[str, ...] = field(default=())
