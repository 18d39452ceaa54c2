"""absurd on PostgreSQL: its queue and its checkpoints are stored procedures, its SDK is a thin client."""

import threading
import time
from collections.abc import Sequence
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self

import psycopg
from absurd_sdk import Absurd as Client
from absurd_sdk import TaskContext
from absurdctl import BUNDLED_SCHEMA_SQL

from bench.peers.postgres_settings import postgres_settings
from bench.peers.works import Place, check, step

WORKERS = 16
"""W2 and W6: threads, each with a connection of its own. Fewer were slower, 32 no faster."""

LEASE_S = 10
"""A task that a killed worker had is free again after so long (the SDK's own default is 120 s)."""

POLL_S = 0.01
"""How long a worker without work rests (the SDK's own default is 0.25 s)."""


def chain(length: int, context: TaskContext) -> int:
    """Steps in a row."""
    n = 0
    for number in range(length):
        n = context.step(f"s{number}", lambda n=n: step(n))
    return n


def fan_out(count: int, context: TaskContext) -> int:
    """The SDK has no steps side by side within a task, so they are in a row; tasks of their own cost more."""
    return sum(context.step(f"s{number}", lambda number=number: step(number)) for number in range(count))


class Absurd:
    """The synchronous client, in one process. A task is worked on as soon as it is there: nothing waits for a poll."""

    def __init__(self, place: Place) -> None:
        self._url = place.postgres_url

    def __enter__(self) -> Self:
        with psycopg.connect(self._url, autocommit=True) as connection:
            if connection.execute("SELECT to_regnamespace('absurd')").fetchone() == (None,):
                connection.execute(BUNDLED_SCHEMA_SQL)
        self._client = self._connect()
        self._client.create_queue()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def settings(self) -> dict[str, str]:
        """As the server reports them."""
        return {"engine": f"absurd-sdk {version('absurd-sdk')}", **postgres_settings(self._url)}

    def chains(self, length: int, repeats: int) -> list[float]:
        """See `Peer`."""
        return [self._timed("chain", length, length) for _ in range(repeats)]

    def many(self, length: int, ids: Sequence[str]) -> None:
        """Started in one transaction."""
        with psycopg.connect(self._url) as connection:
            spawner = self._connect(connection)
            for execution_id in ids:
                spawner.spawn("chain", length, idempotency_key=execution_id)
        self.recover(length, ids)

    def fan_out(self, count: int) -> None:
        """See `Peer`."""
        self._timed("fan_out", count, count * (count + 1) // 2)

    def row(self, count: int) -> None:
        """See `Peer`."""
        self.chains(count, 1)

    def recover(self, length: int, ids: Sequence[str]) -> None:
        """Workers take what is free, and what was another's once its lease is over."""
        clients = [self._connect() for _ in range(WORKERS)]
        threads = [threading.Thread(target=self._work, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        while self._completed(length) < len(ids):
            time.sleep(POLL_S)
        for client in clients:
            client.stop_worker()
        for thread in threads:
            thread.join()
        for client in clients:
            client.close()

    def _work(self, client: Client) -> None:
        client.start_worker(claim_timeout=LEASE_S, poll_interval=POLL_S)

    def _completed(self, result: int) -> int:
        """Executions that have this result, in one query: cheaper than the SDK's question for each."""
        sql = "SELECT count(*) FROM absurd.t_default WHERE completed_payload = to_jsonb(%s::int)"
        with psycopg.connect(self._url) as connection:
            row: Any = connection.execute(sql, (result,)).fetchone()
        return int(row[0])

    def _timed(self, name: str, value: int, expected: object) -> float:
        begun = time.perf_counter()
        task_id = self._client.spawn(name, value)["task_id"]
        self._client.work_batch(claim_timeout=LEASE_S)
        ended = self._client.fetch_task_result(task_id)
        taken = time.perf_counter() - begun
        check(ended.result if ended is not None else None, expected)
        return taken

    def _connect(self, connection: Any = None) -> Client:
        client = Client(connection if connection is not None else self._url)
        client.register_task("chain")(chain)
        client.register_task("fan_out")(fan_out)
        return client
