"""Creating containers, over fakes of what it touches."""

from __future__ import annotations

import asyncio
import contextlib
import secrets

from tests.support.specs import some_facts

from pinnace.engine.containers.creation import Creation, Defaults
from pinnace.engine.containers.registry import ContainerRegistry
from pinnace.model.container import ContainerConfig, HostConfig
from pinnace.model.create import CreateParams
from pinnace.model.image import ImageRecord
from pinnace.model.record import ImageId


class Store:
    async def put_container(self, container, intent=None):
        await asyncio.sleep(0)

    async def delete_container(self, container_id):
        await asyncio.sleep(0)


class Runner:
    async def prepare(self, container):
        await asyncio.sleep(0)

    def destroy_later(self, container):
        raise AssertionError("nothing fails here")


class Images:
    def resolve(self, ref):
        return ImageRecord(id=ImageId("sha256:" + "a" * 64))

    def lease(self, chains):
        return contextlib.nullcontext()


async def test_creates_at_once_do_not_choose_the_same_name(monkeypatch):
    # Both chose a free name, and the slower one was told that it was in use.
    monkeypatch.setattr(secrets, "choice", lambda words: words[0])
    monkeypatch.setattr(secrets, "randbelow", lambda _: 0)
    registry = ContainerRegistry(Store())
    creation = Creation(
        registry=registry,
        runner=Runner(),
        images=Images(),
        volumes=None,
        facts=some_facts(),
        defaults=Defaults(runtimes={"crun": None}),
    )
    params = CreateParams(
        config=ContainerConfig(image="busybox", cmd=["true"]), host_config=HostConfig()
    )
    made = await asyncio.gather(creation.create(params), creation.create(params))
    names = {container.name for container, _ in made}
    assert len(names) == 2
    assert set(registry.names) == names
