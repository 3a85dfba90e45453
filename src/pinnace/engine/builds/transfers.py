"""COPY and ADD: from their words to a copying whose inputs are resolved and digested."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pinnace.contracts.build_files import CopyJob, Origin, Selection, SourceTree
from pinnace.contracts.repositories import RepositorySource
from pinnace.contracts.snapshots import ChainId
from pinnace.engine.builds.context import ContextTree
from pinnace.engine.builds.fetching import MAX_DOWNLOAD_BYTES, fetch_file
from pinnace.engine.builds.graph import Copying
from pinnace.engine.builds.ignore import IgnoreRules
from pinnace.engine.builds.instructions import Add, Copy, Heredoc, Transfer
from pinnace.engine.builds.remotes import fetch_repository, git_source
from pinnace.engine.builds.session import Session
from pinnace.engine.builds.sources import SourceRules, content_digest, select, shown_sum
from pinnace.errors import InvalidParameter, NotSupported

_MISSING_IN_CONTEXT = "file not found in build context or excluded by .dockerignore: "
_SCHEMES = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Found:
    """Selections of one origin; `unpack`: archives among them are unpacked."""

    origin: Origin
    selections: Sequence[Selection]
    unpack: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A transfer that is ready.

    Attributes:
        operation: What is to be done.
        comment: For the history.
    """

    operation: Copying
    comment: str


async def prepare(
    session: Session, step: Transfer, working_dir: str, chain: ChainId | None
) -> Prepared:
    """Resolve the sources of an expanded COPY or ADD.

    Args:
        session: The build.
        step: The instruction.
        working_dir: Of the stage so far.
        chain: COPY --from: the layer to copy from; None: the context, or an empty stage.

    Raises:
        InvalidParameter: A source or the target cannot be; Docker's words.
    """
    found = await _found(session, step, chain)
    selections = [one for part in found for one in part.selections]
    if not selections:
        raise InvalidParameter(f"{step.keyword} failed: no source files were specified")
    if len(selections) > 1 and not step.target.endswith("/"):
        raise InvalidParameter(
            f"When using {step.keyword} with more than one source file, the destination must be a"
            " directory and end with a /"
        )
    has_origin = isinstance(step, Copy) and bool(step.from_)
    jobs = tuple(
        CopyJob(
            origin=part.origin,
            selections=part.selections,
            target=_target(step, working_dir),
            owner=step.chown or (None if has_origin else ""),
            mode=step.chmod,
            unpack=part.unpack,
            mtime_ns=session.epoch_ns,
            link=step.link,
        )
        for part in found
    )
    shown, digest = await session.parts.offload(
        lambda: (shown_sum(selections), content_digest(selections))
    )
    owner = f"--chown={step.chown}" if step.chown else ""
    comment = f"{step.keyword} {owner}{shown} in {step.target} "
    return Prepared(Copying(jobs, digest), comment)


async def _found(session: Session, step: Transfer, chain: ChainId | None) -> list[Found]:
    try:
        found = [
            await _remote(session, step, word) for word in step.sources if _is_remote(step, word)
        ]
        local = [word for word in step.sources if not _is_remote(step, word)]
        if local:
            found.insert(0, await _local(session, step, local, chain))
        if step.heredocs:
            found.append(await _inline(session, step.heredocs))
    except InvalidParameter as exc:
        raise InvalidParameter(f"{step.keyword} failed: {exc.message}") from exc
    return found


