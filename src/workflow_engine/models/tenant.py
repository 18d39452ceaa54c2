"""Tenants: whose workflows and executions they are."""

from typing import Final

TENANT_ID: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
"""The form of a tenant's id, as a regular expression."""

DEFAULT_TENANT: Final = "default"
"""Where nobody says whose they are."""
