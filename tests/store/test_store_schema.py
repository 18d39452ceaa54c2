import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from databases import SQLITE_ONLY, asked, done
from store_writes import first

from workflow_engine.models.errors import StoreUnavailable
from workflow_engine.store import Store, migration, sqlite
from workflow_engine.store.schema import HEAD, REVISIONS, metadata


def schema(path: Path) -> list[tuple[str, str, str]]:
    found = asked(f"sqlite:///{path}", "SELECT type, name, coalesce(sql, '') FROM sqlite_master ORDER BY type, name")
    return [(kind, name, re.sub(r"\s", "", sql)) for kind, name, sql in found]


def migrate(path: Path) -> None:
    sqlite.prepare_file(path)
    connection = sqlite.connect_writer(path)
    migration.run_migrations(connection)
    assert not connection.in_transaction
    connection.close()


async def test_the_migrations_make_the_same_schema_as_a_fresh_database(tmp_path: Path) -> None:
    await (await Store.open(f"sqlite:///{tmp_path}/fresh.db")).close()
    migrate(tmp_path / "migrated.db")
    assert schema(tmp_path / "fresh.db") == schema(tmp_path / "migrated.db")
    store = await Store.open(f"sqlite:///{tmp_path}/migrated.db")
    await store.commit(first("e1"))
    await store.close()


async def test_a_database_behind_the_head_is_upgraded_when_it_is_opened(url: str) -> None:
    done(url, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    with pytest.raises(StoreUnavailable, match="db upgrade"):
        await Store.open(url, read_only=True)
    store = await Store.open(url)
    await store.commit(first("e1"))
    await store.close()


def test_the_revisions_are_those_of_the_migration_files() -> None:
    config = Config()
    config.set_main_option("script_location", "workflow_engine.store:migrations")
    script = ScriptDirectory.from_config(config)
    assert script.get_current_head() == HEAD
    assert tuple(reversed([one.revision for one in script.walk_revisions()])) == REVISIONS


def test_every_table_is_keyed_by_tenant_first() -> None:
    assert {next(iter(table.primary_key)).name for table in metadata.sorted_tables} == {"tenant_id"}


async def test_a_database_of_a_newer_release_is_refused_and_left_alone(url: str) -> None:
    await (await Store.open(url)).close()
    done(url, "UPDATE alembic_version SET version_num = '9999'")
    for read_only in (False, True):
        with pytest.raises(StoreUnavailable, match="schema 9999, newer than this release"):
            await Store.open(url, read_only=read_only)


async def test_a_database_of_another_program_is_refused_and_left_alone(url: str) -> None:
    done(url, "CREATE TABLE theirs (id INTEGER)")
    with pytest.raises(StoreUnavailable, match="another program"):
        await Store.open(url)


@SQLITE_ONLY
async def test_a_file_that_is_no_database_is_refused_and_left_alone(url: str, tmp_path: Path) -> None:
    (tmp_path / "engine.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        await Store.open(url)
    assert (tmp_path / "engine.db").read_bytes() == b"no database at all" * 100


@pytest.mark.parametrize(
    "name",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////tmp/x.db?mode=ro",
        "sqlite:///file:x.db",
        "mysql://h/d",
        "postgresql+asyncpg://h/d",
        "postgresql://h/d?unknown=1",
        "postgresqlx",
        "x.db",
    ],
)
async def test_a_url_that_names_no_database_is_refused(name: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"sqlite:////absolute/path\.db"):
        await Store.open(name)


async def test_missing_folders_are_made(tmp_path: Path) -> None:
    store = await Store.open(f"sqlite:///{tmp_path}/a/b%20c/engine.db")
    await store.close()
    assert (tmp_path / "a/b c/engine.db").exists()


def test_a_database_at_the_head_is_opened_without_importing_alembic(url: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from workflow_engine.store import Store\n"
        "async def main():\n"
        f"    for _ in range(2): await (await Store.open({url!r})).close()\n"
        "asyncio.run(main())\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
