"""From Binds, Mounts, VolumesFrom, Tmpfs and image volumes to one normalised list; pure.

There is one list before any policy looks at it (SECURITY class 18). Texts and rules: dockerd.
"""

import posixpath
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from pinnace.errors import ContainerNotFound, InvalidParameter
from pinnace.model.container import Container, ContainerConfig, HostConfig, Mount, MountRecord

_PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_CONSISTENCY = frozenset({"consistent", "cached", "delegated", "default"})
_LABELS = frozenset({"z", "Z"})
_TYPES = frozenset({"bind", "volume", "tmpfs", "image"})

Lookup = Callable[[str], Container]


def clean_path(path: str) -> str:
    """Return an absolute container path without `.`, `..` and doubled slashes."""
    return posixpath.normpath("/" + path.lstrip("/"))


def wanted_mounts(
    config: ContainerConfig,
    host: HostConfig,
    *,
    lookup: Lookup,
    read_only_non_recursive: bool = False,
    lenient: bool = False,
) -> list[MountRecord]:
    """Return every mount a container asks for, by destination depth; volumes may be unnamed.

    Later sources win where dockerd lets them: VolumesFrom, then Binds, then Mounts, then tmpfs;
    a volume of the config or image gives way to all of them.

    Raises:
        InvalidParameter: A bad specification, or two for one destination.
        ContainerNotFound: VolumesFrom names an unknown container.
    """
    found: dict[str, MountRecord] = {}
    for spec in host.volumes_from or []:
        found.update((mount.destination, mount) for mount in _volumes_from(spec, lookup))
    explicit: set[str] = set()
    recursive_ro = not read_only_non_recursive
    for mount in _explicit(host, recursive_ro=recursive_ro, lenient=lenient):
        if mount.destination in explicit:
            raise InvalidParameter(f"Duplicate mount point: {mount.destination}")
        explicit.add(mount.destination)
        found[mount.destination] = mount
    for destination in config.volumes or {}:
        path = clean_path(destination)
        if path == "/":
            raise InvalidParameter(f"invalid volume specification: '{destination}'")
        found.setdefault(
            path,
            MountRecord(
                type="volume", destination=path, driver="local", copy_up=True, anonymous=True
            ),
        )
    return sorted(found.values(), key=lambda mount: mount.destination.count("/"))


def _explicit(host: HostConfig, *, recursive_ro: bool, lenient: bool) -> Iterable[MountRecord]:
    for spec in host.binds or []:
        bind = parse_bind(spec)
        yield replace(bind, read_only_recursive=recursive_ro)
    for mount in host.mounts or []:
        yield _asked(mount, recursive_ro=recursive_ro, lenient=lenient)
    for destination, options in (host.tmpfs or {}).items():
        yield _tmpfs(destination, options)


def parse_bind(spec: str) -> MountRecord:
    """Parse `source:destination[:mode]` (`-v`); a source that is no path names a volume.

    Raises:
        InvalidParameter: `invalid volume specification: 'SPEC'` or `invalid mode: MODE`.
    """
    parts = spec.split(":")
    if not 1 < len(parts) < 4 or not all(parts[:2]):
        if len(parts) == 1 and parts[0].startswith("/"):
            return MountRecord(
                type="volume",
                destination=_destination(parts[0], spec),
                driver="local",
                copy_up=True,
                anonymous=True,
            )
        raise InvalidParameter(f"invalid volume specification: '{spec}'")
    source, destination = parts[0], _destination(parts[1], spec)
    mode = parts[2] if len(parts) == 3 else ""
    words = _mode_words(mode)
    read_only = "ro" in words
    propagation = next((word for word in words if word in _PROPAGATIONS), "")
    if source.startswith("/"):
        if "nocopy" in words:
            raise InvalidParameter(f"invalid mode: {mode}")
        return MountRecord(
            type="bind",
            source=posixpath.normpath(source),
            destination=destination,
            rw=not read_only,
            propagation=propagation or "rprivate",
            mode=mode,
            create_source=True,
        )
    if propagation:
        raise InvalidParameter(f"invalid mode: {mode}")
    return MountRecord(
        type="volume",
        name=source,
        driver="local",
        destination=destination,
        rw=not read_only,
        mode=mode or "z",
        copy_up="nocopy" not in words,
    )


def _mode_words(mode: str) -> list[str]:
    words = [word for word in mode.split(",") if word]
    known = _PROPAGATIONS | _CONSISTENCY | _LABELS | {"ro", "rw", "nocopy"}
    groups = [
        [word for word in words if word in group]
        for group in (_PROPAGATIONS, _CONSISTENCY, {"ro", "rw"}, _LABELS)
    ]
    if not set(words) <= known or any(len(group) > 1 for group in groups):
        raise InvalidParameter(f"invalid mode: {mode}")
    return words


def _destination(path: str, spec: str) -> str:
    if not path.startswith("/"):
        raise InvalidParameter(
            f"invalid volume specification: '{spec}': invalid mount config for type \"bind\":"
            f" invalid mount path: '{path}' mount path must be absolute"
        )
    cleaned = clean_path(path)
    if cleaned == "/":
        raise InvalidParameter(
            f"invalid volume specification: '{spec}': invalid mount config for type \"bind\":"
            " invalid specification: destination can't be '/'"
        )
    return cleaned


