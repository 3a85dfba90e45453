from pathlib import Path

import pytest
from tests.support.api import FakeEngine, served


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def client(engine: FakeEngine, tmp_path: Path):
    async with served(engine, tmp_path) as client:
        yield client


@pytest.fixture
async def tcp_client(engine: FakeEngine, tmp_path: Path):
    async with served(engine, tmp_path, tcp=True) as client:
        yield client
