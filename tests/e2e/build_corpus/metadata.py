"""Instructions that only change the config."""

from tests.e2e.build_corpus.model import Case


def _of(name: str, *lines: str, **more: object) -> Case:
    return Case(name=name, dockerfile="\n".join(("FROM busybox", *lines)) + "\n", **more)


CASES = [
    _of("from-alone"),
    Case(name="lower-case", dockerfile="from busybox\ncmd a\n"),
    Case(name="from-scratch-metadata", dockerfile="FROM scratch\nENV a=b\n"),
    _of("cmd-shell", "CMD echo hi"),
    _of("cmd-exec", 'CMD ["echo", "hi"]'),
    _of("cmd-empty", "CMD []"),
    _of("cmd-nothing", "CMD"),
    _of("cmd-bad-json", 'CMD ["a",'),
    _of("cmd-single-quotes", "CMD ['a']"),
    _of("cmd-twice", "CMD a", "CMD b"),
    _of("cmd-spaces", "CMD   a    b  "),
    _of("cmd-unicode", 'CMD ["été", "\\u00e9"]'),
    _of("cmd-angle-brackets", "CMD echo '<a>' && echo \"b\" > /c"),
    _of("entrypoint-shell", "ENTRYPOINT echo hi"),
    _of("entrypoint-exec", 'ENTRYPOINT ["echo", "hi"]'),
    _of("entrypoint-empty", "ENTRYPOINT []"),
    _of("entrypoint-nothing", "ENTRYPOINT"),
    _of("entrypoint-then-cmd", 'ENTRYPOINT ["a"]', 'CMD ["b"]'),
    _of("cmd-then-entrypoint", 'CMD ["b"]', 'ENTRYPOINT ["a"]'),
    _of("empty-cmd-then-entrypoint", "CMD []", 'ENTRYPOINT ["a"]'),
    _of("env-new", "ENV a=b"),
    _of("env-many", "ENV a=b c='d e' f=\"g h\" i=j\\ k"),
    _of("env-old", "ENV a b c  d"),
    _of("env-old-quotes", "ENV a 'b'  \"c\""),
    _of("env-replaced", "ENV a=1 b=2", "ENV a=3"),
    _of("env-empty", "ENV a= b=''"),
    _of("env-path", "ENV PATH=/x:$PATH"),
    _of("env-equals", "ENV a=b=c d==e"),
    _of("env-special", "ENV a=$ b=\\$x c='$x' d=\\\\ e=a#b"),
    _of("env-continued", "ENV a=b \\", "    c=d \\", "    # comment", "    e=f"),
    _of("label-new", "LABEL a=b"),
    _of("label-many", 'LABEL a=b "c d"="e f" g=\'h i\''),
    _of("label-old", "LABEL a b c"),
    _of("label-replaced", "LABEL a=b", "LABEL a=c b=d"),
    _of("label-multiline", 'LABEL description="one \\', 'two"'),
    _of("label-dotted", "LABEL com.example.x-y_z=1"),
    _of("label-request", "LABEL a=b", query={"labels": '{"c":"d","e":"f g"}'}),
    _of("label-request-overrides", "LABEL a=b", query={"labels": '{"a":"c"}'}),
    _of("label-request-dollar", "LABEL a=b", query={"labels": '{"c":"$x"}'}),
    _of("maintainer", "MAINTAINER Ada <ada@example.org>"),
    _of("maintainer-twice", "MAINTAINER Ada", "MAINTAINER  Bob"),
    _of("maintainer-then-env", "MAINTAINER Ada", "ENV a=b"),
    _of("expose-one", "EXPOSE 80"),
    _of("expose-many", "EXPOSE 80 443/tcp 53/udp 9/sctp"),
    _of("expose-range", "EXPOSE 8000-8003/udp"),
    _of("expose-upper", "EXPOSE 80/UDP"),
    _of("expose-twice", "EXPOSE 80", "EXPOSE 80 81"),
    _of("expose-published", "EXPOSE 8080:80"),
    _of("expose-order", "EXPOSE 90 80 100"),
    _of("volume-words", "VOLUME /a /b"),
    _of("volume-json", 'VOLUME ["/a b", "/c"]'),
    _of("volume-twice", "VOLUME /a", "VOLUME /b"),
    _of("volume-relative", "VOLUME a"),
    _of("user-name", "USER nobody"),
    _of("user-ids", "USER 5:6"),
    _of("user-twice", "USER 5", "USER root"),
    _of("workdir-absolute", "WORKDIR /a/b"),
    _of("workdir-relative", "WORKDIR /a", "WORKDIR b", "WORKDIR ../c"),
    _of("workdir-first-relative", "WORKDIR a"),
    _of("workdir-existing", "WORKDIR /bin"),
    _of("workdir-root", "WORKDIR /"),
    _of("workdir-unclean", "WORKDIR /a/../b//c/."),
    _of("workdir-spaces", "WORKDIR /a b"),
    _of("workdir-with-user", "USER 5:6", "WORKDIR /w"),
    _of("stopsignal-name", "STOPSIGNAL SIGINT"),
    _of("stopsignal-short", "STOPSIGNAL int"),
    _of("stopsignal-number", "STOPSIGNAL 9"),
    _of("stopsignal-any-number", "STOPSIGNAL 999"),
    _of("stopsignal-realtime", "STOPSIGNAL RTMIN+3"),
    _of("shell-exec", 'SHELL ["/bin/sh", "-e", "-c"]'),
    _of("shell-then-cmd", 'SHELL ["/bin/sh", "-e", "-c"]', "CMD a", "ENTRYPOINT b"),
    _of("healthcheck-shell", "HEALTHCHECK CMD true || exit 1"),
    _of("healthcheck-exec", 'HEALTHCHECK CMD ["true", "x"]'),
    _of("healthcheck-none", "HEALTHCHECK NONE"),
    _of(
        "healthcheck-flags",
        "HEALTHCHECK --interval=5s --timeout=1m --start-period=1h --retries=4 CMD true",
    ),
    _of("healthcheck-twice", "HEALTHCHECK CMD a", "HEALTHCHECK --retries=2 CMD b"),
    _of("onbuild-one", "ONBUILD RUN echo hi"),
    _of("onbuild-many", "ONBUILD COPY . /x", "ONBUILD ENV a=b", "onbuild cmd x"),
    _of("onbuild-unknown", "ONBUILD FOO x"),
    _of("onbuild-flags", "ONBUILD COPY --from=a --chown=1 b c"),
    _of("arg-only", "ARG a", "ARG b=c"),
    _of("comments", "# one", "  # two", "ENV a=b", "#"),
    _of("blank-lines", "", "ENV a=b", "   ", "\t", "CMD c", ""),
    _of("tabs", "ENV\ta=b", "CMD\t\ta\tb"),
    _of("continued", "CMD a \\", "  b \\", "  c"),
    _of("continued-over-comment", "CMD a \\", "# gone", "  b"),
    _of("continued-over-nothing", "CMD a \\", "", "  b"),
    _of("continued-at-the-end", "CMD a \\"),
    Case(name="crlf", dockerfile="FROM busybox\r\nENV a=b\r\nCMD a \\\r\n b\r\n"),
    Case(name="bom", dockerfile=b"\xef\xbb\xbfFROM busybox\nENV a=b\n"),
    Case(name="no-last-newline", dockerfile="FROM busybox\nCMD a"),
    Case(
        name="escape-directive", dockerfile="# escape=`\nFROM busybox\nCMD a `\n b\nENV c=d`$e\n"
    ),
    Case(name="escape-late", dockerfile="# x\n# escape=`\nFROM busybox\nCMD a `\n"),
    Case(name="escape-windows-path", dockerfile="# escape=`\nFROM busybox\nENV p=C:\\a\\b\n"),
    Case(
        name="everything",
        dockerfile="""\
FROM busybox
MAINTAINER Ada
LABEL a=b
ENV c=d
EXPOSE 80
VOLUME /v
USER 1:1
WORKDIR /w
STOPSIGNAL SIGINT
SHELL ["/bin/sh", "-c"]
HEALTHCHECK CMD true
ONBUILD ENV x=y
ENTRYPOINT ["e"]
CMD ["c"]
""",
    ),
]
