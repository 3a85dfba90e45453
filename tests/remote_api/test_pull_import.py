"""Contract of 2013, section "Pull and import": C216 to C239."""

from __future__ import annotations

import gzip
import itertools
import re

import pytest
from tests.support.archives import file, tar_of
from tests.support.remote import parse, read_all, read_until
from tests.support.remote_images import PACKED, root_tar

pytestmark = pytest.mark.root
RAW_STREAM = "application/vnd.docker.raw-stream"
FORM = "application/x-www-form-urlencoded"
_numbers = itertools.count(1)


def create(api, body=None, *, headers=None, **query):
    return api.post("/images/create", body, query=query, headers=headers)


@pytest.fixture
def pushed(registry):
    """A repository of the registry with the tags `latest` and `v1`, of different images."""
    name = f"acme/web{next(_numbers)}"
    for tag in ("latest", "v1"):
        layers = [gzip.compress(tar_of(file(f"{one}-{tag}", name.encode()))) for one in "ab"]
        registry.put_image(name, tag, layers=layers)
    return f"{registry.address}/{name}"


@pytest.mark.versions("1.0")
def test_c216_create_in_1_0_is_text(api, stock, pushed):
    for query in ({"fromSrc": "-"}, {"fromImage": pushed}):
        body = root_tar() if "fromSrc" in query else None
        reply = create(api, body, **query)
        assert reply.status == 200, reply.sent
        assert reply.text.endswith("\r\n")
        assert "{" not in reply.text


@pytest.mark.versions("1.0")
def test_c217_the_type_of_streams_in_1_0_is_the_raw_stream(api, stock, web, registry):
    repo = f"{registry.address}/{stock.name()}"
    image = stock.imported(repo)
    replies = [
        create(api, root_tar(), fromSrc="-"),
        api.post(f"/images/{image}/insert", query={"url": web.put("/f", b"x"), "path": "/etc/f"}),
        api.post(f"/images/{repo}/push"),
    ]
    for reply in replies:
        assert (reply.status, reply.type) == (200, RAW_STREAM), reply.sent


@pytest.mark.versions("1.1", "1.2")
def test_c218_create_from_1_1_on_is_json_values_back_to_back(api, stock, pushed):
    for query in ({"fromSrc": "-"}, {"fromImage": pushed}):
        body = root_tar() if "fromSrc" in query else None
        reply = create(api, body, **query)
        assert (reply.status, reply.type) == (200, "application/json"), reply.sent
        assert reply.values()


@pytest.mark.versions("1.1", "1.2")
def test_c219_objects_of_a_create_have_three_keys_at_most(api, stock, pushed, web):
    replies = [
        create(api, fromImage=pushed),
        create(api, root_tar(), fromSrc="-"),
        create(api, fromSrc=web.put("/base", root_tar())),
        create(api, fromSrc=f"http://{web.address}/nosuch"),
    ]
    for value in [value for reply in replies for value in reply.values()]:
        assert set(value) <= {"status", "progress", "error"}
        assert all(isinstance(text, str) for text in value.values())


@pytest.mark.versions("1.1", "1.2")
def test_c220_objects_are_not_parted(api, stock, pushed):
    text = create(api, fromImage=pushed).text
    assert text.startswith("{")
    assert text.endswith("}")
    assert not re.search(r"}[^{]+{", text)


@pytest.mark.versions("1.1", "1.2")
def test_c221_a_progress_object_has_the_count_in_whole_percents(api, stock, web):
    content = root_tar("x" * 50_000)
    values = create(api, fromSrc=web.put("/base", content)).values()
    progress = [value for value in values if "progress" in value]
    assert progress
    for value in progress:
        assert value["status"] == "Importing"
        current, total, percent = re.fullmatch(
            r"(\d+)/(\d+) \((\d+)%\)", value["progress"]
        ).groups()
        assert int(total) == len(content)
        assert int(percent) == round(int(current) * 100 / len(content))
    assert progress[-1]["progress"] == f"{len(content)}/{len(content)} (100%)"


@pytest.mark.versions("1.1", "1.2")
def test_c222_progress_of_an_unknown_size_has_no_percents(api, stock, web):
    values = create(api, fromSrc=web.put("/unsized/base", root_tar("y" * 9000))).values()
    progress = [value["progress"] for value in values if "progress" in value]
    assert progress
    assert all(re.fullmatch(r"\d+/\? \(n/a\)", text) for text in progress)


@pytest.mark.versions("1.1", "1.2")
def test_c223_pieces_arrive_while_the_work_goes_on(api, stock, web):
    url = web.put("/slow", root_tar("z" * 20_000))
    target = api.target("/images/create", {"fromSrc": url})
    with api.connect() as connection:
        with web.held():
            request = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            connection.sendall(f"{request}Content-Length: 0\r\n\r\n".encode())
            early = read_until(connection, b'"Importing"')
        whole = parse(early + read_all(connection))
    assert b"100%" not in early
    assert stock.inspect(whole.values()[-1]["status"])


@pytest.mark.versions("1.1", "1.2")
def test_c224_a_pull_of_an_unknown_repository_ends_with_an_error(api, stock, registry):
    reply = create(api, fromImage=f"{registry.address}/no/such")
    assert (reply.status, reply.type) == (200, "application/json")
    assert list(reply.values()[-1]) == ["error"]


