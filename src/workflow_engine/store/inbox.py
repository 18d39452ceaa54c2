"""The inbox: what one execution has to tell another, durable until the other has decided it.

Two executions are never written in one transition. The sender's commit puts the news down, the receiver's next commit
takes them away with what followed from them.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Integer, bindparam, delete, literal_column, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from workflow_engine.store.records import Delivery, TransitionWrite
from workflow_engine.store.schema import inbox
from workflow_engine.store.statements import Connection, Statement, WideStatement, flat, given

PAGE_BYTES_MAX = 8 * 1024 * 1024
"""A page of news ends early once it holds this much."""

_KEY = (inbox.c.tenant_id, inbox.c.execution_id, inbox.c.news_id)
_ALL = Statement(
    select(*(inbox.c[name] for name in Delivery.__struct_fields__))
    .where(tuple_(*_KEY) > tuple_(bindparam("after_tenant"), bindparam("after_execution"), bindparam("after_news")))
    .order_by(*_KEY)
    .limit(bindparam("limit", type_=Integer))
    .offset(literal_column("0"))
)


def _put() -> WideStatement:
    rows = given(*inbox.columns)
    chosen = select(*rows.c).where(rows.c.tenant_id.is_not(None))
    return WideStatement(insert(inbox).from_select(list(rows.c.keys()), chosen).on_conflict_do_nothing(), rows)


def _remove() -> WideStatement:
    rows = given(*_KEY)
    return WideStatement(delete(inbox).where(tuple_(*_KEY).in_(select(*rows.c))), rows)


_PUT = _put()
_REMOVE = _remove()


def write_news(connection: Connection, writes: Sequence[TransitionWrite]) -> None:
    """Put down the news that these transitions tell, and take away those that they have folded."""
    remove_news(
        connection,
        [(write.tenant_id, write.execution_id, news_id) for write in writes for news_id in write.news_removed],
    )
    _PUT.change(
        connection,
        flat(
            (write.tenant_id, news.execution_id, news.news_id, news.command, write.at)
            for write in writes
            for news in write.news_put
        ),
    )


def remove_news(connection: Connection, keys: Iterable[tuple[str, str, str]]) -> None:
    """Take news away: tenant, execution and news id of each."""
    _REMOVE.change(connection, flat(keys))


def list_news(connection: Connection, after: tuple[str, str, str], limit: int) -> list[Delivery]:
    """News of all tenants, by execution and in order. A page may end early, at 8 MiB; an empty one is the end."""
    names = ("after_tenant", "after_execution", "after_news")
    page: list[Delivery] = []
    size_bytes = 0
    for row in _ALL.stream(connection, dict(zip(names, after, strict=True)) | {"limit": limit}):
        page.append(Delivery(*row))
        size_bytes += len(page[-1].command)
        if size_bytes >= PAGE_BYTES_MAX:
            break
    return page
