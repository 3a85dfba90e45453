"""What dockerd 20.10's classic builder does not know; expected by hand from the reference."""

import hashlib

from tests.e2e.build_corpus.copying import TAR, TREE
from tests.e2e.build_corpus.model import Case, Expected, File


def _of(
    name: str,
    text: str,
    *tree: str,
    error: str = "",
    config: dict[str, object] | None = None,
    output: tuple[str, ...] = (),
    **more: object,
) -> Case:
    expected = Expected(
        tree=None if error else tree, error=error, config=config or {}, output=output
    )
    return Case(name=name, dockerfile=f"FROM busybox\n{text}\n", expected=expected, **more)


HEREDOCS = [
    _of("heredoc-copy", "COPY <<EOF /g\nhello\nEOF", "g f 644 0:0 'hello\\n'"),
    _of("heredoc-add", "ADD <<EOF /g\nhello\nEOF", "g f 644 0:0 'hello\\n'"),
    _of("heredoc-empty", "COPY <<EOF /g\nEOF", "g f 644 0:0 ''"),
    _of(
        "heredoc-two",
        "COPY <<a <<b /d/\n1\na\n2\nb",
        "d d 755 0:0", "d/a f 644 0:0 '1\\n'", "d/b f 644 0:0 '2\\n'",
    ),
    _of(
        "heredoc-and-file",
        "COPY f <<a /d/\n1\na",
        "d d 755 0:0", "d/a f 644 0:0 '1\\n'", "d/f f 644 0:0 'x' kept",
        files={"f": "x"},
    ),
    _of(
        "heredoc-expanded",
        "ENV n=w\nCOPY <<EOF /g\n$n \\$n '$n' ${u:-z}\nEOF",
        "g f 644 0:0 \"w $n 'w' z\\n\"",
    ),
    _of("heredoc-quoted", "ENV n=w\nCOPY <<'EOF' /g\n$n \\$n\nEOF", "g f 644 0:0 '$n \\\\$n\\n'"),
    _of("heredoc-argument", "ARG n=w\nCOPY <<EOF /g\n$n\nEOF", "g f 644 0:0 'w\\n'"),
    _of("heredoc-tabs", "COPY <<-EOF /g\n\ta\n\t\tb\n\tEOF", "g f 644 0:0 'a\\nb\\n'"),
    _of("heredoc-flags", "COPY --chown=5:6 --chmod=755 <<EOF /g\na\nEOF", "g f 755 5:6 'a\\n'"),
    _of("heredoc-run", "RUN <<EOF\necho a > /g\necho b >> /g\nEOF", "g f 644 0:0 'a\\nb\\n'"),
    _of("heredoc-run-fails", "RUN <<EOF\nset -e\nfalse\ntrue\nEOF", error="non-zero code: 1"),
    _of("heredoc-run-stdin", "RUN cat <<EOF > /g\nhi $HOME\nEOF", "g f 644 0:0 'hi /root\\n'"),
    _of("heredoc-run-quoted", "RUN cat <<'EOF' > /g\nhi $HOME\nEOF", "g f 644 0:0 'hi $HOME\\n'"),
    _of("heredoc-run-tabs", "RUN <<-EOF\n\techo a > /g\n\tEOF", "g f 644 0:0 'a\\n'"),
    _of(
        "heredoc-run-two",
        "RUN cat <<A > /a && cat <<B > /b\n1\nA\n2\nB",
        "a f 644 0:0 '1\\n'", "b f 644 0:0 '2\\n'",
    ),
    _of(
        "heredoc-run-shebang",
        "RUN <<EOF\n#!/bin/busybox sh\necho $0 | cut -c1-5 > /g\nEOF",
        "g f 644 0:0 '/dev/\\n'",
    ),
    _of("heredoc-run-argument", "ARG a=1\nRUN <<EOF\necho $a > /g\nEOF", "g f 644 0:0 '1\\n'"),
    _of("heredoc-destination", "COPY f <<EOF\nEOF", error="cannot accept a heredoc as a dest"),
    _of("heredoc-unterminated", "COPY <<EOF /g\nhello", error="unterminated heredoc"),
]  # fmt: skip

