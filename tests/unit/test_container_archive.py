import asyncio
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import msgspec
import pytest
from tests.support.tasks import until

from pinnace.contracts.files import FileStat, ViewMount
from pinnace.engine.containers.archive import ArchiveService, archive_name, go_mode
from pinnace.errors import Conflict, ContainerNotFound, Forbidden, InvalidParameter, NotFound
from pinnace.model.container import ContainerConfig, HostConfig, MountRecord
from pinnace.testing.lookup import FakeContainers, SeenEvents, a_container


class View:
    """One file, `/file`, of any size; takes uploads."""

    def __init__(self):
        self.chunks = [b"x" * 600_000] * 10
        self.pack_closed = False
        self.uploads = []
        self.failure = None

    def stat(self, path):
        if path != "/file":
            raise NotFound(path)
        return FileStat(5, stat.S_IFREG | 0o4755, 1_700_000_000_000_000_000)

    def pack(self, path, *, name):
        self.name = name
        return self._chunks()

    def export(self):
        return self._chunks()

    def _chunks(self):
        try:
            yield from self.chunks
        finally:
            self.pack_closed = True

    def check_writable(self, path):
        if self.failure:
            raise self.failure

    def extract(self, source, path, *, no_overwrite_dir_non_dir, owner):
        data = b""
        while chunk := source.read(7):
            data += chunk
        self.uploads.append((path, data, no_overwrite_dir_non_dir, owner))

    def owner(self, user):
        return (33, 34)


class Files:
    def __init__(self):
        self.opened = self.closed = 0
        self.one = View()

    def view(self, container_id, mounts=(), *, read_only_root=False):
        self.mounts, self.read_only_root = list(mounts), read_only_root
        return self._view()

    @contextmanager
    def _view(self):
        self.opened += 1
        try:
            yield self.one
        finally:
            self.closed += 1


class Setting:
    def __init__(self, tmp_path, container=None):
        self.files, self.events = Files(), SeenEvents()
        self.executor = ThreadPoolExecutor(2)
        self.containers = FakeContainers(container or a_container())
        self.service = ArchiveService(
            self.containers, self.files, lambda _id: tmp_path, self.events, self.executor
        )


@pytest.fixture
def make(tmp_path):
    made = []

    def setting(container=None):
        made.append(Setting(tmp_path, container))
        return made[-1]

    yield setting
    for one in made:
        assert one.files.opened == one.files.closed
        one.executor.shutdown()


@pytest.mark.parametrize(
    ("mode", "shown"),
    [
        (stat.S_IFREG | 0o644, 0o644),
        (stat.S_IFDIR | 0o1777, 1 << 31 | 1 << 20 | 0o777),
        (stat.S_IFREG | 0o6755, 1 << 23 | 1 << 22 | 0o755),
        (stat.S_IFLNK | 0o777, 1 << 27 | 0o777),
        (stat.S_IFCHR | 0o600, 1 << 26 | 1 << 21 | 0o600),
        (stat.S_IFBLK | 0o600, 1 << 26 | 0o600),
        (stat.S_IFIFO | 0o600, 1 << 25 | 0o600),
        (stat.S_IFSOCK | 0o600, 1 << 24 | 0o600),
    ],
)
def test_modes_are_gos(mode, shown):
    assert go_mode(mode) == shown


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/b", "b"),
        ("a/b/", "b"),
        ("/a/b/.", "."),
        (".", "."),
        ("/", "/"),
        ("", "/"),
        ("/a/../b", "b"),
        ("/a/..", "/"),
    ],
)
def test_archives_are_named_after_the_path_as_written(path, name):
    assert archive_name(path) == name


async def test_a_path_is_described(make):
    found = await make().service.stat("web", "/file")
    assert msgspec.json.decode(msgspec.json.encode(found)) == {
        "name": "file",
        "size": 5,
        "mode": 1 << 23 | 0o755,
        "mtime": "2023-11-14T22:13:20Z",
        "linkTarget": "",
    }


async def test_a_missing_path_is_told_in_dockers_words(make):
    one = make()
    for call in (one.service.stat, one.service.get):
        with pytest.raises(NotFound) as caught:
            await call("web", "/no")
        assert caught.value.message == "Could not find the file /no in container web"
    with pytest.raises(ContainerNotFound):
        await one.service.stat("nobody", "/file")