@pytest.mark.versions("1.0")
def test_c225_a_pull_of_an_unknown_repository_in_1_0_ends_with_an_error_line(api, stock, registry):
    reply = create(api, fromImage=f"{registry.address}/no/such")
    assert (reply.status, reply.type) == (200, RAW_STREAM)
    assert reply.text.splitlines()[-1].startswith("Error: ")
    assert reply.text.endswith("\r\n")


def test_c226_a_pull_begins_with_the_name_and_the_index(api, stock, pushed):
    said = f"Pulling repository {pushed} from {pushed.partition('/')[0]}"
    reply = create(api, fromImage=pushed)
    first = reply.text.split("\r\n")[0] if api.version == "1.0" else reply.values()[0]["status"]
    assert first == said


def test_c227_a_pull_sets_all_tags_or_the_one_asked_for(api, stock, pushed):
    assert create(api, fromImage=pushed, tag="v1").status == 200
    assert {one["Tag"] for one in stock.list(filter=pushed)} == {"v1"}
    assert create(api, fromImage=pushed).status == 200
    assert {one["Tag"] for one in stock.list(filter=pushed)} == {"latest", "v1"}


def test_c228_a_pull_takes_the_tag_from_the_name(api, stock, pushed):
    assert create(api, fromImage=f"{pushed}:v1").status == 200
    assert {one["Tag"] for one in stock.list(filter=pushed)} == {"v1"}


@pytest.mark.parametrize("form", ["{}", "http://{}/v1", "https://{}/v1/"])
def test_a_pull_takes_the_registry_as_host_or_as_address(api, stock, pushed, form):
    host, _, name = pushed.partition("/")
    assert create(api, fromImage=name, tag="v1", registry=form.format(host)).status == 200
    assert stock.exists(f"{pushed}:v1")


def test_c229_a_body_is_imported_and_its_id_is_the_last_word(api, stock):
    reply = create(api, tar_of(file("etc/motd", b"hello")), fromSrc="-")
    assert reply.status == 200, reply.sent
    image = stock.last_status(reply)
    assert re.fullmatch("[0-9a-f]{12}", image)
    assert stock.full(image).startswith(image)


@pytest.mark.parametrize("kind", sorted(PACKED))
def test_c230_tars_of_every_packing_are_accepted(stock, kind):
    assert stock.exists(stock.imported(content=PACKED[kind](root_tar())))


def test_c231_a_chunked_tar_is_accepted(api, stock):
    content = root_tar()
    pieces = [content[at : at + 700] for at in range(0, len(content), 700)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    reply = create(api, body, fromSrc="-", headers={"Transfer-Encoding": "chunked"})
    assert reply.status == 200, reply.sent
    assert stock.exists(stock.last_status(reply))


def test_c232_an_import_is_named_as_asked_or_latest(stock):
    repo = stock.name()
    first, second = stock.imported(repo, "v1"), stock.imported(repo)
    assert stock.full(f"{repo}:v1").startswith(first)
    assert stock.full(f"{repo}:latest").startswith(second)


def test_c233_an_import_has_a_comment_and_no_parent(stock):
    image = stock.inspect(stock.imported())
    assert image["comment"] == "Imported from -"
    assert "parent" not in image


def test_c234_a_body_that_is_no_tar_is_500(api, stock):
    reply = create(api, b"this is no archive at all" * 100, fromSrc="-")
    assert reply.status == 500
    assert reply.type == "text/plain; charset=utf-8"
    assert not stock._ids() - stock._before


def test_c235_a_url_is_imported(api, stock, web):
    url = web.put("/base.tar", root_tar())
    reply = create(api, fromSrc=url, repo=stock.name())
    first = reply.text.split("\r\n")[0] if api.version == "1.0" else reply.values()[0]["status"]
    assert first == f"Downloading from {url}"
    assert stock.inspect(stock.last_status(reply))["comment"] == f"Imported from {url}"


def test_c236_an_address_without_scheme_is_fetched_over_http(api, stock, web):
    web.put("/base.tar", root_tar())
    reply = create(api, fromSrc=f"{web.address}/base.tar")
    assert stock.exists(stock.last_status(reply))


@pytest.mark.versions("1.1", "1.2")
def test_c237_a_url_that_is_not_there_is_an_error_in_the_stream(api, stock, web):
    reply = create(api, fromSrc=f"http://{web.address}/nosuch")
    assert reply.status == 200
    assert list(reply.values()[-1]) == ["error"]
    assert "404" in reply.values()[-1]["error"]


def test_an_import_of_nothing_is_an_error_in_the_stream(api, stock):
    reply = create(api)
    assert reply.status == 200
    last = reply.text if api.version == "1.0" else reply.values()[-1]["error"]
    assert "no Host in request URL" in last


def test_c238_a_url_is_imported_while_the_request_body_is_open(api, stock, web):
    url = web.put("/base.tar", root_tar())
    target = api.target("/images/create", {"fromSrc": url})
    with api.connect() as connection:
        head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        got = read_until(connection, b"\r\n0\r\n\r\n")
    assert stock.exists(stock.last_status(parse(got)))


def test_c239_an_import_works_with_the_content_type_of_a_form(api, stock):
    reply = create(api, root_tar(), fromSrc="-", headers={"Content-Type": FORM})
    assert reply.status == 200, reply.sent
    assert stock.exists(stock.last_status(reply))


def test_parameters_of_a_create_may_come_as_a_form(api, stock, web):
    url = web.put("/base.tar", root_tar())
    body = f"fromSrc={url}&repo={stock.name()}".encode()
    reply = create(api, body, headers={"Content-Type": FORM})
    assert reply.status == 200, reply.sent
    assert stock.exists(stock.last_status(reply))