MODES = [
    _of("chmod-octal", "COPY --chmod=4750 f /g", "g f 4750 0:0 'x' kept", files={"f": "x"}),
    _of("chmod-add", "ADD --chmod=600 f /g", "g f 600 0:0 'x' kept", files={"f": "x"}),
    _of(
        "chmod-symbolic",
        "COPY --chmod=u=rwx,go=rX f /g",
        "g f 755 0:0 'x' kept",
        files={"f": File("x", mode=0o600)},
    ),
    _of(
        "chmod-directory",
        "COPY --chmod=700 d /e/",
        "e d 755 0:0", "e/a f 700 0:0 '1' kept", "e/s d 700 0:0", "e/s/b f 700 0:0 '2' kept",
        files={"d/a": "1", "d/s": File(is_directory=True, mode=0o755), "d/s/b": "2"},
    ),
    _of("chmod-variable", "ARG m=711\nCOPY --chmod=$m f /g", "g f 711 0:0 'x' kept",
        files={"f": "x"}),
    _of("chmod-bad", "COPY --chmod=9 f /g", error="invalid chmod parameter", files={"f": "x"}),
]  # fmt: skip

LINK = [
    _of("link-file", "COPY --link f /g", "g f 644 0:0 'x' kept", files={"f": "x"}),
    _of("link-deep", "COPY --link f /a/b/", "a d 755 0:0", "a/b d 755 0:0",
        "a/b/f f 644 0:0 'x' kept", files={"f": "x"}),
    _of("link-add", "ADD --link f /g", "g f 644 0:0 'x' kept", files={"f": "x"}),
    _of(
        "link-does-not-follow",
        "RUN mkdir /real && ln -s /real /l\nCOPY --link f /l/",
        "l d 755 0:0", "l/f f 644 0:0 'x' kept", "real d 755 0:0",
        files={"f": "x"},
    ),
    _of("link-stage", "FROM scratch AS s\nCOPY f /\nFROM busybox\n"
        "COPY --link --from=s /f /g",
        "g f 644 0:0 'x' kept", files={"f": "x"}),
]  # fmt: skip

PARENTS = [
    _of("parents-file", "COPY --parents d/s/b /e/", "e d 755 0:0", "e/d d 755 0:0",
        "e/d/s d 755 0:0", "e/d/s/b f 644 0:0 '2' kept", files=TREE),
    _of("parents-pivot", "COPY --parents d/./s/b /e/", "e d 755 0:0", "e/s d 755 0:0",
        "e/s/b f 644 0:0 '2' kept", files=TREE),
    _of("parents-pattern", "COPY --parents d/*/b /e/", "e d 755 0:0", "e/d d 755 0:0",
        "e/d/s d 755 0:0", "e/d/s/b f 644 0:0 '2' kept", files=TREE),
    _of("parents-double-star", "COPY --parents d/**/c /e/", "e d 755 0:0", "e/d d 755 0:0",
        "e/d/s d 755 0:0", "e/d/s/t d 755 0:0", "e/d/s/t/c f 644 0:0 '3' kept", files=TREE),
    _of("parents-two", "COPY --parents d/a d/s/b /e/", "e d 755 0:0", "e/d d 755 0:0",
        "e/d/a f 644 0:0 '1' kept", "e/d/s d 755 0:0", "e/d/s/b f 644 0:0 '2' kept", files=TREE),
]  # fmt: skip

