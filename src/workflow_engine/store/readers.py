"""A few threads that read, each on a connection of its own that cannot write."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from workflow_engine.models.errors import StoreUnavailable
from workflow_engine.store import sqlite
from workflow_engine.store.database import Database
from workflow_engine.store.statements import Connection

Result = TypeVar("Result")


class Readers:
    """Runs queries off the event loop. Each sees one consistent state and lets go of it when it returns."""

    def __init__(self, database: Database, threads: int) -> None:
        self._database = database
        self._local = threading.local()
        self._connections: list[Connection] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="workflow-engine-reader")

    async def run(self, query: Callable[[Connection], Result]) -> Result:
        """Run it in one transaction.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._query, query)

    def _query(self, query: Callable[[Connection], Result]) -> Result:
        try:
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                return query(connection)
            finally:
                connection.execute("ROLLBACK")
        except sqlite.Error as error:
            raise sqlite.unavailable(error) or StoreUnavailable(f"the database does not answer: {error}") from error

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._database.connect_reader()
            self._connections.append(connection)
        return connection

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
        for connection in self._connections:
            connection.close()
