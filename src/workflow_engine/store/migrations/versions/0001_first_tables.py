"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    create_workflow_tables()
    create_execution_tables()
    create_task_tables()
    create_slots()
    create_inbox()
    create_idempotency_keys()
    create_server_keys()


def key(name: str, kind: sa.types.TypeEngine[Any] | type[sa.types.TypeEngine[Any]] = TEXT) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def create_workflow_tables() -> None:
    op.create_table(
        "workflows",
        key("tenant_id"),
        key("workflow_id"),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("labels", TEXT, nullable=False),
        sa.Column("archived", sa.SmallInteger, nullable=False),
        sa.Column("latest_version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "definitions",
        key("tenant_id"),
        key("workflow_id"),
        key("version", sa.Integer),
        sa.Column("content_hash", TEXT, nullable=False),
        sa.Column("definition", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )


def create_execution_tables() -> None:
    create_executions()
    op.create_table(
        "transitions",
        key("tenant_id"),
        key("execution_id"),
        key("number", sa.BigInteger),
        sa.Column("first_sequence", sa.BigInteger, nullable=False),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("commit_id", sa.BigInteger, nullable=False),
        sa.Column("events", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "snapshots",
        key("tenant_id"),
        key("execution_id"),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
    )
    create_attributes()


def create_executions() -> None:
    op.create_table(
        "executions",
        key("tenant_id"),
        key("execution_id"),
        sa.Column("workflow_id", TEXT, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("reason", TEXT),
        sa.Column("progress", sa.Integer, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("transition", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("parent_execution_id", TEXT),
        sa.Column("parent_step_id", TEXT),
        sa.Column("parent_attempt", sa.Integer),
        sa.Column("parent_generation", sa.Integer),
        sa.Column("depth", sa.Integer, nullable=False),
        postgresql_with={"fillfactor": 70},
        sqlite_with_rowid=False,
    )
    unfinished = sa.text("status = 'running'")
    op.create_index("executions_by_age", "executions", ["tenant_id", "created_at", "execution_id"])
    op.create_index("executions_by_workflow", "executions", ["tenant_id", "workflow_id", "created_at", "execution_id"])
    op.create_index("executions_by_status", "executions", ["tenant_id", "status", "created_at", "execution_id"])
    op.create_index(
        "executions_unfinished",
        "executions",
        ["tenant_id", "execution_id"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )


def create_attributes() -> None:
    op.create_table(
        "attributes",
        key("tenant_id"),
        key("execution_id"),
        key("kind"),
        key("key"),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("literal", sa.SmallInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    columns = ["tenant_id", "kind", "key", "value", "created_at", "execution_id"]
    op.create_index("attributes_by_value", "attributes", columns)


def create_task_tables() -> None:
    op.create_table(
        "tasks",
        key("tenant_id"),
        key("execution_id"),
        key("task_id"),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("data", sa.LargeBinary),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    timers, others = sa.text("kind = 'timer'"), sa.text("kind <> 'timer'")
    columns = ["tenant_id", "kind", "created_at", "execution_id", "task_id"]
    due = ["due_at", "tenant_id", "execution_id"]
    op.create_index("tasks_due", "tasks", due, sqlite_where=timers, postgresql_where=timers)
    op.create_index("tasks_by_kind", "tasks", columns, sqlite_where=others, postgresql_where=others)
    op.create_index("tasks_by_id", "tasks", ["tenant_id", "task_id"], sqlite_where=others, postgresql_where=others)


def create_slots() -> None:
    op.create_table(
        "slots",
        key("tenant_id"),
        key("execution_id"),
        key("step_id"),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("concurrency", sa.Integer, nullable=False),
        sa.Column("is_granted", sa.SmallInteger, nullable=False),
        sa.Column("asked_at", sa.BigInteger, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    columns = ["tenant_id", "key", "is_granted", "asked_at", "execution_id", "place"]
    op.create_index("slots_in_line", "slots", columns)


def create_inbox() -> None:
    op.create_table(
        "inbox",
        key("tenant_id"),
        key("execution_id"),
        key("news_id"),
        sa.Column("command", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )


def create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        key("tenant_id"),
        key("route"),
        key("key"),
        sa.Column("body_hash", TEXT, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("idempotency_keys_by_age", "idempotency_keys", ["created_at"])


def create_server_keys() -> None:
    op.create_table(
        "server_keys",
        key("tenant_id"),
        key("name"),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
