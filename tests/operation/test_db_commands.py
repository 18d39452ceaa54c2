"""Backing a database up beside a server that works on it, and bringing one up to date."""

import asyncio
import json
import shutil
from pathlib import Path

from pysqlite3 import dbapi2
from server_process import COMMAND, ServerProcess, settings, wait_until

from workflow_engine.store import Store

HELLO = {"id": "hello", "nodes": [{"id": "done", "type": "set", "output": "${ input }"}]}


async def command(folder: Path, *words: str) -> tuple[int, str, str]:
    """Run a command; its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *words,
        env=settings(),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, out.decode(), said.decode()


async def test_a_backup_under_load_holds_all_that_was_accepted_before_it_and_can_be_worked_on(tmp_path: Path) -> None:
    accepted: list[str] = []
    async with ServerProcess(tmp_path) as server:
        await server.publish(HELLO)

        async def load() -> None:
            while True:
                accepted.append(await server.start("hello", input=len(accepted)))

        loads = [asyncio.create_task(load()) for _ in range(4)]

        async def is_under_load() -> bool:
            return len(accepted) >= 100

        await wait_until(is_under_load)
        before = set(accepted)
        target = tmp_path / "copy" / "engine.db"
        code, out, said = await command(tmp_path, "db", "backup", str(target), "--db", str(server.database), "--json")
        after = len(accepted)
        for task in loads:
            task.cancel()
        assert code == 0, said
        assert json.loads(out)["bytes"] == target.stat().st_size
        assert after > len(before), "nothing was accepted meanwhile"
    connection = dbapi2.connect(str(target))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    restored = tmp_path / "restored"
    restored.mkdir()
    shutil.copy(target, restored / "engine.db")
    async with ServerProcess(restored) as server:
        for execution_id in before:
            await server.until_status(execution_id)
        await server.until_status(await server.start("hello"))


async def test_a_backup_never_overwrites_and_says_where_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    code, _, said = await command(tmp_path, "db", "backup", "copy.db", "--db", str(tmp_path / "none.db"))
    assert code == 2
    assert "there is no database" in said
    await (await Store.open(f"sqlite:///{tmp_path}/engine.db")).close()
    (tmp_path / "copy.db").write_text("precious")
    code, _, said = await command(tmp_path, "db", "backup", "copy.db", "--db", str(tmp_path / "engine.db"))
    assert code == 2
    assert "never overwrites" in said
    assert (tmp_path / "copy.db").read_text() == "precious"


async def test_upgrade_makes_the_present_schema_and_leaves_a_running_server_alone(tmp_path: Path) -> None:
    code, out, _ = await command(tmp_path, "db", "upgrade", "--db", str(tmp_path / "engine.db"), "--json")
    assert code == 0
    assert json.loads(out)["schema"]
    async with ServerProcess(tmp_path) as server:
        code, _, said = await command(tmp_path, "db", "upgrade", "--db", str(server.database))
        assert code == 2
        assert f"process {server.pid}" in said


async def test_a_backup_of_an_older_schema_can_be_taken_before_the_upgrade(tmp_path: Path) -> None:
    await (await Store.open(f"sqlite:///{tmp_path}/engine.db")).close()
    connection = dbapi2.connect(str(tmp_path / "engine.db"), isolation_level=None)
    connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()
    code, _, said = await command(tmp_path, "db", "backup", "copy.db", "--db", str(tmp_path / "engine.db"))
    assert code == 0, said
