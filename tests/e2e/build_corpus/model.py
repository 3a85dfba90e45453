"""One Dockerfile of the corpus, and what came of building it, in a form that can be compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MTIME_S = 1_000_000_000
"""Modification time of all files in a context: 2001-09-09."""


@dataclass(frozen=True, slots=True)
class File:
    """A member of the context.

    Attributes:
        data: Content of a regular file.
        mode: Permission bits.
        uid: Owner; the classic builder makes it 0.
        gid: Group.
        link: Target of a symbolic link.
        hard_link: Name of the member it is another name of.
        is_directory: A directory.
    """

    data: bytes | str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""
    hard_link: str = ""
    is_directory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must come of a Dockerfile that dockerd 20.10's classic builder cannot build.

    Attributes:
        tree: Lines of `Outcome.tree`, all of them; None: not looked at.
        config: Members of the image's config that must be there.
        error: Part of the error's text; "" when the build succeeds.
        history: `created_by` of the newest steps, newest last; None: not looked at.
        output: Texts that the output has.
    """

    tree: tuple[str, ...] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    history: tuple[str, ...] | None = None
    output: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A Dockerfile with its context.

    Attributes:
        name: Unique; the id of the test.
        dockerfile: Its text.
        files: The rest of the context; a string is a regular file's content.
        query: Parameters of `POST /build` besides `t`.
        bases: Dockerfiles built first, by the tag they get.
        expected: For what dockerd 20.10 cannot do; None: its recorded outcome is what counts.
        differs: Why ours is not dockerd's in some member, by member of the outcome.
        ours: What those members are then; a text stands for an error that contains it.
    """

    name: str
    dockerfile: str | bytes
    files: dict[str, File | str | bytes] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    bases: dict[str, str] = field(default_factory=dict)
    expected: Expected | None = None
    differs: dict[str, str] = field(default_factory=dict)
    ours: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """What came of a build.

    Attributes:
        status: Of the HTTP answer.
        error: Text of the failure, "" if there is none.
        code: Exit code of the failed command, 0 if none.
        output: The stream's text, ids replaced.
        config: The image's config without what is empty.
        author: The image's author.
        history: `created_by` of every step, those without a layer marked `-`; oldest first.
        tree: One line for every file that the base image does not have just so, and one for every
            file of the base that is gone.
    """

    status: int = 200
    error: str = ""
    code: int = 0
    output: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    author: str = ""
    history: list[str] = field(default_factory=list)
    tree: list[str] = field(default_factory=list)
