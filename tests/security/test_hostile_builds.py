"""Hostile contexts, Dockerfiles and addresses: classes 8 to 14 as a build can replay them.

Every case ends in a clear error or in an image that has nothing of the host; nothing outside the
engine's own directories changes, and nothing is left behind.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from tests.e2e.build_corpus.build import inspect_image
from tests.support import pinnaced
from tests.support.images import busybox_archive
from tests.support.remote_build import MULTIPART, form, part

if TYPE_CHECKING:
    from tests.e2e.build_corpus.model import Outcome
    from tests.support.engine import Engine

pytestmark = pytest.mark.root

SECRET = "the-host's-own-secret"
TAG = "hostile:case"


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a context; `pax` are its own PAX records."""

    name: str
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    mode: int = 0o644
    device: tuple[int, int] = (0, 0)
    pax: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What is sent, and what may come of it.

    Attributes:
        name: Id of the test, its class first.
        dockerfile: Its text; "" leaves it out of the context.
        members: The rest of the context. `{secret}` in names and links is the canary's path.
        query: Parameters.
        error: Part of the error; "" when the build succeeds, None when either will do.
        has: Lines that the image's tree must have.
        lacks: Texts that no line of the tree may have.
        body: The whole body, instead of a context.
    """

    name: str
    dockerfile: str = "FROM busybox\nCOPY . /x/\n"
    members: tuple[Member, ...] = ()
    query: dict[str, str] = field(default_factory=dict)
    error: str | None = ""
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    body: bytes | None = None


def _link(name: str, target: str) -> Member:
    return Member(name, kind=tarfile.SYMTYPE, link=target)


def _file(name: str, data: bytes = b"x") -> Member:
    return Member(name, data)


FROM = "FROM busybox\n"

CONTEXTS = (
    Attack(name="9-dot-dot", members=(_file("../x"),), error=None),
    Attack(name="9-dot-dot-inside", members=(_file("a/../../x"),), error=None),
    Attack(name="9-absolute", members=(_file("{secret}", b"overwritten"),), error=None),
    Attack(
        name="9-through-link",
        members=(_link("l", "{directory}"), _file("l/secret", b"overwritten")),
        error=None,
    ),
    Attack(name="9-through-parent-link", members=(_link("l", ".."), _file("l/x")), error=None),
    Attack(
        name="9-hard-link-outside",
        members=(Member("h", kind=tarfile.LNKTYPE, link="{secret}"),),
        error=None,
    ),
    Attack(
        name="9-hard-link-dot-dot",
        members=(Member("h", kind=tarfile.LNKTYPE, link="../../../../etc/passwd"),),
        error=None,
    ),
    Attack(
        name="9-hard-link-to-link",
        members=(_link("l", "{secret}"), Member("h", kind=tarfile.LNKTYPE, link="l")),
        error=None,
    ),
    Attack(
        name="9-hard-link-to-itself",
        members=(Member("h", kind=tarfile.LNKTYPE, link="h"),),
        error=None,
    ),
    Attack(name="9-file-below-file", members=(_file("a"), _file("a/b")), error=None),
    Attack(name="9-same-name-twice", members=(_file("a", b"1"), _file("a", b"2")),
           has=("x/a f",)),
    Attack(name="9-directory-becomes-link",
           members=(_file("a/b"), _link("a", "{directory}"), _file("a/c")), error=None),
    Attack(name="9-newline-in-name", members=(_file("a\nb"),)),
    Attack(name="9-long-path", members=(_file("a/" * 3000 + "b"),), error=None),
    Attack(name="9-long-name", members=(_file("n" * 300),), error=None),
    Attack(name="9-long-link", members=(_link("l", "a" * 9000),), error=None),
    Attack(name="9-truncated", body=b"Dockerfile" + b"\0" * 90 + b"garbage" * 30, error="archive"),
    Attack(name="9-garbage", body=os.urandom(4096), error="archive"),
    Attack(name="9-empty-body", body=b"", error=None),
    Attack(name="9-no-dockerfile", dockerfile="", members=(_file("a"),), error="Dockerfile"),
    Attack(name="9-pax-size-lies", members=(Member("a", b"x", pax={"size": "99999999999999"}),),
           error=None),
    Attack(name="9-pax-negative-size", members=(Member("a", b"x", pax={"size": "-1"}),),
           error=None),
    Attack(name="9-pax-path-escapes", members=(Member("a", b"x", pax={"path": "../../y"}),),
           error=None),
    Attack(name="9-pax-link-escapes", error=None, members=(
        Member("h", kind=tarfile.LNKTYPE, link="a", pax={"linkpath": "{secret}"}),)),
    Attack(name="9-overlay-attributes", members=(
        Member("d", kind=tarfile.DIRTYPE, mode=0o755, pax={
            "SCHILY.xattr.trusted.overlay.opaque": "y",
            "SCHILY.xattr.trusted.overlay.redirect": "/etc"}),
        _file("d/a")), has=("x/d/a f",), lacks=("passwd",)),
    Attack(name="9-whiteout-names", dockerfile=FROM + "COPY . /\n",
           members=(_file("etc/.wh.passwd", b""),), error=None, lacks=("- etc/passwd",)),
    Attack(name="9-opaque-name", dockerfile=FROM + "COPY . /\n",
           members=(_file("etc/.wh..wh..opq", b""),), error=None, lacks=("- etc/passwd",)),
    Attack(name="9-whiteout-device", dockerfile=FROM + "COPY . /\n", members=(
        Member("etc/passwd", kind=tarfile.CHRTYPE),), error=None, lacks=("- etc/passwd",)),
    Attack(name="9-run-leaves-links", dockerfile=FROM + "RUN mkdir /w && cd /w && echo c > c && "
           "ln -s {secret} l && ln -s {directory} m && ln -s / n && ln c o && mkfifo p\n",
           has=("w/l l", "w/m l", "w/n l", "w/o f", "w/p")),
    Attack(name="9-run-leaves-marks", dockerfile=FROM + "RUN mkdir /w /w/.wh.d && cd /w && "
           "touch .wh.a .wh..wh..opq .wh.d/b c /etc/.wh.passwd && ln -s {directory} .wh.l\n",
           has=("w/c f",), lacks=("w/.wh.a", "w/.wh.l", "opq", "passwd")),
    Attack(name="9-memory-device", dockerfile=FROM + "COPY m /m\nRUN cat /m\n", members=(
        Member("m", kind=tarfile.CHRTYPE, device=(1, 1)),), error="non-zero code"),
    Attack(name="10-dockerfile-is-a-fifo", dockerfile="", members=(
        Member("Dockerfile", kind=tarfile.FIFOTYPE),), error="Dockerfile"),
    Attack(name="10-dockerfile-is-a-device", dockerfile="", members=(
        Member("Dockerfile", kind=tarfile.CHRTYPE, device=(1, 5)),), error="Dockerfile"),
    Attack(name="10-dockerfile-links-to-the-host", dockerfile="",
           members=(_link("Dockerfile", "{secret}"),), error="Dockerfile"),
    Attack(name="10-dockerfile-links-in-a-circle", dockerfile="",
           members=(_link("Dockerfile", "a"), _link("a", "Dockerfile")), error="Dockerfile"),
    Attack(name="10-dockerfile-too-large", dockerfile=FROM + "#" * (5 << 20), error="max allowed"),
    Attack(name="10-ignore-file-is-a-fifo", members=(
        Member(".dockerignore", kind=tarfile.FIFOTYPE),), error=None),
    Attack(name="10-ignore-file-is-a-directory", members=(
        Member(".dockerignore", kind=tarfile.DIRTYPE, mode=0o755),), error=None),
    Attack(name="10-ignore-file-links-to-the-host", members=(
        _link(".dockerignore", "{secret}"),), error=None),
    Attack(name="10-ignore-patterns-explode", members=(
        _file(".dockerignore", b"**/*a" * 400 + b"\n"), _file("a" * 200))),
)  # fmt: skip

COPIES = (
    Attack(name="11-copy-link-to-the-host", dockerfile=FROM + "COPY l /x\n",
           members=(_link("l", "{secret}"),), error=None),
    Attack(name="11-copy-below-link-to-the-host", dockerfile=FROM + "COPY l/secret /x\n",
           members=(_link("l", "{directory}"),), error="COPY failed"),
    Attack(name="11-copy-directory-link", dockerfile=FROM + "COPY l /x\n",
           members=(_link("l", "/"),), lacks=("secret",)),
    Attack(name="11-copy-dot-dot", dockerfile=FROM + "COPY ../../../etc/passwd /x\n",
           error="forbidden path outside the build context"),
    Attack(name="11-copy-dot-dot-through-link", dockerfile=FROM + "COPY l/../../etc/passwd /x\n",
           members=(_link("l", "/tmp"),), error="COPY failed"),
    Attack(name="11-add-file-url", dockerfile=FROM + "ADD file:///etc/passwd /x\n",
           error="ADD failed"),
    Attack(name="11-target-link-to-the-host",
           dockerfile=FROM + "RUN ln -s {directory} /l\nCOPY f /l/secret\n",
           members=(_file("f", b"overwritten"),)),
    Attack(name="11-target-absolute-link", dockerfile=FROM + "RUN ln -s / /l\nCOPY f /l/y\n",
           members=(_file("f"),), has=("y f",)),
    Attack(name="11-target-dot-dot", dockerfile=FROM + "COPY f /../../../../y\n",
           members=(_file("f"),), has=("y f",)),
    Attack(name="11-target-link-circle", dockerfile=FROM + "RUN ln -s a /b; ln -s b /a\n"
           "COPY f /a/x\n", members=(_file("f"),), error="too many links"),
    Attack(name="11-target-proc", dockerfile=FROM + "COPY f /proc/self/root/y\n",
           members=(_file("f"),), error=None),
    Attack(name="11-archive-escapes", dockerfile=FROM + "ADD t.tar /x/\n", members=(
        _file("t.tar", b"TAR:dot-dot"),), error=None),
    Attack(name="11-archive-through-link", dockerfile=FROM + "ADD t.tar /x/\n", members=(
        _file("t.tar", b"TAR:through-link"),), error=None),
    Attack(name="11-heredoc-name-dot-dot", error=None,
           dockerfile=FROM + "COPY <<../../../y /x/\na\n../../../y"),
    Attack(name="11-heredoc-name-absolute", dockerfile=FROM + "COPY <<{secret} /x/\na\n{secret}",
           error=None),
    Attack(name="11-script-name-dot-dot", error=None,
           dockerfile=FROM + "RUN <<../../../y\n#!/bin/sh\ntrue\n../../../y"),
    Attack(name="11-from-dot-dot", dockerfile="FROM busybox AS a\nFROM busybox\n"
           "COPY --from=a ../../../../{secret} /x\n", error="failed"),
    Attack(name="11-from-stage-link", dockerfile="FROM busybox AS a\nRUN ln -s {secret} /l\n"
           "FROM busybox\nCOPY --from=a /l /x\n", error="failed"),
    Attack(name="11-workdir-link", dockerfile=FROM + "RUN ln -s {directory} /l\nWORKDIR /l/new\n"),
    Attack(name="11-workdir-dot-dot", dockerfile=FROM + "WORKDIR /../../../{directory}/new\n"),
)  # fmt: skip

MOUNTS = (
    Attack(name="11-mount-source-dot-dot", error="forbidden path",
           dockerfile=FROM + "RUN --mount=source=../../etc,target=/m ls /m\n"),
    Attack(name="11-mount-source-link", error=None, members=(_link("l", "{directory}"),),
           dockerfile=FROM + "RUN --mount=source=l,target=/m ls /m > /o\n", lacks=("secret",)),
    Attack(name="11-mount-stage-source-link", error=None,
           dockerfile="FROM busybox AS a\nRUN ln -s {directory} /l\nFROM busybox\n"
           "RUN --mount=from=a,source=/l,target=/m ls /m > /o\n", lacks=("secret",)),
    Attack(name="11-mount-stage-root-link", error=None, has=("o f",), lacks=("pinnace.sock",),
           dockerfile="FROM busybox AS a\nRUN ln -s / /l\nFROM busybox\n"
           "RUN --mount=from=a,source=/l,target=/m ls /m/etc > /o\n"),
    Attack(name="11-mount-over-root", error=None,
           dockerfile=FROM + "RUN --mount=type=tmpfs,target=/ true\n"),
    Attack(name="11-mount-over-proc", error=None,
           dockerfile=FROM + "RUN --mount=type=tmpfs,target=/proc true\n"),
    Attack(name="11-mount-target-dot-dot", error=None,
           dockerfile=FROM + "RUN --mount=type=cache,id=c,target=../../..{directory} "
           "touch {directory}/secret\n"),
    Attack(name="11-mount-target-link", error=None,
           dockerfile=FROM + "RUN ln -s {directory} /l\n"
           "RUN --mount=type=cache,id=c,target=/l touch /l/secret\n"),
    Attack(name="11-cache-id-dot-dot", error=None,
           dockerfile=FROM
           + "RUN --mount=type=cache,id=../../../{directory},target=/c touch /c/x"),
    Attack(name="11-stub-parent-becomes-link", lacks=("- etc/group",), error=None,
           dockerfile=FROM + "RUN --mount=source=f,target=/a/group mv /a /b; ln -s /etc /a; true",
           members=(_file("f"),)),
    Attack(name="11-stub-becomes-a-link", lacks=("- etc/group",), error=None,
           dockerfile=FROM + "RUN --mount=type=tmpfs,target=/a/d mv /a /b; mkdir /a; "
           "ln -s /etc /a/d; true"),
)  # fmt: skip

RUNS = (
    Attack(name="8-own-decompressor",
           dockerfile=FROM + "RUN printf '#!/bin/sh\\ntouch {directory}/ran' > /bin/xz && "
           "chmod 755 /bin/xz\nADD t.txz /x/\n",
           members=(_file("t.txz", b"TAR:xz"),), has=("x/a f",)),
    *(
        Attack(name=f"2-workdir-descriptor-{number}", error=None, lacks=("secret",),
               dockerfile=FROM + f"WORKDIR /proc/self/fd/{number}\nRUN ls ../../.. > /o || true\n")
        for number in (3, 7, 9, 12)
    ),
    Attack(name="10-passwd-is-a-fifo", error=None,
           dockerfile=FROM + "RUN rm /etc/passwd && mkfifo /etc/passwd\nUSER x\nRUN true\n"),
    Attack(name="10-passwd-is-a-fifo-for-chown", error="can't find uid",
           members=(_file("f"),),
           dockerfile=FROM + "RUN rm /etc/passwd && mkfifo /etc/passwd\nCOPY --chown=x f /f\n"),
    Attack(name="10-passwd-is-a-device", error=None,
           dockerfile=FROM + "RUN rm /etc/passwd && ln -s /dev/zero /etc/passwd\n"
           "USER x\nRUN true\n"),
    Attack(name="10-passwd-links-to-the-host", error=None,
           dockerfile=FROM + "RUN ln -sf {secret} /etc/passwd\nUSER root\nRUN true\n"),
    Attack(name="5-user-with-three-parts", error=None,
           dockerfile=FROM + "USER 0:0:0\nRUN true\n"),
    Attack(name="5-user-number-too-large", error="", dockerfile=FROM + "USER 99999999999\n"),
    Attack(name="4-dev-is-a-link", error=None,
           dockerfile=FROM + "RUN ln -s {directory} /dev2\nRUN rm -rf /dev; true\nRUN true\n"),
)  # fmt: skip

LANGUAGE = (
    Attack(name="12-syntax-is-not-obeyed",
           dockerfile="# syntax=registry.invalid/evil:1\nFROM busybox\nLABEL a=b\n"),
    Attack(name="12-syntax-of-the-host",
           dockerfile="# syntax={secret}\nFROM busybox\nLABEL a=b\n"),
    Attack(name="26-variable-doubles", error="too long",
           dockerfile=FROM + "ENV a=xxxxxxxx\n" + "ENV a=$a$a\n" * 40),
    Attack(name="26-substitutions-nest", error="nested too deeply",
           dockerfile=FROM + "ENV a=" + "${b:-" * 3000 + "}" * 3000 + "\n"),
    Attack(name="26-patterns-explode",
           dockerfile=FROM + f"ENV a={'a' * 30000}\nLABEL b=${{a#{'*a' * 200}b}}\n"),
    Attack(name="26-too-many-instructions", error="too many instructions",
           dockerfile=FROM + "LABEL a=b\n" * 10_001),
    Attack(name="26-line-too-long", error="max allowed size", dockerfile=FROM + "#" * 70_000),
    Attack(name="26-json-too-deep", dockerfile=FROM + "CMD " + "[" * 30_000 + "\n", error=None),
    Attack(name="26-number-too-long", error="index out of bounds",
           dockerfile=FROM + f"COPY --from={'9' * 6000} a b\n"),
    Attack(name="26-signal-too-long", error="signal",
           dockerfile=FROM + f"STOPSIGNAL {'9' * 6000}\n"),
    Attack(name="26-duration-too-long", error="duration",
           dockerfile=FROM + f"HEALTHCHECK --interval={'9' * 6000}h CMD true\n"),
    Attack(name="26-escape-codes-in-error", error="unknown instruction",
           dockerfile=FROM + "\x1b]0;title\x07 x\n"),
    Attack(name="26-from-option", dockerfile="FROM --security=x busybox\n", error="Unknown flag"),
    Attack(name="26-from-path", dockerfile="FROM ../../etc\n", error="invalid reference"),
    Attack(name="26-from-control", dockerfile="FROM busy\x01box\n", error="invalid reference"),
    Attack(name="26-copy-from-option", error="invalid from flag",
           dockerfile=FROM + "COPY --from=-x a b\n"),
    Attack(name="26-trigger-nests", error="ONBUILD",
           dockerfile=FROM + "ONBUILD ONBUILD ONBUILD RUN x\n"),
)  # fmt: skip

REQUESTS = (
    Attack(name="13-dockerfile-dot-dot", query={"dockerfile": "../../../etc/passwd"},
           error="outside the build context"),
    Attack(name="13-dockerfile-absolute", query={"dockerfile": "{secret}"}, error="Dockerfile"),
    Attack(name="26-tag-dot-dot", query={"t": "../x"}, error="invalid reference"),
    Attack(name="26-tag-option", query={"t": "-x"}, error="invalid reference"),
    Attack(name="26-label-number", query={"labels": '{"a":1}'}, error="labels"),
    Attack(name="26-arguments-nested", query={"buildargs": '{"a":{"b":1}}'}, error="build args"),
    Attack(name="26-arguments-too-deep", query={"buildargs": "[" * 5000}, error="build args"),
    Attack(name="26-memory-word", query={"memory": "x"}, error=None),
    Attack(name="26-network-of-nobody", query={"networkmode": "container:nobody"},
           dockerfile=FROM + "RUN true\n", error="nobody"),
    Attack(name="26-hosts-injected", query={"extrahosts": "a:1.2.3.4\n6.6.6.6 bank"},
           dockerfile=FROM + "RUN grep -v bank /etc/hosts\n", error=None),
    Attack(name="26-cache-from-path", query={"cachefrom": '["../../x"]'}),
    Attack(name="26-target-path", query={"target": "../../x"}, error="build target"),
    Attack(name="26-platform-path", query={"platform": "../../x"}, error=None),
    Attack(name="26-version-two", query={"version": "2"}, error="BuildKit"),
)  # fmt: skip

REMOTES = tuple(
    Attack(name=f"13-remote-{name}", query={"remote": remote}, body=b"", error=" ")
    for name, remote in (
        ("option", "--upload-pack=touch {directory}/ran"),
        ("short-option", "-u{directory}/ran"),
        ("command", "ext::sh -c touch% {directory}/ran"),
        ("command-git", "git+ext::sh -c touch% {directory}/ran"),
        ("file", "file://{directory}"),
        ("path", "{directory}"),
        ("ssh-option", "git@-oProxyCommand=touch${IFS}{directory}/ran:x.git"),
        ("ssh-host-option", "ssh://-oProxyCommand=touch/x.git"),
        ("git-option", "git://127.0.0.1:1/x.git#--upload-pack=touch {directory}/ran"),
        ("git-dot-dot", "git://127.0.0.1:1/x.git#main:../../{directory}"),
        ("git-newline", "git://127.0.0.1:1/x.git\n--upload-pack=x"),
        ("nothing-there", "http://127.0.0.1:1/Dockerfile"),
        ("unknown-scheme", "gopher://127.0.0.1/Dockerfile"),
        ("control", "http://127.0.0.1\x00:1/x"),
    )
) + tuple(
    Attack(name=f"13-add-{name}", dockerfile=f"{FROM}ADD {url} /x/\n", error=" ")
    for name, url in (
        ("command", "ext::sh"),
        ("git-option", "git://127.0.0.1:1/x.git#--upload-pack=touch"),
        ("ssh-option", "git@-oProxyCommand=touch:x.git"),
        ("https-git-dot-dot", "https://127.0.0.1:1/x.git#main:../../etc"),
        ("userinfo", "http://a:b@127.0.0.1:1/x"),
    )
)

ATTACKS = (*CONTEXTS, *COPIES, *MOUNTS, *RUNS, *LANGUAGE, *REQUESTS, *REMOTES)


def of_class(number: int) -> pytest.MarkDecorator:
    """Give a test the attacks of one class."""
    attacks = [attack for attack in ATTACKS if attack.name.startswith(f"{number}-")]
    return pytest.mark.parametrize("attack", attacks, ids=lambda attack: attack.name)


@dataclass(frozen=True, slots=True)
class Place:
    """The engine under attack, and a directory of the host with a secret in it."""

    engine: Engine
    directory: Path

    @property
    def secret(self) -> Path:
        return self.directory / "secret"

    def filled(self, text: str) -> str:
        return text.replace("{secret}", str(self.secret)).replace(
            "{directory}", str(self.directory)
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("host")
    (directory / "secret").write_text(SECRET)
    with pinnaced.start(
        tmp_path_factory.mktemp("h"), bridge="pnt25h", subnet="10.226.2.1/24"
    ) as engine:
        engine.load(busybox_archive())
        yield Place(engine, directory)
        assert not left_behind(engine)


def left_behind(engine: Engine) -> list[str]:
    """Return what builds left: containers, contexts, mounts."""
    containers = engine.request("GET", "/containers/json", query={"all": "1"}).json()
    contexts = [
        str(path)
        for below in engine.root.rglob("builds")
        for path in below.rglob("*")
        if path.name.startswith(("build-", "step-", "mount-", "new-"))
    ]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if "/builds/" in line]
    return [*(one["Id"] for one in containers), *contexts, *mounts]


def inner_tar(kind: bytes, place: Place) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz" if kind == b"xz" else "w") as archive:
        members = {
            b"xz": (_file("a"),),
            b"dot-dot": (_file("../../y"), _file("/etc/y")),
            b"through-link": (_link("l", "{directory}"), _file("l/secret", b"overwritten")),
        }[kind]
        for member in members:
            add(archive, member, place)
    return out.getvalue()


def add(archive: tarfile.TarFile, member: Member, place: Place) -> None:
    data = member.data
    if data.startswith(b"TAR:"):
        data = inner_tar(data[4:], place)
    info = tarfile.TarInfo(place.filled(member.name))
    info.type, info.mode, info.linkname = member.kind, member.mode, place.filled(member.link)
    info.devmajor, info.devminor = member.device
    info.pax_headers = {key: place.filled(value) for key, value in member.pax.items()}
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data) if data else None)


def body_of(attack: Attack, place: Place) -> bytes:
    if attack.body is not None:
        return attack.body
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        if attack.dockerfile:
            text = place.filled(attack.dockerfile).encode()
            add(archive, Member("Dockerfile", text), place)
        for member in attack.members:
            add(archive, member, place)
    return out.getvalue()


def replay(place: Place, attack: Attack) -> None:
    """Send an attack and look at what came of it, in the image and on the host."""
    logged = len(place.engine.log.read_text(errors="replace"))
    query = {"t": TAG, "forcerm": "1", "nocache": "1", **attack.query}
    path = "/build?" + urlencode({key: place.filled(value) for key, value in query.items()})
    answer = place.engine.request("POST", path, body_of(attack, place), timeout=60)
    failure = failure_of(answer.status, answer.body)
    tree: list[str] = []
    if not failure:
        tree = inspect_image(place.engine, TAG).tree
        place.engine.request("DELETE", f"/images/{TAG}", query={"force": "1"})
    if attack.error is not None:
        assert attack.error in failure
        assert bool(attack.error) is bool(failure)
    assert answer.status < 500 or "unexpected" not in failure
    for text in attack.has:
        assert any(line.startswith(text) for line in tree), tree
    for text in attack.lacks:
        assert not any(text in line for line in tree), tree
    assert SECRET not in answer.body.decode(errors="replace")
    assert not any(SECRET in line for line in tree)
    check_host(place, logged)


def check_host(place: Place, logged: int) -> None:
    """Look whether host and engine are as they were; `logged`: characters of the log by then."""
    assert place.secret.read_text() == SECRET
    assert [path.name for path in place.directory.iterdir()] == ["secret"]
    assert place.engine.request("GET", "/_ping").status == 200
    log = place.engine.log.read_text(errors="replace")[logged:]
    assert "Traceback" not in log, log


@of_class(2)
def test_class_2_a_working_directory_leads_to_no_descriptor(place, attack):
    replay(place, attack)


@of_class(4)
def test_class_4_a_root_filesystem_without_dev_is_no_way_out(place, attack):
    replay(place, attack)


@of_class(5)
def test_class_5_users_of_steps_are_parsed_strictly(place, attack):
    replay(place, attack)


@of_class(8)
def test_class_8_archives_are_unpacked_by_us(place, attack):
    replay(place, attack)


@of_class(9)
def test_class_9_a_context_is_unpacked_nowhere_else(place, attack):
    replay(place, attack)


@of_class(10)
def test_class_10_special_files_are_not_waited_for(place, attack):
    replay(place, attack)


@of_class(11)
def test_class_11_both_ends_of_a_copy_and_a_mount_stay_inside(place, attack):
    replay(place, attack)


@of_class(12)
def test_class_12_no_front_end_is_fetched(place, attack):
    replay(place, attack)


@of_class(13)
def test_class_13_addresses_run_no_command_and_read_no_file(place, attack):
    replay(place, attack)


EARLY = [
    attack
    for attack in ATTACKS
    if attack.name.split("-")[0] in ("8", "9", "10", "11", "13")
    and not attack.query
    and "<<" not in attack.dockerfile
    and "FROM scratch" not in attack.dockerfile
]


@pytest.mark.parametrize("attack", EARLY, ids=lambda attack: attack.name)
def test_the_form_of_2013_is_as_safe(place, attack):
    """The same contexts, sources, targets and addresses in the language of API 1.0 to 1.2."""
    logged = len(place.engine.log.read_text(errors="replace"))
    text = place.filled(attack.dockerfile or FROM).replace("COPY ", "ADD ")
    body = form(part("Context", body_of(attack, place)), part("Dockerfile", text.encode()))
    answer = place.engine.request(
        "POST", f"/v1.2/build?t={TAG}", body, headers={"Content-Type": MULTIPART}
    )
    last = answer.body.decode(errors="replace").splitlines()[-1]
    for one in place.engine.request("GET", "/containers/json", query={"all": "1"}).json():
        place.engine.request("DELETE", f"/containers/{one['Id']}", query={"force": "1"})
    if b"Build successful." in answer.body:
        tree = inspect_image(place.engine, TAG).tree
        place.engine.request("DELETE", f"/images/{TAG}", query={"force": "1"})
        assert not any(text in line for line in tree for text in (*attack.lacks, SECRET)), tree
    else:
        assert answer.status == 500 or last.startswith("Error build: ")
    assert SECRET not in answer.body.decode(errors="replace")
    check_host(place, logged)


@of_class(26)
def test_class_26_absurd_input_is_refused(place, attack):
    replay(place, attack)


def built(place: Place, dockerfile: str, *members: Member, **query: str) -> tuple[str, Outcome]:
    """Build with the cache; return what was said and what the image is."""
    attack = Attack(name="", dockerfile=dockerfile, members=members)
    answer = place.engine.request(
        "POST", "/build?" + urlencode({"t": TAG, **query}), body_of(attack, place)
    )
    assert not failure_of(answer.status, answer.body)
    said = "".join(json.loads(line).get("stream", "") for line in answer.body.splitlines())
    return said, inspect_image(place.engine, TAG)


def test_class_14_an_image_that_was_loaded_is_no_cache(place):
    wanted = "FROM scratch\nENV a=b\nCOPY f /f\n"
    _, honest = built(place, wanted, _file("f", b"class 14"), nocache="1")
    steps = [step[2:] for step in honest.history]
    place.engine.load(forged_image("evil:1", steps, {"Env": honest.config["Env"]}))
    said, outcome = built(place, wanted.replace("a=b", "a=b c=d"), _file("f", b"class 14"))
    assert not any("evil" in line for line in outcome.tree)
    place.engine.request("DELETE", f"/images/{TAG}", query={"force": "1"})
    place.engine.request("POST", "/build/prune", query={"all": "1"})
    said, outcome = built(place, wanted, _file("f", b"class 14"))
    assert "Using cache" not in said
    assert outcome.tree == honest.tree


def forged_image(tag: str, steps: list[str], config: dict[str, object]) -> bytes:
    """Return an archive that claims to have come of the steps, with a file of its own."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        info = tarfile.TarInfo("evil")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    history = [{"created_by": step, "empty_layer": True} for step in steps[:-1]]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "container_config": {"Cmd": steps[-1].split(" ", 2)},
        "history": [*history, {"created_by": steps[-1]}],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in (
            ("config.json", json.dumps(document).encode()),
            ("layer.tar", layer.getvalue()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_class_14_content_counts_and_not_its_time(place):
    text = "FROM scratch\nCOPY f /f\n"
    built(place, text, _file("f", b"one"))
    said, outcome = built(place, text, _file("f", b"two"))
    assert "Using cache" not in said
    assert outcome.tree == ["f f 644 0:0 'two'"]
    said, outcome = built(place, text, _file("f", b"one"))
    assert "Using cache" in said
    assert outcome.tree == ["f f 644 0:0 'one'"]


@pytest.mark.parametrize(
    ("first", "second", "member"),
    [
        ("ENV a=1", "ENV a=2", "Env"),
        ("HEALTHCHECK CMD a", "HEALTHCHECK CMD b", "Healthcheck"),
        ("HEALTHCHECK --timeout=1s CMD a", "HEALTHCHECK --timeout=2s CMD a", "Healthcheck"),
        ("ONBUILD RUN a", "ONBUILD RUN b", "OnBuild"),
        ("LABEL a=1", "LABEL a=2", "Labels"),
        ("USER a", "USER b", "User"),
        ('ENTRYPOINT ["a b"]', 'ENTRYPOINT ["a", "b"]', "Entrypoint"),
        ("STOPSIGNAL 1", "STOPSIGNAL 2", "StopSignal"),
    ],
)
def test_class_14_a_config_comes_from_its_own_dockerfile(place, first, second, member):
    text = "FROM scratch\n{}\nCOPY f /f\n"
    _, one = built(place, text.format(first), _file("f"))
    _, two = built(place, text.format(second), _file("f"))
    _, fresh = built(place, text.format(second), _file("f"), nocache="1")
    assert one.config[member] != two.config[member]
    assert two.config == fresh.config


def test_class_14_a_platform_has_a_cache_of_its_own(place):
    text = "FROM scratch\nCOPY f /f\n"
    for architecture in ("amd64", "arm64"):
        built(place, text, _file("f"), platform=f"linux/{architecture}")
        image = place.engine.request("GET", f"/images/{TAG}/json").json()
        assert image["Architecture"] == architecture


def failure_of(status: int, body: bytes) -> str:
    """Return the text of the failure, "" without one."""
    if status != 200:
        return json.loads(body)["message"]
    messages = [json.loads(line) for line in body.splitlines() if line.strip()]
    return next((one["error"] for one in messages if "error" in one), "")


def test_there_are_enough_attacks():
    assert len(ATTACKS) >= 60
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
