"""Contexts and sources from elsewhere: Git, archives and Dockerfiles behind URLs."""

from __future__ import annotations

import gzip
import http.server
import threading

import docker
import pytest
from tests.e2e.build_corpus.build import build, context_of
from tests.e2e.build_corpus.model import Case
from tests.support import git_server, pinnaced
from tests.support.images import busybox_archive

pytestmark = pytest.mark.root

DOCKERFILE = b"FROM busybox\nCOPY f /g\n"
REPOSITORY = {"Dockerfile": DOCKERFILE, "f": b"top", "sub/Dockerfile": DOCKERFILE, "sub/f": b"sub"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with pinnaced.start(
        tmp_path_factory.mktemp("r"), bridge="pnt25r", subnet="10.226.3.1/24"
    ) as started:
        started.load(busybox_archive())
        yield started


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """The URL of a repository with two branches, a tag, and links that lead out of it."""
    with git_server.serve(tmp_path_factory.mktemp("g")) as server:
        url = server.commit("x.git", REPOSITORY, links={"out": "/etc/passwd", "up": "../.."})
        at = str(server.root / "x.git")
        server.git("-C", at, "tag", "v1")
        server.git("-C", at, "checkout", "--quiet", "-b", "other")
        server.commit("x.git", {"f": b"other"})
        server.git("-C", at, "checkout", "--quiet", "main")
        yield url


@pytest.fixture(scope="module")
def web():
    """Serve a Dockerfile and a context; yield the address."""
    case = Case(name="", dockerfile="FROM busybox\nCOPY f /g\n", files={"f": "web"})
    answers = {
        "/Dockerfile": b"FROM busybox\nLABEL from=web\n",
        "/with-copy": DOCKERFILE,
        "/context.tar": context_of(case),
        "/context.tar.gz": gzip.compress(context_of(case)),
        "/large": b"#" * (5 << 20),
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            data = answers.get(self.path)
            self.send_response(200 if data else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def remote(engine, url, **query):
    return build(engine, Case(name="", dockerfile="", query={"remote": url, **query}))


def added(engine, line):
    return build(engine, Case(name="", dockerfile=f"FROM busybox\n{line}\n"))


@pytest.mark.parametrize(
    ("fragment", "content"),
    [
        ("", "top"),
        ("#", "top"),
        ("#main", "top"),
        ("#v1", "top"),
        ("#other", "other"),
        ("#:sub", "sub"),
        ("#v1:sub", "sub"),
        ("#main:./sub/", "sub"),
    ],
)
def test_a_repository_is_a_context(engine, repository, fragment, content):
    outcome = remote(engine, repository + fragment)
    assert outcome.error == ""
    assert [line.split(" kept")[0] for line in outcome.tree] == [f"g f 644 0:0 '{content}'"]


@pytest.mark.parametrize(
    ("fragment", "message"),
    [
        ("#nope", "couldn't find remote ref nope"),
        ("#:nope", "no directory 'nope'"),
        ("#:../..", "invalid directory"),
        ("#main:sub/../..", "invalid directory"),
        ("#--upload-pack=x", "invalid refspec"),
        ("#main..x", "invalid refspec"),
        ("#:up", "no directory"),
    ],
)
def test_class_13_a_repository_gives_only_what_is_in_it(engine, repository, fragment, message):
    outcome = remote(engine, repository + fragment)
    assert message in outcome.error


def test_class_13_links_in_a_repository_lead_nowhere(engine, repository, tmp_path):
    outcome = added(engine, f"ADD --exclude=sub {repository} /r/")
    assert outcome.error == ""
    names = [line.split()[0] for line in outcome.tree]
    assert names == ["r", "r/Dockerfile", "r/f", "r/out", "r/up"]
    assert "r/out l -> /etc/passwd" in outcome.tree
    assert "file does not exist" in remote(
        engine, repository, dockerfile="up/etc/passwd"
    ).error or ("Cannot locate" in remote(engine, repository, dockerfile="up/etc/passwd").error)


def test_a_repository_is_added_from_a_branch_and_directory(engine, repository):
    outcome = added(engine, f"ADD --chown=5:6 {repository}#main:sub /r")
    assert outcome.error == ""
    assert [line.split(" kept")[0] for line in outcome.tree] == [
        "r d 755 5:6",
        "r/Dockerfile f 644 5:6 'FROM busybox\\nCOPY f /g\\n'",
        "r/f f 644 5:6 'sub'",
    ]
    assert "not supported" in added(engine, f"ADD --keep-git-dir {repository} /r").error
    assert "SSH is not supported" in added(engine, "ADD git@127.0.0.1:x.git /r").error


@pytest.mark.parametrize("name", ["context.tar", "context.tar.gz"])
def test_an_archive_behind_a_url_is_a_context(engine, web, name):
    outcome = remote(engine, f"{web}/{name}")
    assert outcome.error == ""
    assert outcome.tree == ["g f 644 0:0 'web' kept"]


def test_a_dockerfile_behind_a_url_has_no_context(engine, web):
    assert remote(engine, f"{web}/Dockerfile").config["Labels"] == {"from": "web"}
    assert "missing build context" in remote(engine, f"{web}/with-copy").error


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{web}/nope", "404"),
        ("{web}/large", "larger than"),
        ("x", "could not be recognized as URL"),
        ("file:///etc/passwd", "could not be recognized as URL"),
        ("ext::sh -c x", "could not be recognized as URL"),
        ("ssh://git@127.0.0.1/x.git", "SSH is not supported"),
    ],
)
def test_what_cannot_be_fetched_is_said(engine, web, url, message):
    outcome = remote(engine, url.format(web=web))
    assert message.lower() in outcome.error.lower()


def test_docker_py_builds_from_a_repository(engine, repository):
    client = docker.DockerClient(base_url=engine.host)
    image, _ = client.images.build(path=f"{repository}#main:sub", tag="py:1", rm=True)
    assert client.containers.run(image, ["cat", "/g"], remove=True) == b"sub"
    client.close()


def test_insert_fetches_a_file(engine, web):
    outcome = added(engine, f"INSERT {web}/Dockerfile /d")
    assert outcome.error == ""
    assert [line.split()[:4] for line in outcome.tree] == [["d", "f", "600", "0:0"]]
    assert "INSERT needs a URL" in added(engine, "INSERT f /d").error
