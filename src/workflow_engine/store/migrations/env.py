"""What Alembic runs: all pending revisions in the transaction that the caller has begun, so all land or none."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
