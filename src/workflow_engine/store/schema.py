"""The tables. Every one starts with `tenant_id` in its primary key, so that the data can be sharded by tenant.

Instants are BIGINT microseconds since 1970-01-01 UTC. `WITHOUT ROWID` stands where rows are small and found by their
key. The log is an ordinary table: its rows are then appended side by side, so that one commit of 1,000 executions
dirties some 100 pages instead of 1,000 (measured: 1.4 to 2 times the throughput).
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, SmallInteger, Table, text
from sqlalchemy import Text as DatabaseText

HEAD = "0001"
"""The revision that the tables below stand for; the newest file in `migrations/versions`."""

REVISIONS = ("0001",)
"""Every revision that this release knows, oldest first. A database at any other one is newer than this release."""

Text = DatabaseText().with_variant(DatabaseText(collation="C"), "postgresql")
"""Text in the order of its bytes, as SQLite has it, whatever language a server was made for: cursors rest on it."""

metadata = MetaData()

workflows = Table(
    "workflows",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("workflow_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("archived", SmallInteger, nullable=False),
    Column("latest_version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

definitions = Table(
    "definitions",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("workflow_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("content_hash", Text, nullable=False),
    Column("definition", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

executions = Table(
    "executions",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("execution_id", Text, primary_key=True),
    Column("workflow_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("progress", Integer, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("transition", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("parent_execution_id", Text),
    Column("parent_step_id", Text),
    Column("parent_attempt", Integer),
    Column("parent_generation", Integer),
    Column("depth", Integer, nullable=False),
    Index("executions_by_age", "tenant_id", "created_at", "execution_id"),
    Index("executions_by_workflow", "tenant_id", "workflow_id", "created_at", "execution_id"),
    Index("executions_by_status", "tenant_id", "status", "created_at", "execution_id"),
    Index(
        "executions_unfinished",
        "tenant_id",
        "execution_id",
        sqlite_where=text("status = 'running'"),
        postgresql_where=text("status = 'running'"),
    ),
    postgresql_with={"fillfactor": 70},  # room for a row's next version beside it, so that no index is written
    sqlite_with_rowid=False,
)

transitions = Table(
    "transitions",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("execution_id", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("first_sequence", BigInteger, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("commit_id", BigInteger, nullable=False),
    Column("events", LargeBinary, nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("execution_id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("execution_id", Text, primary_key=True),
    Column("task_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("due_at", BigInteger),
    Column("data", LargeBinary),
    Column("created_at", BigInteger, nullable=False),
    Index(
        "tasks_due",
        "due_at",
        "tenant_id",
        "execution_id",
        sqlite_where=text("kind = 'timer'"),
        postgresql_where=text("kind = 'timer'"),
    ),
    Index(
        "tasks_by_kind",
        "tenant_id",
        "kind",
        "created_at",
        "execution_id",
        "task_id",
        sqlite_where=text("kind <> 'timer'"),
        postgresql_where=text("kind <> 'timer'"),
    ),
    Index(
        "tasks_by_id",
        "tenant_id",
        "task_id",
        sqlite_where=text("kind <> 'timer'"),
        postgresql_where=text("kind <> 'timer'"),
    ),
    sqlite_with_rowid=False,
)

slots = Table(
    "slots",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("execution_id", Text, primary_key=True),
    Column("step_id", Text, primary_key=True),
    Column("key", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("is_granted", SmallInteger, nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    Column("place", Integer, nullable=False),
    Index("slots_in_line", "tenant_id", "key", "is_granted", "asked_at", "execution_id", "place"),
    sqlite_with_rowid=False,
)

inbox = Table(
    "inbox",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("execution_id", Text, primary_key=True),
    Column("news_id", Text, primary_key=True),
    Column("command", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

attributes = Table(
    "attributes",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("execution_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("literal", SmallInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("attributes_by_value", "tenant_id", "kind", "key", "value", "created_at", "execution_id"),
    sqlite_with_rowid=False,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body_hash", Text, nullable=False),
    Column("status", Integer),
    Column("answer", LargeBinary),
    Column("created_at", BigInteger, nullable=False),
    Index("idempotency_keys_by_age", "created_at"),
)

server_keys = Table(
    "server_keys",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
