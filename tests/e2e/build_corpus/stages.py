"""Several stages, ONBUILD triggers, targets."""

from tests.e2e.build_corpus.model import Case


def _of(name: str, *lines: str, **more: object) -> Case:
    return Case(name=name, dockerfile="\n".join(lines) + "\n", **more)


UNUSED = {"output": "stages that the target does not need are not built"}
LAST_ONLY = {"output": "Step 1/2 : FROM busybox AS two\n"}
TWO = ("FROM busybox AS one", "ENV a=1", "FROM busybox AS two", "ENV b=2")

CASES = [
    _of("two-stages", *TWO, differs=UNUSED, ours=LAST_ONLY),
    _of("target-first", *TWO, query={"target": "one"}),
    _of("target-any-case", *TWO, query={"target": "ONE"}),
    _of("target-number", *TWO, query={"target": "0"},
        differs=dict.fromkeys(("status", "error", "output", "config", "history"),
                              "numbers are targets, too, as in BuildKit"),
        ours={"status": 200, "output": "Successfully built", "config": {
            "Cmd": ["sh"], "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "a=1"]},
            "history": ["+ pinnace: static busybox of the host",
                        "- /bin/sh -c #(nop)  ENV a=1"]}),
    _of("from-stage", "FROM busybox AS a", "ENV a=1", "WORKDIR /w", "FROM a", "ENV b=2"),
    _of("from-stage-any-case", "FROM busybox AS Base", "ENV a=1", "FROM BASE", "ENV b=2"),
    _of("copy-from-name", "FROM busybox AS a", "COPY f /f", "FROM scratch", "COPY --from=a /f /g",
        files={"f": "x"}),
    _of("copy-from-number", "FROM busybox", "COPY f /f", "FROM scratch", "COPY --from=0 f /g",
        files={"f": "x"}),
    _of("copy-from-image", "FROM scratch", "COPY --from=busybox /etc/passwd /p"),
    _of("copy-from-any-case", "FROM busybox AS Abc", "COPY f /f", "FROM scratch",
        "COPY --from=aBC /f /", files={"f": "x"}),
    _of("copy-directory-from", "FROM busybox AS a", "COPY d /d", "FROM busybox",
        "COPY --from=a /d /e", files={"d/x": "1", "d/s/y": "2"}),
    _of("copy-pattern-from", "FROM busybox AS a", "COPY d /d", "FROM busybox",
        "COPY --from=a /d/*.c /e/", files={"d/x.c": "1", "d/y.c": "2", "d/z.h": "3"}),
    _of("copy-from-chown", "FROM busybox AS a", "COPY --chown=3:4 f /f", "FROM busybox",
        "COPY --from=a /f /g", "COPY --from=a --chown=5 /f /h", files={"f": "x"}),
    _of("copy-from-run", "FROM busybox AS a", "RUN echo hi > /r && chmod 600 /r", "FROM busybox",
        "COPY --from=a /r /s"),
    _of("copy-from-workdir", "FROM busybox AS a", "WORKDIR /w", "COPY f .", "FROM scratch",
        "COPY --from=a w/f /", files={"f": "x"}),
    _of("arguments-end-with-a-stage", "FROM busybox", "ARG a=1", "FROM busybox", "ENV r=x$a",
        differs=UNUSED, ours={"output": "Step 1/2 : FROM busybox\n"}),
    _of("cmd-of-the-base", "FROM busybox AS a", "CMD a", "FROM a", 'ENTRYPOINT ["b"]'),
    _of("config-of-the-base", "FROM base:1", "ENV b=2",
        bases={"base:1": "FROM busybox\nENV a=1\nLABEL x=y\nEXPOSE 1\nUSER 5\nWORKDIR /w\n"}),
    _of("onbuild-runs", "FROM trigger:1", "ENV b=2",
        bases={"trigger:1": "FROM busybox\nONBUILD ENV a=1\nONBUILD RUN echo hi > /r\n"}),
    _of("onbuild-copies", "FROM trigger:1", "ENV b=2", files={"f": "x"},
        bases={"trigger:1": "FROM busybox\nONBUILD COPY f /g\nONBUILD WORKDIR /w\n"}),
    _of("onbuild-once", "FROM trigger:2", "CMD x",
        bases={"trigger:1": "FROM busybox\nONBUILD LABEL a=1\n",
               "trigger:2": "FROM trigger:1\nENV a=1\n"}),
    _of("onbuild-in-two-stages", "FROM trigger:1 AS a", "FROM trigger:1", "COPY --from=a /g /h",
        files={"f": "x"}, bases={"trigger:1": "FROM busybox\nONBUILD COPY f /g\n"}),
    _of("onbuild-argument", "FROM trigger:1", query={"buildargs": '{"v":"2"}'},
        bases={"trigger:1": "FROM busybox\nONBUILD ARG v=1\nONBUILD ENV r=$v\n"}),
    _of("onbuild-cmd-entrypoint", "FROM trigger:1", 'ENTRYPOINT ["x"]',
        bases={"trigger:1": 'FROM busybox\nONBUILD CMD ["a"]\n'}),
]  # fmt: skip