OBJECTS = {"d/a.o": "1", "d/b": "2", "d/s/c.o": "3", "d/s/d": "4", "x.o": "5", "y": "6"}
EXCLUDES = [
    _of("exclude-in-directory", "COPY --exclude=*.o d /e", "e d 755 0:0", "e/b f 644 0:0 '2' kept",
        "e/s d 755 0:0", "e/s/c.o f 644 0:0 '3' kept", "e/s/d f 644 0:0 '4' kept", files=OBJECTS),
    _of("exclude-everywhere", "COPY --exclude=**/*.o d /e", "e d 755 0:0",
        "e/b f 644 0:0 '2' kept", "e/s d 755 0:0", "e/s/d f 644 0:0 '4' kept", files=OBJECTS),
    _of("exclude-directory", "COPY --exclude=s d /e", "e d 755 0:0", "e/a.o f 644 0:0 '1' kept",
        "e/b f 644 0:0 '2' kept", files=OBJECTS),
    _of("exclude-two", "COPY --exclude=s --exclude=b d /e", "e d 755 0:0",
        "e/a.o f 644 0:0 '1' kept", files=OBJECTS),
    _of("exclude-of-pattern", "COPY --exclude=*.o x* y* /e/", "e d 755 0:0",
        "e/y f 644 0:0 '6' kept", files=OBJECTS),
    _of("exclude-add", "ADD --exclude=**/*.o --exclude=s d /e", "e d 755 0:0",
        "e/b f 644 0:0 '2' kept", files=OBJECTS),
]  # fmt: skip

TAR_DIGEST = hashlib.sha256(TAR).hexdigest()[:8]
ADDED = [
    _of("unpack-not", "ADD --unpack=false t.tar /g", f"g f 644 0:0 {len(TAR)} {TAR_DIGEST} kept",
        files={"t.tar": TAR}),
    _of("unpack-local", "ADD --unpack=true t.tar /e/", "e d 755 0:0", "e/a f 644 7:8 '1'",
        "e/d d 755 7:8", "e/d/b f 644 7:8 '2'", files={"t.tar": TAR}),
    _of("checksum-local", "ADD --checksum=sha256:" + "0" * 64 + " f /g",
        error="checksum can't be specified for non-HTTP", files={"f": "x"}),
]  # fmt: skip

MOUNTS = [
    _of("mount-bind", "RUN --mount=target=/m cat /m/f > /g", "g f 644 0:0 'x'", files={"f": "x"}),
    _of("mount-bind-source", "RUN --mount=source=d,target=/m ls /m > /g", "g f 644 0:0 'a\\ns\\n'",
        files=TREE),
    _of("mount-bind-file", "RUN --mount=source=d/a,target=/m cat /m > /g", "g f 644 0:0 '1'",
        files=TREE),
    _of("mount-bind-read-only", "RUN --mount=target=/m touch /m/x", error="non-zero code",
        files={"f": "x"}),
    _of("mount-bind-writable-is-lost", "RUN --mount=target=/m,rw touch /m/x",
        files={"f": "x"}),
    _of("mount-bind-relative", "WORKDIR /w\nRUN --mount=target=m ls m > g", "w d 755 0:0",
        "w/g f 644 0:0 'Dockerfile\\nf\\n'", files={"f": "x"}),
    _of("mount-bind-stage", "FROM busybox AS s\nRUN echo 1 > /r\nFROM busybox\n"
        "RUN --mount=from=s,source=/r,target=/m cat /m > /g", "g f 644 0:0 '1\\n'"),
    _of("mount-bind-image", "RUN --mount=from=busybox,target=/m ls -d /m/bin > /g",
        "g f 644 0:0 '/m/bin\\n'"),
    _of("mount-bind-missing", "RUN --mount=source=nope,target=/m true", error="nope"),
    _of("mount-cache", "RUN --mount=type=cache,target=/c touch /c/f && ls /c > /g",
        "g f 644 0:0 'f\\n'"),
    _of("mount-cache-kept", "RUN --mount=type=cache,id=k1,target=/c echo 1 > /c/f\n"
        "RUN --mount=type=cache,id=k1,target=/d cat /d/f > /g", "g f 644 0:0 '1\\n'"),
    _of("mount-cache-mode", "RUN --mount=type=cache,id=k2,target=/c,mode=0711,uid=5,gid=6 "
        "stat -c '%a %u %g' /c > /g", "g f 644 0:0 '711 5 6\\n'"),
    _of("mount-tmpfs", "RUN --mount=type=tmpfs,target=/t touch /t/f && ls /t > /g",
        "g f 644 0:0 'f\\n'"),
    _of("mount-tmpfs-size", "RUN --mount=type=tmpfs,target=/t,size=1m "
        "dd if=/dev/zero of=/t/f bs=1M count=2", error="non-zero code"),
    _of("mount-secret", "RUN --mount=type=secret,id=s,required cat /run/secrets/s",
        error="secret"),
    _of("mount-ssh", "RUN --mount=type=ssh,required true", error="ssh"),
    _of("mount-unknown", "RUN --mount=type=volume,target=/x true",
        error='unsupported mount type "volume"'),
    _of("mount-stub-is-gone", "RUN --mount=type=tmpfs,target=/a/b/c true"),
]  # fmt: skip

