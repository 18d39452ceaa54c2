"""A few threads that read, each on a connection of its own that cannot write."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from workflow_engine.models.errors import NotFound, StoreUnavailable
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
        """A connection that has been used may have been lost meanwhile; then a fresh one is asked once more."""
        was_used = getattr(self._local, "connection", None) is not None
        try:
            return self._query_once(query)
        except StoreUnavailable:
            self._disconnect()
            if not was_used:
                raise
        return self._query_once(query)

    def _query_once(self, query: Callable[[Connection], Result]) -> Result:
        dialect = self._database.dialect
        try:
            connection = self._connection()
            dialect.begin_reading(connection)
            try:
                return query(connection)
            finally:
                connection.execute("ROLLBACK")
        except dialect.data_error as error:
            raise NotFound(f"nothing that is stored can be what was asked for: {error}") from error
        except dialect.error as error:
            raise dialect.unavailable(error) or StoreUnavailable(f"the database does not answer: {error}") from error

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._database.connect_reader()
            self._connections.append(connection)
        return connection

    def _disconnect(self) -> None:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            self._local.connection = None
            self._connections.remove(connection)
            connection.close()

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
        for connection in self._connections:
            connection.close()
