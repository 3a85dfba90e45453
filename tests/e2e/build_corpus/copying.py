"""COPY and ADD of files in the context."""

import io
import tarfile

from tests.e2e.build_corpus.model import Case, File


def _of(name: str, *lines: str, **more: object) -> Case:
    return Case(name=name, dockerfile="\n".join(("FROM busybox", *lines)) + "\n", **more)


def archive(*members: tuple[str, str], mode: str = "w") -> bytes:
    """Return a tar; a member whose content is "/" is a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, text in members:
            info = tarfile.TarInfo(name)
            info.mtime, info.uid, info.gid = 1_100_000_000, 7, 8
            if text == "/":
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            else:
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


TREE = {"d/a": "1", "d/s/b": "2", "d/s/t/c": "3"}
FILES = {"a.c": "1", "b.c": "2", "c.h": "3", "x y": "4"}
LINKS = {"d/f": "1", "d/l": File(link="f"), "d/out": File(link="/etc/passwd"), "top": "2"}
TAR = archive(("a", "1"), ("d", "/"), ("d/b", "2"))

CASES = [
    _of("copy-file", "COPY f /g", files={"f": "x"}),
    _of("copy-file-into", "COPY f /d/", files={"f": "x"}),
    _of("copy-file-deep", "COPY f /a/b/c/g", files={"f": "x"}),
    _of("copy-file-over", "COPY f /etc/passwd", files={"f": "x"}),
    _of("copy-into-existing", "COPY f /etc", files={"f": "x"}),
    _of("copy-relative", "WORKDIR /w", "COPY f g", "COPY f .", "COPY f d/", files={"f": "x"}),
    _of("copy-relative-without-workdir", "COPY f g", files={"f": "x"}),
    _of("copy-directory", "COPY d /e", files=TREE),
    _of("copy-directory-slash", "COPY d/ /e/", files=TREE),
    _of("copy-directory-into-existing", "COPY d /etc", files=TREE),
    _of("copy-directory-merges", "COPY d /e", "COPY e /e",
        files={**TREE, "e/a": "9", "e/z": "8"}),
    _of("copy-all", "COPY . /e", files=TREE),
    _of("copy-all-root", "COPY . /", files={"d/a": "1"}),
    _of("copy-many", "COPY a.c b.c /e/", files=FILES),
    _of("copy-file-and-directory", "COPY f d /e/", files={"f": "x", **TREE}),
    _of("copy-pattern", "COPY *.c /e/", files=FILES),
    _of("copy-pattern-question", "COPY ?.c /e/", files=FILES),
    _of("copy-pattern-set", "COPY [ac].* /e/", files=FILES),
    _of("copy-pattern-one", "COPY *.h /e", files=FILES),
    _of("copy-pattern-directories", "COPY * /e/", files=TREE),
    _of("copy-pattern-inside", "COPY d/*/b /e/", files=TREE),
    _of("copy-pattern-escaped", "COPY a[[]0].c /e/", files={"a[0].c": "1", "a0.c": "2"}),
    _of("copy-json", 'COPY ["x y", "/a b/"]', files=FILES),
    _of("copy-dots", "COPY ./d/../f /g", files={"f": "x", **TREE}),
    _of("copy-leading-slash", "COPY /f /g", files={"f": "x"}),
    _of("copy-up-is-in", "COPY d/../../f /g", files={"f": "x"}),
    _of("copy-modes", "COPY d /e", files={
        "d/x": File("1", mode=0o755), "d/s": File("2", mode=0o4711), "d/r": File("3", mode=0o400)},
        differs={"tree": "dockerd changes the owner after the mode, which takes away set-id bits"},
        ours={"tree": ["e d 755 0:0", "e/r f 400 0:0 '3' kept", "e/s f 4711 0:0 '2' kept",
                       "e/x f 755 0:0 '1' kept"]}),
    _of("copy-owner-becomes-root", "COPY f /g", files={"f": File("x", uid=5, gid=6)}),
    _of("copy-empty-file", "COPY f /g", files={"f": ""}),
    _of("copy-empty-directory", "COPY d /e", files={"d": File(is_directory=True, mode=0o755)}),
    _of("copy-directory-mode", "COPY d /e", files={
        "d": File(is_directory=True, mode=0o700), "d/f": "x"}),
    _of("copy-link-inside", "COPY d /e", files=LINKS),
    _of("copy-link-itself", "COPY d/l /e", files=LINKS),
    _of("copy-link-to-directory", "COPY l /e", files={"l": File(link="d"), **TREE}),
    _of("copy-through-link", "COPY l/a /e", files={"l": File(link="d"), **TREE}),
    _of("copy-dangling-link", "COPY d /e", files={"d/l": File(link="nowhere")}),
    _of("copy-hard-link", "COPY d /e", files={"d/a": "1", "d/b": File(hard_link="d/a")}),
    _of("copy-to-link-target", "RUN mkdir /real && ln -s /real /l", "COPY f /l/",
        files={"f": "x"}),
    _of("copy-directory-to-link", "RUN mkdir /real && ln -s real /l", "COPY d /l", files=TREE),
    _of("copy-chown-ids", "COPY --chown=5:6 d /e", files=TREE),
    _of("copy-chown-uid", "COPY --chown=5 f /g", files={"f": "x"}),
    _of("copy-chown-names", "COPY --chown=nobody:nogroup f /g", files={"f": "x"}),
    _of("copy-chown-user-name", "COPY --chown=nobody f /g", files={"f": "x"}),
    _of("copy-chown-parents", "COPY --chown=5:6 f /a/b/g", files={"f": "x"}),
    _of("copy-with-user", "USER 5:6", "COPY f /g", files={"f": "x"}),
    _of("copy-same-twice", "COPY f /g", "COPY f /g", files={"f": "x"}),
    _of("copy-ignored", "COPY . /e", files={".dockerignore": "*.o\n!k.o\n", "k.o": "1", "f": "3"}),
    _of("copy-ignored-but-sent", "COPY . /e", files={".dockerignore": "*.o\n", "a.o": "1"},
        differs={"tree": "the rules hold for clients, too, that do not apply them"},
        ours={"tree": ["e d 755 0:0", "e/.dockerignore f 644 0:0 '*.o\\n' kept",
                       "e/Dockerfile f 644 0:0 'FROM busybox\\nCOPY . /e\\n' kept"]}),
    _of("copy-ignored-dockerfile", "COPY . /e",
        files={".dockerignore": "Dockerfile\n.dockerignore\n", "f": "1"}),
    _of("copy-dockerfile", "COPY Dockerfile /", files={}),
    _of("copy-big", "COPY f /g", files={"f": b"0123456789abcdef" * 10000}),
    _of("copy-unicode", "COPY é /ü", files={"é": "x"}),
    _of("copy-comma-hash", "COPY a,b #c /e/", files={"a,b": "1", "#c": "2"}),
    _of("dockerfile-elsewhere", "ENV no=1", files={"x/D": "FROM busybox\nCOPY f /g\n", "f": "x"},
        query={"dockerfile": "x/D"}),
    _of("add-file", "ADD f /g", files={"f": "x"}),
    _of("add-file-into", "ADD f /d/", files={"f": "x"}),
    _of("add-directory", "ADD d /e", files=TREE),
    _of("add-pattern", "ADD *.c /e/", files=FILES),
    _of("add-tar", "ADD t.tar /e", files={"t.tar": TAR}),
    _of("add-tar-slash", "ADD t.tar /e/", files={"t.tar": TAR}),
    _of("add-tar-gz", "ADD t.tgz /e/", files={"t.tgz": archive(("a", "1"), mode="w:gz")}),
    _of("add-tar-bz2", "ADD t /e/", files={"t": archive(("a", "1"), mode="w:bz2")}),
    _of("add-tar-xz", "ADD t /e/", files={"t": archive(("a", "1"), mode="w:xz")}),
    _of("add-tar-merges", "ADD t.tar /etc", files={"t.tar": archive(("passwd", "mine"))}),
    _of("add-tar-and-file", "ADD t.tar f /e/", files={"t.tar": TAR, "f": "x"}),
    _of("add-tar-in-directory", "ADD d /e", files={"d/t.tar": TAR}),
    _of("add-tar-chown", "ADD --chown=5:6 t.tar /e/", files={"t.tar": TAR}),
    _of("add-not-a-tar", "ADD t.tar /e", files={"t.tar": "this is no archive"}),
    _of("add-empty-tar-name", "ADD t.tar /e/", files={"t.tar": ""}),
    _of("add-gz-of-no-tar", "ADD f.gz /e/", files={"f.gz": b"\x1f\x8b\x08" + b"\0" * 40}),
    _of("copy-tar-stays", "COPY t.tar /e/", files={"t.tar": TAR}),
    Case(name="scratch-copy", dockerfile="FROM scratch\nCOPY f /\nCMD [\"/f\"]\n",
         files={"f": "x"}),
    Case(name="scratch-copy-deep", dockerfile="FROM scratch\nCOPY d /x/y\n", files=TREE),
    Case(name="scratch-workdir", dockerfile="FROM scratch\nWORKDIR /w\nCOPY f .\n",
         files={"f": "x"}),
]  # fmt: skip