RUNS = [
    _of("run-network-none-flag", "RUN --network=none ls /sys/class/net > /g",
        "g f 644 0:0 'lo\\n'"),
    _of("run-network-default-flag", "RUN --network=default ls /sys/class/net | grep -c eth0 > /g",
        "g f 644 0:0 '1\\n'"),
    _of("run-network-bad", "RUN --network=x true", error='unsupported network mode "x"'),
    _of("run-security", "RUN --security=insecure true", error="insecure"),
    _of("run-security-sandbox", "RUN --security=sandbox touch /g", "g f 644 0:0 ''"),
]  # fmt: skip

LANGUAGE = [
    Case(name="syntax-directive", dockerfile="# syntax=evil/frontend:1\nFROM busybox\nENV a=b\n",
         expected=Expected(config={"Env": [
             "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "a=b"]})),
    Case(name="syntax-warning", dockerfile="# syntax=evil/frontend:1\nFROM busybox\n",
         expected=Expected(output=("The syntax directive is not obeyed: evil/frontend:1",))),
    Case(name="platform-build", dockerfile="FROM --platform=$BUILDPLATFORM busybox\nLABEL a=b\n",
         expected=Expected(config={"Labels": {"a": "b"}})),
    _of("platform-arguments", "ARG TARGETOS\nARG BUILDOS\nLABEL a=$TARGETOS-$BUILDOS-x$TARGETARCH",
        config={"Labels": {"a": "linux-linux-x"}}),
    _of("modifier-plain", "ENV e=\nLABEL a=${e-x}${u-y}${e+z}", config={"Labels": {"a": "yz"}}),
    _of("modifier-patterns", "ENV f=/a/b.tar.gz\n"
        "LABEL a=${f##*/} b=${f%.*} c=${f%%.*} d=${f#*/} e=${f//\\//_} g=${f/a/x}",
        config={"Labels": {"a": "b.tar.gz", "b": "/a/b.tar", "c": "/a/b", "d": "a/b.tar.gz",
                           "e": "_a_b.tar.gz", "g": "/x/b.tar.gz"}}),
    _of("args-in-one", "ARG a=1 b=2\nLABEL c=$a$b", config={"Labels": {"c": "12"}}),
    _of("health-check-interval-of-nothing", "HEALTHCHECK --interval=0s CMD true",
        config={"Healthcheck": {"Test": ["CMD-SHELL", "true"]}}),
    _of("start-interval", "HEALTHCHECK --start-interval=2s CMD true",
        config={"Healthcheck": {"Test": ["CMD-SHELL", "true"], "StartInterval": 2000000000}}),
    _of("stage-inherits-arguments", "FROM busybox AS a\nARG v=1\nFROM a\nLABEL r=x$v",
        config={"Labels": {"r": "x1"}}),
    _of("unused-stage-is-not-built", "RUN exit 9\nFROM busybox\nLABEL a=b",
        config={"Labels": {"a": "b"}}),
    _of("double-escape-at-the-end", "LABEL a=b\\\\\nLABEL c=d",
        config={"Labels": {"a": "b\\", "c": "d"}}),
]  # fmt: skip

CASES = [
    *HEREDOCS, *MODES, *LINK, *PARENTS, *EXCLUDES, *ADDED, *MOUNTS, *RUNS, *LANGUAGE,
]  # fmt: skip
