"""ARG, ENV and what is expanded where."""

from tests.e2e.build_corpus.model import Case


def _of(name: str, *lines: str, **more: object) -> Case:
    return Case(name=name, dockerfile="\n".join(lines) + "\n", **more)


def _args(**values: str) -> dict[str, str]:
    inside = ",".join(f'"{name}":"{value}"' for name, value in values.items())
    return {"buildargs": f"{{{inside}}}"}


CASES = [
    _of("arg-default", "FROM busybox", "ARG a=1", "ENV r=$a"),
    _of("arg-given", "FROM busybox", "ARG a=1", "ENV r=$a", query=_args(a="2")),
    _of("arg-not-declared", "FROM busybox", "ENV r=x$a", query=_args(a="2")),
    _of("arg-unused", "FROM busybox", "ENV r=1", query=_args(b="2")),
    _of("arg-before-from", "ARG tag=latest", "FROM busybox:$tag", "ENV r=x$tag"),
    _of("arg-before-from-given", "ARG b=none", "FROM ${b}", query=_args(b="busybox")),
    _of("arg-before-from-asked", "ARG a=1", "FROM busybox", "ARG a", "ENV r=$a"),
    _of("arg-before-from-overridden", "ARG a=1", "FROM busybox", "ARG a=2", "ENV r=$a"),
    _of("arg-from-arg", "ARG a=1", "ARG b=$a.2", "FROM busybox", "ARG b", "ENV r=$b"),
    _of("arg-in-from-twice", "ARG b=busybox", "FROM $b AS a", "FROM a", "ENV a=b"),
    _of("env-before-arg", "FROM busybox", "ENV a=env", "ARG a=arg", "ENV r=$a"),
    _of("env-over-given", "FROM busybox", "ARG a", "ENV a=env", "ENV r=$a", query=_args(a="x")),
    _of("arg-quoted", "FROM busybox", "ARG a='x y'", "ARG b=\"$a z\"", "ENV r=\"$b\""),
    _of("arg-empty-default", "FROM busybox", "ARG a=", "ENV r=x${a:-y}"),
    _of("arg-null", "FROM busybox", "ARG a=1", "ENV r=$a", query={"buildargs": '{"a":null}'}),
    _of("arg-in-run", "FROM busybox", "ARG a=1", 'RUN echo "$a" > /r'),
    _of("arg-in-run-given", "FROM busybox", "ARG a", "RUN echo $a > /r", query=_args(a="x y")),
    _of("arg-in-run-and-env", "FROM busybox", "ARG a=1", "ENV a=2", "RUN echo $a > /r"),
    _of("args-in-run-sorted", "FROM busybox", "ARG z=1", "ARG b=2", "RUN env | grep [bz]= >/r"),
    _of("proxy-in-run", "FROM busybox", "RUN echo $HTTP_PROXY > /r", query=_args(HTTP_PROXY="p")),
    _of("proxy-declared", "FROM busybox", "ARG HTTP_PROXY", "RUN echo $HTTP_PROXY > /r",
        query=_args(HTTP_PROXY="p")),
    _of("expanded-everywhere", "FROM busybox", "ENV d=/d u=5 p=80 s=9 n=name", "WORKDIR $d",
        "USER $u", "EXPOSE $p ${p}81/udp", "STOPSIGNAL $s", "VOLUME $d/v", "LABEL $n=$d",
        "ENV x-$n=$p"),
    _of("not-expanded", "FROM busybox", "ENV a=1", "CMD echo $a", 'ENTRYPOINT ["$a"]',
        "HEALTHCHECK CMD $a", "ONBUILD ENV b=$a", "MAINTAINER $a"),
    _of("expanded-in-copy", "FROM busybox", "ENV s=a t=/b/ o=5:6", "COPY --chown=$o $s ${t}c",
        files={"a": "x"}),
    _of("expose-words", "FROM busybox", 'ENV p="80 81"', "EXPOSE $p"),
    _of("same-instruction", "FROM busybox", "ENV a=1", "ENV a=2 b=$a"),
    _of("modifiers", "FROM busybox", "ENV a=1 e=",
        "ENV r=${a:-x}${e:-y}${u:-z}${a:+p}${e:+q}${u:+s}"),
    _of("nested", "FROM busybox", "ENV a=1", "ENV r=${u:-${v:-$a}}"),
    _of("escaped", "FROM busybox", "ENV a=1", "ENV r=\\$a s=\\${a} t='$a' v=\"\\$a\""),
    _of("quotes-inside", "FROM busybox", "ENV a=\"it's\" b='say \"hi\"' c=\\\"x\\\""),
    _of("special-parameters", "FROM busybox", "ENV a=x$$y b=$1z c=$@ d=a$"),
    _of("expose-nothing", "FROM busybox", "EXPOSE $nope"),
    _of("volume-of-nothing", "FROM busybox", "VOLUME $nope"),
    _of("user-of-nothing", "FROM busybox", "USER $nope"),
    _of("label-of-nothing", "FROM busybox", "LABEL a$nope=$nope b=$nope"),
    _of("label-without-a-name", "FROM busybox", "LABEL $nope=x"),
    _of("env-without-a-name", "FROM busybox", "ENV $nope=x"),
    _of("arg-without-a-name", "FROM busybox", "ARG $nope=x", "ENV r=1"),
    _of("copy-to-nothing", "FROM busybox", "COPY f $nope", files={"f": "x"}),
    _of("copy-of-nothing", "FROM busybox", "COPY $nope /x", files={"f": "x"}),
    _of("signal-of-nothing", "FROM busybox", "STOPSIGNAL $nope"),
    _of("unset", "FROM busybox", "ENV a=x${nope}y", "WORKDIR /w$nope", "LABEL l=$nope"),
]  # fmt: skip
