import asyncio
from pathlib import Path

import pytest
from databases import SQLITE_ONLY
from store_writes import first, later, outcomes

from workflow_engine.models.errors import AlreadyExists, StoreUnavailable
from workflow_engine.store import Store

pytestmark = SQLITE_ONLY


async def test_a_backup_taken_under_load_opens_and_holds_what_was_acknowledged_before_it(
    store: Store, tmp_path: Path
) -> None:
    await outcomes(store, [first(f"e{position}") for position in range(100)])
    load = asyncio.ensure_future(
        outcomes(store, [later(f"e{one}", number) for number in range(2, 40) for one in range(100)])
    )
    await store.backup(tmp_path / "copy.db")
    assert await load == [None] * 3800
    copy = await Store.open(f"sqlite:///{tmp_path}/copy.db")
    for position in range(100):
        row, _, log = await copy.load("acme", f"e{position}")
        assert [one.number for one in log] == list(range(1, row.transition + 1))
        assert row.transition >= 1
    await copy.commit(first("new"))
    await copy.close()


async def test_a_backup_never_overwrites_a_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("precious")
    with pytest.raises(AlreadyExists):
        await store.backup(tmp_path / "copy.db")
    with pytest.raises(AlreadyExists):
        await store.backup(tmp_path / "engine.db")
    assert (tmp_path / "copy.db").read_text() == "precious"


async def test_a_backup_that_cannot_be_written_says_so(store: Store) -> None:
    with pytest.raises(StoreUnavailable, match="could not be written"):
        await store.backup("/proc/copy.db")


async def test_a_backup_is_one_file(store: Store, tmp_path: Path) -> None:
    await store.commit(first("e1"))
    folder = tmp_path / "backups"
    await store.backup(folder / "copy.db")
    assert [path.name for path in folder.iterdir()] == ["copy.db"]