async def test_an_archive_comes_in_bounded_batches(make):
    one = make()
    found, chunks = await one.service.get("web", "/file")
    assert found.name == one.files.one.name == "file"
    sizes = [len(chunk) async for chunk in chunks]
    assert sum(sizes) == 6_000_000
    assert max(sizes) <= 2 << 20
    assert one.events.actions == ["archive-path"]


async def test_a_reader_that_leaves_closes_the_view(make):
    one = make()
    _, chunks = await one.service.get("web", "/file")
    await anext(chunks)
    assert one.files.closed == 0
    await chunks.aclose()
    assert (one.files.closed, one.files.one.pack_closed) == (1, True)


async def test_a_reader_that_never_came_closes_the_view(make):
    one = make()
    _, chunks = await one.service.get("web", "/file")
    await chunks.aclose()
    await chunks.aclose()
    assert one.files.closed == 1


async def test_a_reader_that_forgets_to_close_does_no_harm(make):
    one = make()
    _, chunks = await one.service.get("web", "/file")
    del chunks
    await until(lambda: one.files.closed == 1)


async def test_a_tree_that_cannot_be_read_closes_the_view(make):
    one = make()
    one.files.one.chunks = iter(lambda: 1 / 0, None)
    _, chunks = await one.service.get("web", "/file")
    with pytest.raises(ZeroDivisionError):
        await anext(chunks)
    assert one.files.closed == 1


async def test_export_leaves_volumes_out(make):
    mounts = [MountRecord(type="volume", source="/vol", destination="/data")]
    one = make(msgspec.structs.replace(a_container(), mounts=mounts))
    chunks = await one.service.export("web")
    assert sum([len(chunk) async for chunk in chunks]) == 6_000_000
    assert one.files.mounts == []
    assert one.events.actions == ["export"]


async def test_volumes_and_etc_files_are_seen(make, tmp_path):
    (tmp_path / "hosts").touch()
    (tmp_path / "hostname").touch()
    mounts = [
        MountRecord(type="bind", source="/src", destination="/etc/hostname", rw=False),
        MountRecord(type="volume", source="/vol", destination="/data", subpath="part"),
        MountRecord(type="tmpfs", destination="/tmp"),
    ]
    container = a_container(host_config=HostConfig(readonly_rootfs=True))
    one = make(msgspec.structs.replace(container, mounts=mounts))
    await one.service.stat("web", "/file")
    assert one.files.mounts == [
        ViewMount("/src", "/etc/hostname", recursive=True, read_only=True),
        ViewMount("/vol", "/data", subpath="part"),
        ViewMount(str(tmp_path / "hosts"), "/etc/hosts", optional=True),
    ]
    assert one.files.read_only_root


async def stream(*chunks):
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


async def test_an_upload_is_unpacked_as_it_comes(make):
    one = make(a_container(config=ContainerConfig(user="web")))
    await one.service.put("web", "/dir", stream(b"0123456789", b"", b"abc"))
    await one.service.put(
        "web", "/dir", stream(b"x"), no_overwrite_dir_non_dir=True, copy_uidgid=True
    )
    assert one.files.one.uploads == [
        ("/dir", b"0123456789abc", False, None),
        ("/dir", b"x", True, (33, 34)),
    ]
    assert one.events.actions == ["extract-to-dir", "extract-to-dir"]


async def test_ownership_stays_where_the_container_has_no_user(make):
    one = make()
    await one.service.put("web", "/dir", stream(b"x"), copy_uidgid=True)
    assert one.files.one.uploads[0][3] is None


async def test_a_cancelled_upload_ends_its_thread(make):
    one = make()
    waiting = asyncio.Event()

    async def endless():
        yield b"begin"
        waiting.set()
        await asyncio.Event().wait()

    put = asyncio.create_task(one.service.put("web", "/dir", endless()))
    await waiting.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert one.files.closed == 1
    assert one.events.actions == []


async def test_an_upload_whose_client_fails_fails(make):
    one = make()

    async def broken():
        yield b"begin"
        raise InvalidParameter("unexpected EOF")

    with pytest.raises(InvalidParameter, match="unexpected EOF"):
        await one.service.put("web", "/dir", broken())


async def test_a_read_only_place_refuses_uploads(make):
    one = make()
    one.files.one.failure = Forbidden("container rootfs is marked read-only")
    with pytest.raises(Forbidden):
        await one.service.put("web", "/dir", stream(b"x"))


async def test_a_container_on_its_way_out_has_no_files(make):
    with pytest.raises(Conflict):
        await make(a_container(status="removing")).service.stat("web", "/file")
