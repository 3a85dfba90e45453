"""Builders of layer tars for tests."""

import io
import tarfile


def member(
    name,
    content=None,
    *,
    kind=tarfile.REGTYPE,
    mode=0o644,
    link="",
    uid=0,
    gid=0,
    mtime=0,
    pax=None,
    device=(0, 0),
):
    """Return (TarInfo, content) of one archive member."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = kind, mode, link
    info.uid, info.gid, info.mtime = uid, gid, mtime
    info.devmajor, info.devminor = device
    info.pax_headers = pax or {}
    if content is not None:
        info.size = len(content)
    return info, content


def file(name, content=b"x", **more):
    return member(name, content, **more)


def folder(name, mode=0o755, **more):
    return member(name, kind=tarfile.DIRTYPE, mode=mode, **more)


def symlink(name, target, **more):
    return member(name, kind=tarfile.SYMTYPE, link=target, mode=0o777, **more)


def hardlink(name, target, **more):
    return member(name, kind=tarfile.LNKTYPE, link=target, **more)


def device(name, major, minor, *, kind=tarfile.CHRTYPE, **more):
    return member(name, kind=kind, device=(major, minor), **more)


def tar_of(*members, form=tarfile.PAX_FORMAT):
    """Return the bytes of a tar with these members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content) if content is not None else None)
    return out.getvalue()
