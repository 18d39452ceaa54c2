"""The databases that the tests of the store run on, and how to look into them past the store."""

from typing import Any

import psycopg
import pytest
from pysqlite3 import dbapi2

SQLITE_ONLY = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""For what only a database that is a file can show."""

POSTGRES_ONLY = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


def asked(url: str, sql: str) -> list[tuple[Any, ...]]:
    """What a plain connection gets for an answer, as text in both databases' words."""
    if url.startswith("postgresql"):
        with psycopg.connect(url) as server:
            return server.execute(sql).fetchall()  # type: ignore[arg-type]
    connection = dbapi2.connect(url.removeprefix("sqlite:///"))
    try:
        return list(connection.execute(sql).fetchall())
    finally:
        connection.close()


def done(url: str, *sql: str) -> None:
    """Run statements on a plain connection, past the store."""
    if url.startswith("postgresql"):
        with psycopg.connect(url) as server:
            for statement in sql:
                server.execute(statement)  # type: ignore[arg-type]
        return
    connection = dbapi2.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    try:
        for statement in sql:
            connection.execute(statement)
    finally:
        connection.close()
