"""The schema of a database is brought to the present one when it is opened for writing."""

from sqlalchemy.schema import CreateIndex, CreateTable

from workflow_engine.models.errors import StoreUnavailable
from workflow_engine.store.schema import HEAD, REVISIONS, metadata
from workflow_engine.store.statements import Connection

VERSION_TABLE = "alembic_version"


def revision_of(connection: Connection) -> str | None:
    """The revision that the database stands at; None for an empty one.

    Raises:
        StoreUnavailable: it is not ours, or newer than this release.
    """
    has_table = connection.dialect.has_table
    if not has_table(connection, VERSION_TABLE):
        if has_table(connection):
            raise StoreUnavailable("it holds tables of another program; name another database")
        return None
    row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
    if row is not None and row[0] not in REVISIONS:
        raise StoreUnavailable(
            f"the database is at schema {row[0]}, newer than this release, which knows up to {HEAD}; "
            "install the release that wrote it, or a newer one"
        )
    return row[0] if row else None


def upgrade(connection: Connection) -> None:
    """Bring the schema to the present one, in one transaction; does nothing where it is."""
    if revision_of(connection) == HEAD:
        return
    try:
        if connection.dialect.has_table(connection, VERSION_TABLE):
            run_migrations(connection)
        else:
            create(connection)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def require_head(connection: Connection) -> None:
    """For those who only read: refuse a database that would first have to be upgraded."""
    if revision_of(connection) != HEAD:
        raise StoreUnavailable("the database has an older schema; run `workflow-engine db upgrade` once")


def create(connection: Connection) -> None:
    """Make the present schema in one go; a test holds that the migrations make the same."""
    dialect = connection.dialect.sql
    connection.dialect.begin(connection)
    for table in metadata.sorted_tables:
        connection.execute(str(CreateTable(table).compile(dialect=dialect)))
        for index in sorted(table.indexes, key=lambda one: str(one.name)):
            connection.execute(str(CreateIndex(index).compile(dialect=dialect)))
    connection.execute(
        f"CREATE TABLE {VERSION_TABLE} "
        f"(version_num VARCHAR(32) NOT NULL, CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num))"
    )
    connection.execute(f"INSERT INTO {VERSION_TABLE} (version_num) VALUES ('{HEAD}')")
    connection.execute("COMMIT")


def run_migrations(connection: Connection) -> None:
    """Run what is pending, step by step, in one transaction, and commit it."""
    from alembic import command  # its import costs more than opening a database that is up to date
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "workflow_engine.store:migrations")
    with connection.dialect.engine(connection).connect() as bound:
        connection.dialect.begin(connection)  # SQLAlchemy's first look at a connection ends its transaction
        config.attributes["connection"] = bound
        command.upgrade(config, "head")
        bound.commit()
