"""The mounts of a container, in the order in which the runtime makes them. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pinnace.engine.containers.security_options import parse_security_options
from pinnace.errors import InvalidParameter
from pinnace.model.container import Container, MountRecord
from pinnace.oci.runtime_spec import Mount

DEFAULT_SHM_BYTES = 64 * 1024 * 1024
INIT_TARGET = "/sbin/docker-init"
CGROUP_TARGET = "/sys/fs/cgroup"
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev", "rprivate")
_FLAGS = {
    word: opposite
    for pair in (
        ("ro", "rw"),
        ("noexec", "exec"),
        ("nosuid", "suid"),
        ("nodev", "dev"),
        ("noatime", "atime"),
        ("nodiratime", "diratime"),
        ("relatime", "norelatime"),
        ("strictatime", "nostrictatime"),
        ("sync", "async"),
        ("dirsync", "dirsync"),
        ("mand", "nomand"),
    )
    for word, opposite in (pair, pair[::-1])
}
_KEPT_FLAGS = frozenset(("noexec", "nosuid", "nodev", "noatime", "nodiratime"))
_PROPAGATIONS = frozenset(
    prefix + kind for prefix in ("", "r") for kind in ("private", "shared", "slave", "unbindable")
)
_TMPFS_KEYS = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge", "inode64")


@dataclass(frozen=True, slots=True)
class MountInputs:
    """Host paths that were prepared for one start.

    Attributes:
        hosts: File that becomes /etc/hosts; "" leaves the image's.
        hostname: Likewise /etc/hostname.
        resolv_conf: Likewise /etc/resolv.conf.
        shm: Host directory for /dev/shm where it is shared; "" for a private one.
        init: Host path of the init program; "" without `--init`.
        sources: Final sources by destination, where they differ from the record (subpaths).
        propagations: Propagation of the mount that holds each source: `shared`, `slave` or
            `private`; a source that is not named is not checked.
        plain_files: Sources of read-only binds that are no directories.
    """

    hosts: str = ""
    hostname: str = ""
    resolv_conf: str = ""
    shm: str = ""
    init: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    propagations: Mapping[str, str] = field(default_factory=dict)
    plain_files: Collection[str] = ()


def mounts(container: Container, inputs: MountInputs) -> list[Mount]:
    """Return all mounts: the kernel's file systems first, then the user's, outermost first.

    Raises:
        InvalidParameter: Options of a tmpfs, or a propagation that the source cannot have.
    """
    given = [_user_mount(record, inputs) for record in container.mounts]
    taken = {mount.destination for mount in given}
    given += [mount for mount in _etc_files(container, inputs) if mount.destination not in taken]
    # Sorting is stable: mounts of the same depth keep their order.
    given.sort(key=lambda mount: len(_parts(mount.destination)))
    own = [mount for mount in _kernel_mounts(container, inputs) if not _covered(mount, given)]
    return own + given


def wants_init(container: Container) -> bool:
    """Whether a small init runs in front; not where another pid namespace has its own."""
    mode = container.host_config.pid_mode
    shared = mode == "host" or mode.startswith("container:")
    return bool(container.host_config.init) and not shared


def rootfs_propagation(container: Container) -> str:
    """Return what the root mount must be, so that shared and slave binds can work; "" default."""
    asked = {record.propagation.removeprefix("r") for record in container.mounts}
    if "shared" in asked:
        return "shared"
    return "rslave" if "slave" in asked else ""


def tmpfs_options(options: Sequence[str]) -> list[str]:
    """Merge tmpfs options over the defaults; a later flag replaces its opposite.

    Raises:
        InvalidParameter: An option does not exist.
    """
    result: list[str] = []
    for option in (*_TMPFS_DEFAULTS, *options):
        key, equal, _ = option.partition("=")
        if option in _FLAGS:
            result = [other for other in result if other not in (option, _FLAGS[option])]
        elif option in _PROPAGATIONS:
            result = [other for other in result if other not in _PROPAGATIONS]
        elif equal and key in _TMPFS_KEYS:
            result = [other for other in result if not other.startswith(f"{key}=")]
        else:
            words = " ".join(f'"{word}"' for word in option.split("=", 1))
            raise InvalidParameter(f"invalid tmpfs option [{words}]")
        result.append(option)
    return result


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _covered(own: Mount, given: Sequence[Mount]) -> bool:
    """A mount of ours gives way to the user's at the same place; all of /dev's to one at /dev."""
    destinations = {mount.destination for mount in given}
    under_dev = own.destination.startswith("/dev/")
    return own.destination in destinations or (under_dev and "/dev" in destinations)


def _kernel_mounts(container: Container, inputs: MountInputs) -> list[Mount]:
    host = container.host_config
    writable_sys = host.privileged and not host.readonly_rootfs
    return [
        Mount(
            destination="/proc",
            type="proc",
            source="proc",
            options=["nosuid", "noexec", "nodev"],
        ),
        Mount(
            destination="/dev",
            type="tmpfs",
            source="tmpfs",
            options=["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        Mount(
            destination="/dev/pts",
            type="devpts",
            source="devpts",
            options=["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        Mount(
            destination="/sys",
            type="sysfs",
            source="sysfs",
            options=["nosuid", "noexec", "nodev", "rw" if writable_sys else "ro"],
        ),
        Mount(
            destination=CGROUP_TARGET,
            type="cgroup",
            source="cgroup",
            options=["rw" if writable_cgroups(container) else "ro", "nosuid", "noexec", "nodev"],
        ),
        *_message_mounts(container, inputs),
    ]


def writable_cgroups(container: Container) -> bool:
    """Whether the container may write its own control groups."""
    asked = parse_security_options(container.host_config.security_opt or ()).writable_cgroups
    return container.host_config.privileged if asked is None else asked


def _message_mounts(container: Container, inputs: MountInputs) -> list[Mount]:
    """System V and POSIX shared memory follow the ipc namespace."""
    # The file system shows the queues of the namespace that mounts it, the host's too.
    queue = Mount(
        destination="/dev/mqueue",
        type="mqueue",
        source="mqueue",
        options=["nosuid", "noexec", "nodev"],
    )
    if container.host_config.ipc_mode == "none":
        return [queue]
    if inputs.shm:
        shm = Mount(
            destination="/dev/shm",  # noqa: S108 # where programs look for it
            type="bind",
            source=inputs.shm,
            options=["rbind", "rprivate"],
        )
    else:
        size = container.host_config.shm_size or DEFAULT_SHM_BYTES
        shm = Mount(
            destination="/dev/shm",  # noqa: S108 # where programs look for it
            type="tmpfs",
            source="shm",
            options=["nosuid", "noexec", "nodev", "mode=1777", f"size={size}"],
        )
    return [queue, shm]


def _etc_files(container: Container, inputs: MountInputs) -> list[Mount]:
    files = (
        ("/etc/resolv.conf", inputs.resolv_conf),
        ("/etc/hostname", inputs.hostname),
        ("/etc/hosts", inputs.hosts),
    )
    access = ["ro"] if container.host_config.readonly_rootfs else []
    found = [
        Mount(
            destination=target, type="bind", source=source, options=["rbind", *access, "rprivate"]
        )
        for target, source in files
        if source
    ]
    if inputs.init and wants_init(container):
        found.append(
            Mount(destination=INIT_TARGET, type="bind", source=inputs.init, options=["bind", "ro"])
        )
    return found


def _user_mount(record: MountRecord, inputs: MountInputs) -> Mount:
    if record.type == "tmpfs":
        access = [] if record.rw else ["ro"]
        options = tmpfs_options([*record.options, *access])
        return Mount(destination=record.destination, type="tmpfs", source="tmpfs", options=options)
    source = inputs.sources.get(record.destination, record.source)
    propagation = record.propagation or "rprivate"
    _check_propagation(source, propagation, inputs.propagations)
    options = ["rbind" if record.recursive else "bind"]
    if not record.rw:
        # Nothing is mounted below a file, and crun 1.8 opens the target of `rro` as a directory.
        recursive = record.recursive and record.read_only_recursive
        options.append("rro" if recursive and source not in inputs.plain_files else "ro")
    return Mount(
        destination=record.destination,
        type="bind",
        source=source,
        options=[*options, *_volume_flags(record), propagation],
    )


def _volume_flags(record: MountRecord) -> list[str]:
    """Return the flags a volume is mounted with: the runtime's bind would go without them."""
    given = [value for key, _, value in (o.partition("=") for o in record.options) if key == "o"]
    return [word for words in given for word in words.split(",") if word in _KEPT_FLAGS]


def _check_propagation(source: str, wanted: str, found: Mapping[str, str]) -> None:
    kind, held = wanted.removeprefix("r"), found.get(source)
    if kind == "shared" and held in ("slave", "private"):
        raise InvalidParameter(f"path {source} is mounted on / but it is not a shared mount")
    if kind == "slave" and held == "private":
        raise InvalidParameter(
            f"path {source} is mounted on / but it is not a shared or slave mount"
        )