def _asked(mount: Mount, *, recursive_ro: bool, lenient: bool) -> MountRecord:
    kind = mount.type or "volume"
    if kind not in _TYPES:
        raise InvalidParameter(f'invalid mount config for type "{kind}": mount type unknown')
    _check_target(mount, kind)
    if not lenient:
        _check_options(mount, kind)
    common = MountRecord(
        type=kind, destination=clean_path(mount.target), rw=not mount.read_only, asked=True
    )
    match kind:
        case "bind":
            return _asked_bind(mount, common, recursive_ro=recursive_ro)
        case "volume":
            options = mount.volume_options
            return replace(
                common,
                name=mount.source,
                driver="local",
                mode="z",
                copy_up=options is None or not options.no_copy,
                subpath=options.subpath if options else "",
                anonymous=not mount.source,
            )
        case "tmpfs":
            return replace(common, options=_tmpfs_options(mount))
        case _:
            subpath = mount.image_options.subpath if mount.image_options else ""
            return replace(common, name=mount.source, rw=False, subpath=subpath)


def _asked_bind(mount: Mount, common: MountRecord, *, recursive_ro: bool) -> MountRecord:
    options = mount.bind_options
    if not mount.source.startswith("/"):
        raise _invalid("bind", f"invalid mount path: '{mount.source}' mount path must be absolute")
    propagation = (options.propagation if options else "") or "rprivate"
    if propagation not in _PROPAGATIONS:
        raise _invalid("bind", f"invalid propagation mode: {propagation}")
    non_recursive_ro = options is not None and (
        options.read_only_non_recursive or options.non_recursive
    )
    if options and options.read_only_force_recursive:
        if options.read_only_non_recursive:
            raise _invalid(
                "bind", "ReadOnlyForceRecursive must not be set with ReadOnlyNonRecursive"
            )
        if propagation not in {"", "rprivate"}:
            raise _invalid("bind", "ReadOnlyForceRecursive requires Propagation to be rprivate")
    return replace(
        common,
        source=posixpath.normpath(mount.source),
        propagation=propagation,
        create_source=options is not None and options.create_mountpoint,
        recursive=not (options and options.non_recursive),
        read_only_recursive=recursive_ro and not non_recursive_ro,
    )


def _check_target(mount: Mount, kind: str) -> None:
    if not mount.target:
        raise _invalid(kind, "field Target must not be empty")
    if not mount.target.startswith("/"):
        raise _invalid(kind, f"invalid mount path: '{mount.target}' mount path must be absolute")
    if clean_path(mount.target) == "/":
        raise _invalid(kind, "invalid specification: destination can't be '/'")
    if kind == "bind" and not mount.source:
        raise _invalid(kind, "field Source must not be empty")
    if kind == "tmpfs" and mount.source:
        raise _invalid(kind, "field Source must not be specified")
    if kind == "image" and not mount.source:
        raise _invalid(kind, "field Source must not be empty")


def _check_options(mount: Mount, kind: str) -> None:
    given = {
        "BindOptions": ("bind", mount.bind_options),
        "VolumeOptions": ("volume", mount.volume_options),
        "TmpfsOptions": ("tmpfs", mount.tmpfs_options),
        "ImageOptions": ("image", mount.image_options),
    }
    for name, (owner, options) in given.items():
        if options is not None and owner != kind:
            raise _invalid(kind, f"field {name} must not be specified")


def _invalid(kind: str, text: str) -> InvalidParameter:
    return InvalidParameter(f'invalid mount config for type "{kind}": {text}')


def _tmpfs_options(mount: Mount) -> list[str]:
    given = mount.tmpfs_options
    if given is None:
        return []
    if given.size_bytes < 0:
        raise _invalid("tmpfs", "size must be positive")
    options = [f"size={given.size_bytes}"] if given.size_bytes else []
    if given.mode:
        options.append(f"mode={given.mode:o}")
    return [*options, *("=".join(option) for option in given.options or [])]


def _tmpfs(destination: str, options: str) -> MountRecord:
    if not destination.startswith("/"):
        raise InvalidParameter(f"invalid mount path: '{destination}' mount path must be absolute")
    words = [word for word in options.split(",") if word]
    return MountRecord(
        type="tmpfs",
        destination=clean_path(destination),
        mode=options,
        options=words,
        rw="ro" not in words,
    )


def _volumes_from(spec: str, lookup: Lookup) -> Iterable[MountRecord]:
    ref, _, mode = spec.partition(":")
    if not ref:
        raise InvalidParameter(f"invalid volumes-from specification: {spec}")
    words = _mode_words(mode)
    try:
        donor = lookup(ref)
    except ContainerNotFound as exc:
        # Not "not found": a client would take that for a missing image and pull it.
        raise InvalidParameter(exc.message) from exc
    for mount in donor.mounts:
        if mount.type in {"tmpfs", "image"}:
            continue
        yield replace(
            mount,
            rw=mount.rw and "ro" not in words,
            mode=mode or mount.mode,
            copy_up=False,
            anonymous=False,
        )
