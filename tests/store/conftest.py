"""Every test of the store runs on SQLite and on PostgreSQL, unless it says otherwise."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from bench.peers.postgres import PostgresFailed, Server, serving

from workflow_engine.store import Store

SETTINGS = {
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "listen_addresses": "",
    "jit": "off",
    "autovacuum": "off",
}
DATABASE = "store"
_schemas = count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One for all tests, in memory where there is a file system in memory."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        try:
            running = serving(Path(folder), SETTINGS)
            server = running.__enter__()
        except (PostgresFailed, OSError) as error:
            pytest.skip(f"PostgreSQL can't be started here: {error}")
        try:
            server.create(DATABASE)
            yield server
        finally:
            running.__exit__(None, None, None)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of the test's own: a file, or an empty schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/engine.db"
    address = request.getfixturevalue("server").url(DATABASE)
    schema = f"test{next(_schemas)}"
    with psycopg.connect(address) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")  # type: ignore[arg-type]
    return f"{address}&options=-csearch_path%3D{schema}"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = await Store.open(url)
    yield opened
    await opened.close()
