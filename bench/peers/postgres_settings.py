"""What a PostgreSQL server says of its version and of its durability."""

import psycopg

NAMES = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method")


def postgres_settings(url: str) -> dict[str, str]:
    """As an ordinary connection is told."""
    with psycopg.connect(url) as connection:
        values = [f"{name}={connection.execute(f'SHOW {name}').fetchone()[0]}" for name in NAMES]
        return {
            "database": f"PostgreSQL {connection.execute('SHOW server_version').fetchone()[0]}",
            "durability": ", ".join(values),
        }
