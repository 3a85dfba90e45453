"""Contract of 2013, section "Build": C300 to C333."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support.archives import file, folder, symlink, tar_of
from tests.support.images import BUSYBOX
from tests.support.remote import BARE, Remote, read_until, started, until
from tests.support.remote_build import FULL_ID, MULTIPART, build, error_of, form, image_of, part
from tests.support.remote_images import PACKED

from pinnace.client.busybox import busybox_layer

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def base(newest):
    """A name of busybox without a run config, imported; what a build keeps goes between tests."""
    query = {"fromSrc": "-", "repo": "made/base"}
    reply = newest.post("/images/create", busybox_layer(BUSYBOX), query=query)
    assert reply.status == 200, reply.sent
    yield "made/base"
    assert newest.delete("/images/made/base", query={"force": 1}).status == 200


@pytest.fixture(autouse=True)
def _steps_are_removed(newest):
    """Builds of the time leave the containers of their steps."""
    yield
    for one in newest.get("/containers/json", query={"all": 1}).json():
        newest.delete(f"/containers/{one['Id']}", query={"force": 1, "v": 1})


@pytest.fixture
def checked(containers):
    """Returns whether a shell script succeeds in a container of an image."""

    def check(image, script):
        container = containers.finish("/bin/sh", "-c", script, image=image)
        return containers.inspect(container)["State"]["ExitCode"] == 0

    return check


def test_c300_a_form_with_a_dockerfile_builds(api, stock, base):
    reply = build(api, f"FROM {base}\nRUN touch /a\n")
    assert (reply.status, reply.type) == (200, "text/plain; charset=utf-8")
    assert stock.exists(image_of(reply))


@pytest.mark.parametrize("order", [("Context", "Dockerfile"), ("Dockerfile", "Context")])
@pytest.mark.parametrize("chunk", [0, 1000])
def test_c301_parts_come_in_any_order_and_chunked(api, stock, base, checked, order, chunk):
    contents = {
        "Context": tar_of(file("f", b"from the context" * 5000)),
        "Dockerfile": f"FROM {base}\nADD f /f\n".encode(),
    }
    body, headers = form(*(part(name, contents[name]) for name in order)), {}
    if chunk:
        pieces = [body[at : at + chunk] for at in range(0, len(body), chunk)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        headers = {"Transfer-Encoding": "chunked"}
    image = image_of(build(api, body=body, headers=headers))
    assert checked(image, "test $(wc -c </f) = 80000")


@pytest.mark.parametrize("kind", sorted(PACKED))
def test_c302_a_context_may_be_packed(api, stock, base, kind):
    context = PACKED[kind](tar_of(file("f", b"x")))
    assert stock.exists(image_of(build(api, f"FROM {base}\nADD f /f\n", context)))


def test_c302_a_packed_context_may_be_filled_up_with_zeros(api, stock, base, checked):
    context = PACKED["bzip2"](tar_of(file("f", b"x"))) + bytes(1024)  # as the client's tar did
    image = image_of(build(api, f"FROM {base}\nADD f /f\n", context))
    assert checked(image, "test -e /f")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_c303_a_body_that_is_no_form_may_be_a_dockerfile(api, stock, base, kind):
    body = f"FROM {base}\nCMD true\n".encode()
    headers = {"Content-Type": kind} if kind else {}
    assert stock.exists(image_of(api.post("/build", body, headers=headers)))


@pytest.mark.parametrize("kind", ["plain", "gzip"])
def test_c303_a_body_that_is_no_form_may_be_a_tar_with_a_dockerfile(
    api, stock, base, checked, kind
):
    dockerfile = f"FROM {base}\nADD f /f\n".encode()
    body = PACKED[kind](tar_of(file("Dockerfile", dockerfile), file("f", b"x")))
    image = image_of(api.post("/build", body, headers={"Content-Type": "application/tar"}))
    assert checked(image, "test -e /f")


def test_c304_a_form_without_a_dockerfile_is_500(api, stock):
    before = stock._ids()
    nameless = form(part("Dockerfile", b"FROM busybox\n", filename=""))
    for body in (form(), form(part("Context", tar_of(file("Dockerfile", b"")))), nameless):
        reply = build(api, body=body)
        assert (reply.status, reply.text) == (500, "http: no such file\n")
    assert stock._ids() == before


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (MULTIPART, b""),
        (MULTIPART, form(part("Dockerfile", b"FROM busybox\n"))[:-8]),
        (MULTIPART, part("Context", b"x" * 1000)[:200]),
        (MULTIPART, b"no form at all"),
        ("multipart/form-data", form()),
        ("text/plain", b""),
    ],
)
def test_a_broken_form_is_500_and_leaves_nothing(api, stock, engine, kind, body):
    reply = api.post("/build", body, headers={"Content-Type": kind})
    assert reply.status == 500, reply.sent
    assert not list((engine.root / "data/builds/contexts").iterdir())


def test_c305_instructions_show_the_image_before_and_after(api, stock, base):
    full = stock.full(base)
    text = build(api, f"from {base}\nmaintainer Ada\nRUN touch /a\n").text
    lines = text.splitlines()
    assert lines[:2] == [f"FROM {base} ()", f"===> {full}"]
    assert lines[2] == f"MAINTAINER Ada ({full})"
    second = re.fullmatch(f"===> ({FULL_ID})", lines[3])[1]
    assert lines[4] == f"RUN touch /a ({second})"
    assert re.fullmatch(f"## {FULL_ID}", lines[5])
    assert re.fullmatch(f"===> {FULL_ID}", lines[6])
    assert lines[6].removeprefix("===> ") == image_of(build(api, f"FROM {lines[6][5:]}\n"))


@pytest.mark.versions("1.0", "1.1")
def test_c306_a_good_build_ends_with_an_arrow_and_the_image(api, stock, base):
    lines = build(api, f"FROM {base}\n").text.splitlines()
    assert lines[-2:] == ["Build successful.", f"===> {stock.full(base)}"]


@pytest.mark.versions("1.2")
def test_c307_a_good_build_of_1_2_ends_with_the_image_alone(api, stock, base):
    lines = build(api, f"FROM {base}\n").text.splitlines()
    assert lines[-2:] == ["Build successful.", stock.full(base)]


def test_c308_a_command_that_fails_ends_the_text(api, stock, base):
    reply = build(api, f"FROM {base}\nRUN exit 3\nRUN touch /never\n")
    command = "[/bin/sh -c exit 3]"
    assert error_of(reply) == f"The command {command} returned a non-zero code: 3"
    assert "never" not in reply.text


def test_a_command_is_killed_when_its_client_leaves(api, stock, base, newest):
    dockerfile = f"FROM {base}\nRUN sleep 600\n".encode()
    head = f"POST {api.target('/build')} HTTP/1.1\r\nHost: localhost\r\n"
    with api.connect() as connection:
        connection.sendall(f"{head}Content-Length: {len(dockerfile)}\r\n\r\n".encode())
        connection.sendall(dockerfile)
        got = read_until(connection, b"## ")
        while not (found := re.search(f"## ({FULL_ID})", got.decode())):
            got += connection.recv(4096)
        container = found[1]
        until(lambda: _state(newest, container)["Running"], "the start of the command")
    until(lambda: not _state(newest, container)["Running"], "the end of the command")
    assert _state(newest, container)["ExitCode"] == 137


def test_a_crash_in_mid_build_leaves_nothing():
    layer = busybox_layer(BUSYBOX)
    with started("crash", bridge=None) as (engine, port):
        api, newest = Remote("1.2", port), Remote(BARE, engine.socket)
        newest.post("/images/create", layer, query={"fromSrc": "-", "repo": "base"})
        body = form(part("Context", tar_of(file("f", b"x"))), part("Dockerfile", CRASHING))
        head = f"POST /build HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MULTIPART}\r\n"
        with api.connect() as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            read_until(connection, b"## ")
            until(lambda: newest.get("/containers/json").json(), "the start of the command")
            engine.kill()
        engine.launch()
        assert newest.get("/containers/json", query={"all": 1}).json() == []
        assert not list((engine.root / "data/builds/contexts").iterdir())
        assert len(newest.get("/images/json", query={"all": 1}).json()) == 2


CRASHING = b"FROM base\nADD f /f\nRUN sleep 600\n"


def _state(newest, container):
    return newest.get(f"/containers/{container}/json").json()["State"]


def test_c309_the_image_is_named_on_success(api, stock, base):
    repo = stock.name()
    image = image_of(build(api, f"FROM {base}\nCMD a\n", t=f"{repo}:v1"))
    assert stock.full(f"{repo}:v1") == image
    assert not stock.exists(repo)
    error_of(build(api, f"FROM {base}\nRUN false\n", t=f"{repo}:v2"))
    assert not stock.exists(f"{repo}:v2")


def test_c310_a_name_without_a_tag_is_latest(api, stock, base):
    repo = stock.name()
    stock.imported(repo)
    image = image_of(build(api, f"FROM {base}\nCMD b\n", t=repo))
    assert stock.full(f"{repo}:latest") == image


def test_a_name_that_cannot_be_given_is_passed_over(api, stock, base):
    assert image_of(build(api, f"FROM {base}\n", t="NOT:a name"))


@pytest.mark.versions("1.2")
def test_c311_a_dockerfile_is_fetched_from_a_url(api, stock, base, web):
    url = web.put("/d/Dockerfile", f"FROM {base}\nRUN touch /a\nCMD env\n".encode())
    image = image_of(build(api, remote=url))
    assert stock.inspect(image)["config"]["Cmd"] == ["/bin/sh", "-c", "env"]
    url = web.put("/e/Dockerfile", f"FROM {base}\nADD a /a\n".encode())
    assert error_of(build(api, remote=url)) == "No context given. Impossible to use ADD"


@pytest.mark.versions("1.2")
def test_c311_a_dockerfile_that_is_not_there_is_500(api, web):
    reply = build(api, remote=f"http://{web.address}/nosuch")
    assert reply.status == 500
    assert "404" in reply.text


@pytest.mark.versions("1.2")
def test_c312_a_repository_is_built_with_its_tree_as_context(api, stock, base, checked, git):
    dockerfile = f"FROM {base}\nADD sub /s\nADD f /f\n".encode()
    url = git.commit("built", {"Dockerfile": dockerfile, "f": b"1", "sub/g": b"2"})
    assert checked(image_of(build(api, body=form(), remote=url)), "test -f /f -a -f /s/g")


@pytest.mark.versions("1.2")
def test_c312_a_repository_that_cannot_be_built_is_500(api, git, engine):
    url = git.commit("empty", {"f": b"x"})
    reply = build(api, remote=url)
    assert (reply.status, reply.text) == (500, "No Dockerfile found in the repository\n")
    for remote in (git.url("nosuch"), "git://-x/y", "git://127.0.0.1:9/x"):
        assert build(api, remote=remote).status == 500
    assert not list((engine.root / "data/builds/git").iterdir())


@pytest.mark.versions("1.2")
def test_c313_an_address_of_no_kind_is_500(api):
    reply = build(api, remote="nonsense")
    assert reply.status == 500
    assert reply.text.endswith("\n")


def test_c314_instructions_are_known_in_any_case(api, stock, base):
    image = image_of(build(api, f"from {base}\nMaIntainer Ada\nenv A b\n"))
    assert stock.inspect(image)["config"]["Env"] == ["A=b"]


def test_c315_comments_and_empty_lines_are_skipped(api, stock, base):
    text = build(api, f"# one\n\nFROM {base}\n   \n# RUN false\n\t\nCMD x\n").text
    assert "one" not in text
    assert text.count("===> ") == (3 if api.version in ("1.0", "1.1") else 2)


@pytest.mark.versions("1.2")
def test_c316_a_last_line_without_line_end_is_carried_out(api, stock, base):
    image = image_of(build(api, f"FROM {base}\nCMD last"))
    assert stock.inspect(image)["config"]["Cmd"] == ["/bin/sh", "-c", "last"]


def test_c317_an_instruction_without_arguments_ends_the_build(api, stock, base):
    assert error_of(build(api, f"FROM {base}\nRUN\n")) == "Invalid Dockerfile format"
    assert error_of(build(api, "FROM\n")) == "Invalid Dockerfile format"


def test_c318_unknown_instructions_are_skipped(api, stock, base):
    words = ["ENTRYPOINT", "VOLUME", "USER", "WORKDIR", "ONBUILD"]
    lines = "".join(f"{word} x\n" for word in words)
    text = build(api, f"FROM {base}\n{lines}CMD after\n").text
    full = stock.full(base)
    for word in words:
        assert f"{word} x ({full})\nSkipping unknown instruction {word}\n" in text
    assert f"ONBUILD\nCMD after ({full})\n===> " in text
    assert "Build successful." in text


@pytest.mark.parametrize("word", ["COPY", "INSERT", "copy"])
def test_c319_copy_and_insert_are_gone(api, stock, base, word):
    reply = build(api, f"FROM {base}\n{word} a b\n", tar_of(file("a", b"")))
    assert error_of(reply) == f"{word.upper()} has been deprecated. Please use ADD instead"


@pytest.mark.parametrize(("line", "verb"), [("RUN true", "run"), ("CMD a", "commit")])
def test_c320_nothing_goes_before_from(api, stock, line, verb):
    reply = build(api, f"{line}\nFROM busybox\n")
    assert error_of(reply) == f"Please provide a source image with `from` prior to {verb}"


def test_a_dockerfile_that_makes_no_image_says_so(api):
    assert "An error occured during the build" in build(api, "# nothing\n").text


def test_c321_the_maintainer_is_the_author(api, stock, base):
    image = image_of(build(api, f"FROM {base}\nMAINTAINER Ada\nRUN touch /a\n"))
    assert stock.inspect(image)["author"] == "Ada"


def test_c322_variables_are_seen_by_commands_and_containers(api, stock, base, checked):
    lines = f"FROM {base}\nENV K some value\nENV L 1\nENV L 2\nRUN echo $K-$L >/seen\n"
    image = image_of(build(api, lines))
    assert checked(image, 'test "$(cat /seen)" = "some value-2" && test "$K$L" = "some value2"')
    assert error_of(build(api, f"FROM {base}\nENV alone\n")) == "Invalid ENV format"


def test_c323_exposed_ports_are_port_specs(api, stock, base):
    image = image_of(build(api, f"FROM {base}\nEXPOSE 80 443\n"))
    assert stock.inspect(image)["config"]["PortSpecs"] == ["80", "443"]
    image = image_of(build(api, f"FROM {base}\nEXPOSE 80\nEXPOSE 22\n"))
    assert stock.inspect(image)["config"]["PortSpecs"] == ["22", "80"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('["a","b"]', ["a", "b"]),
        ("a b", ["/bin/sh", "-c", "a b"]),
        ('["a", 7]', ["/bin/sh", "-c", '["a", 7]']),
    ],
)
def test_c324_cmd_is_a_list_or_a_line_for_the_shell(api, stock, base, arguments, words):
    image = image_of(build(api, f"FROM {base}\nCMD {arguments}\n"))
    assert stock.inspect(image)["config"]["Cmd"] == words


@pytest.mark.parametrize("line", ["RUN touch /a", "EXPOSE 80", "ENV A b", "MAINTAINER Ada"])
def test_c325_cmd_is_kept_by_what_follows_it_cached_or_not(api, stock, base, line):
    images = [image_of(build(api, f"FROM {base}\nCMD kept\n{line}\n{line}\n")) for _ in range(2)]
    for image in images:
        config = stock.inspect(image)["config"]
        assert config["Cmd"] == ["/bin/sh", "-c", "kept"]
        assert config["Hostname"] == ""


def test_c326_add_copies_a_file(api, stock, base, checked):
    context = tar_of(file("f", b"content"), file("g", b""), file("x.tar", tar_of(file("in"))))
    lines = f"FROM {base}\nADD f /d/f\nADD f /d\nADD f /e/\nADD x.tar /x\n"
    image = image_of(build(api, lines, context))
    assert checked(image, 'test "$(cat /d/f)$(cat /e)" = contentcontent && test -f /x')


def test_c327_add_copies_the_content_of_a_directory(api, stock, base, checked):
    context = tar_of(folder("dir"), file("dir/a", b"1"), folder("dir/sub"), file("dir/sub/b"))
    image = image_of(build(api, f"FROM {base}\nADD dir /d\nADD . /all\n", context))
    assert checked(image, "test -f /d/a && test -f /d/sub/b && test -f /all/dir/a")


def test_c328_add_keeps_what_was_done_before(api, stock, base, checked):
    context = tar_of(file("f", b"x"))
    lines = f"FROM {base}\nRUN touch /before\nADD f /f\nRUN touch /after\n"
    assert checked(image_of(build(api, lines, context)), "test -e /before -a -e /f -a -e /after")
    assert checked(image_of(build(api, f"FROM {base}\nADD f /f\n", context)), "test -e /bin/sh")


@pytest.mark.parametrize("source", ["../f", "/../../f", "link/passwd", "nosuch"])
def test_add_takes_nothing_from_outside_the_context(api, stock, base, source):
    context = tar_of(file("inside", b"x"), symlink("link", "/etc"))
    reply = build(api, f"FROM {base}\nADD {source} /f\n", context)
    assert error_of(reply)
    assert not Path("/f").exists()


@pytest.mark.versions("1.2")
def test_c329_add_downloads_a_file(api, stock, base, checked, web):
    url = web.put("/f", b"from afar")
    context = tar_of(file("other", b""))
    image = image_of(build(api, f"FROM {base}\nADD {url} /d/f\n", context))
    assert checked(image, 'test "$(cat /d/f)" = "from afar"')
    reply = build(api, f"FROM {base}\nADD {url} /d/f\n")
    assert error_of(reply) == "No context given. Impossible to use ADD"


def test_c330_add_wants_a_context(api, stock, base):
    reply = build(api, f"FROM {base}\nADD a b\n")
    assert error_of(reply) == "No context given. Impossible to use ADD"


def test_c331_the_same_dockerfile_makes_the_same_image(api, stock, base):
    lines = f"FROM {base}\nMAINTAINER Ada\nENV A b\nRUN date >/d\nEXPOSE 80\nRUN date\nCMD x\n"
    first, second = (build(api, lines) for _ in range(2))
    assert image_of(first) == image_of(second)
    assert "## " in first.text
    assert "## " not in second.text


def test_c332_history_shows_what_was_done(api, stock, base):
    context = tar_of(file("f", b""))
    lines = f"FROM {base}\nMAINTAINER Ada\nENV K V\nCMD a b\nEXPOSE 80 443\nADD f /f\nRUN true\n"
    image = image_of(build(api, lines, context))
    assert [one.get("CreatedBy") for one in stock.history(image)] == [
        "/bin/sh -c true",
        "/bin/sh -c #(nop) ADD f in /f",
        "/bin/sh -c #(nop) EXPOSE [80 443]",
        "/bin/sh -c #(nop) CMD [/bin/sh -c a b]",
        "/bin/sh -c #(nop) ENV K=V",
        "/bin/sh -c #(nop) MAINTAINER Ada",
        None,
    ]


def test_c333_an_unknown_image_is_pulled(api, stock, registry, pushed_busybox):
    reply = build(api, f"FROM {pushed_busybox}\nRUN touch /a\n")
    assert image_of(reply)
    assert "Pulling" in reply.text
    reply = build(api, f"FROM {registry.address}/no/such\n")
    assert "no/such" in error_of(reply)


@pytest.fixture
def pushed_busybox(registry):
    """The name of busybox in the registry."""
    layer = PACKED["gzip"](busybox_layer(BUSYBOX))
    registry.put_image("build/base", "latest", layers=[layer])
    return f"{registry.address}/build/base"