async def _local(
    session: Session, step: Transfer, words: Sequence[str], chain: ChainId | None
) -> Found:
    if isinstance(step, Add) and step.checksum:
        raise InvalidParameter("checksum can't be specified for non-HTTP(S) sources")
    from_ = isinstance(step, Copy) and bool(step.from_)
    excludes = IgnoreRules(step.excludes)
    rules = SourceRules(
        missing="" if from_ else _MISSING_IN_CONTEXT,
        parents=isinstance(step, Copy) and step.parents,
        is_excluded=excludes.ignores if excludes else _never,
    )
    if from_:
        origin = Origin(chain=chain)

        def read() -> list[Selection]:
            with session.parts.files.tree(chain) as tree:
                return _selected(tree, words, rules)

        key = (chain, tuple(words), step.excludes, rules.parents)
        memo = session.parts.memo
        return Found(origin, await session.parts.offload(lambda: memo.get(key, read)))
    context = session.context
    if context is None:
        raise InvalidParameter("missing build context")
    selections = await session.parts.offload(lambda: _selected(context, words, rules))
    unpack = isinstance(step, Add) and step.unpack is not False
    return Found(Origin(context=session.name), selections, unpack)


def _never(_path: str) -> bool:
    return False


def _selected(tree: SourceTree, words: Sequence[str], rules: SourceRules) -> list[Selection]:
    return [one for word in words for one in select(tree, word, rules)]


async def _remote(session: Session, step: Transfer, url: str) -> Found:
    """Download one source of ADD; whether it changed is told by its content."""
    source = git_source(url)
    if source is not None:
        return await _repository(session, step, source)
    name = posixpath.basename(unquote(urlsplit(url).path))
    if not name and step.target.endswith("/"):
        raise InvalidParameter(f"cannot determine filename from url: {url}")
    context = session.new_context()
    entry = await fetch_file(
        session.parts, context, url, name=name or "download", limit=MAX_DOWNLOAD_BYTES
    )
    add = step if isinstance(step, Add) else None
    if add is not None and add.checksum:
        await _check(session, context, add.checksum)
    selection = Selection(name or "download", entry.path, is_directory=False, entries=[entry])
    return Found(Origin(context=context), [selection], bool(add and add.unpack))


async def _repository(session: Session, step: Transfer, source: RepositorySource) -> Found:
    """Fetch a repository; its files are copied as those of a directory."""
    if isinstance(step, Add) and step.keep_git_dir:
        raise NotSupported("ADD --keep-git-dir is not supported by this engine")
    if isinstance(step, Add) and step.checksum:
        raise NotSupported("ADD --checksum is not supported for Git sources by this engine")
    context = session.new_context()
    tree = ContextTree(await fetch_repository(session.parts, context, source))
    excludes = IgnoreRules(step.excludes)
    rules = SourceRules(is_excluded=excludes.ignores if excludes else _never)
    return Found(Origin(context=context), select(tree, ".", rules))


async def _check(session: Session, context: str, checksum: str) -> None:
    algorithm, _, wanted = checksum.partition(":")
    if algorithm != "sha256":
        raise NotSupported(f"unsupported checksum algorithm: {algorithm}")
    files = session.parts.files
    found = await session.parts.offload(lambda: files.digest(context, algorithm))
    if found != wanted:
        raise InvalidParameter(f"digest mismatch {algorithm}:{found}: {checksum}")


async def _inline(session: Session, heredocs: Sequence[Heredoc]) -> Found:
    """Put the heredocs into a context of their own."""
    context = session.new_context()
    files = {heredoc.name: heredoc.text.encode("utf-8", "surrogateescape") for heredoc in heredocs}
    entries = await session.parts.offload(
        lambda: session.parts.files.take_files(context, files, session.started_ns)
    )
    tree = ContextTree(entries)
    selections = [
        Selection(posixpath.basename(name), name, is_directory=False, entries=[tree.entry(name)])
        for name in files
    ]
    return Found(Origin(context=context), selections)


def _is_remote(step: Transfer, word: str) -> bool:
    if not isinstance(step, Add):
        return False
    return word.lower().startswith(_SCHEMES) or git_source(word) is not None


def _target(step: Transfer, working_dir: str) -> str:
    """Return the absolute target; the slash at its end, if any, stays."""
    target = step.target
    if isinstance(step, Copy) and step.parents and not target.endswith("/"):
        target += "/"
    if target.startswith("/"):
        return target
    made = posixpath.normpath(f"/{working_dir}/{target}")
    made = "/" + made.lstrip("/")
    return f"{made}/" if target.endswith("/") and made != "/" else made
