"""RUN."""

from tests.e2e.build_corpus.model import Case


def _of(name: str, *lines: str, **more: object) -> Case:
    return Case(name=name, dockerfile="\n".join(("FROM busybox", *lines)) + "\n", **more)


CASES = [
    _of("run-writes", "RUN echo hi > /r"),
    _of("run-exec", 'RUN ["touch", "/a b"]'),
    _of("run-nothing-changes", "RUN true"),
    _of("run-output", "RUN echo out", "RUN echo err >&2"),
    _of("run-removes", "RUN rm /etc/group"),
    _of("run-removes-directory", "COPY d /d", "RUN rm -r /d", files={"d/x": "1"}),
    _of("run-replaces-directory", "COPY d /d", "RUN rm -r /d && mkdir /d && echo 2 > /d/y",
        files={"d/x": "1"}),
    _of("run-modes", "RUN mkdir -m 1777 /t && touch /t/f && chmod 4755 /t/f && ln -s f /t/l"),
    _of("run-hard-link", "RUN echo x > /a && ln /a /b"),
    _of("run-owner", "RUN touch /f && chown 5:6 /f"),
    _of("run-as-user", "USER 5:6", "RUN id -u > /tmp/u && id -g >> /tmp/u"),
    _of("run-in-workdir", "WORKDIR /w", "RUN pwd > p"),
    _of("run-environment", "ENV a=1", "RUN echo $a$b > /r", "ENV b=2", "RUN echo $a$b > /s"),
    _of("run-environment-bare", "RUN env | grep -v HOSTNAME | sort > /r"),
    _of("run-shell", 'SHELL ["/bin/sh", "-ec"]', "RUN false; true", "RUN touch /no"),
    _of("run-continued", "RUN echo a \\", "  && echo b \\", "  # c", "  && echo d > /r"),
    _of("run-fails", "RUN exit 3"),
    _of("run-exec-fails", 'RUN ["false"]'),
    _of("run-not-found", 'RUN ["/nope"]'),
    _of("run-nothing", "RUN"),
    _of("run-volume-is-lost", "VOLUME /v", "RUN echo x > /v/f"),
    _of("run-keeps-cmd", 'CMD ["keep"]', 'ENTRYPOINT ["this"]', "RUN touch /x"),
    _of("run-ignores-entrypoint", 'ENTRYPOINT ["false"]', "RUN touch /x"),
    _of("run-no-health", "HEALTHCHECK CMD false", "RUN touch /x"),
    _of("run-network-none", "RUN ls /sys/class/net | wc -l > /n", query={"networkmode": "none"}),
    _of("run-etc-hosts-stays", "RUN echo 1.2.3.4 x >> /etc/hosts"),
    _of("run-fifo", "RUN mkfifo /p"),
    _of("run-long-name", f"RUN echo x > /{'n' * 200}"),
    _of("run-unicode", "RUN echo é > /é"),
    _of("run-labelled-step", "RUN touch /a", "LABEL a=b", "RUN touch /b", "CMD c"),
    _of("quiet", "RUN echo hi", query={"q": "1"}),
]  # fmt: skip
