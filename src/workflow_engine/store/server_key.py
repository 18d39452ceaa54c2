"""The database's own secret: what ids, keys and cursors are derived from, so that nobody outside can guess them."""

import secrets
from typing import Final

from sqlalchemy import bindparam, insert, select

from workflow_engine.store.schema import server_keys
from workflow_engine.store.statements import Connection, Statement

NAME: Final = "derivation"
BYTES: Final = 32

_KEY = {"tenant_id": "", "name": NAME}
_FIND = Statement(
    select(server_keys.c.value).where(
        server_keys.c.tenant_id == bindparam("tenant_id"), server_keys.c.name == bindparam("name")
    )
)
_INSERT = Statement(insert(server_keys))


def find_server_key(connection: Connection) -> bytes | None:
    """The secret; None in a database that has none yet."""
    row = _FIND.run(connection, _KEY).fetchone()
    return bytes(row[0]) if row is not None else None


def ensure_server_key(connection: Connection) -> bytes:
    """The secret, drawn now if the database has none. It stays for the life of the database: calls that were repeated
    after a crash must carry the key that they carried before.
    """
    found = find_server_key(connection)
    if found is None:
        found = secrets.token_bytes(BYTES)
        _INSERT.run(connection, _KEY | {"value": found})
    return found
