"""Whose request it is. The tenant comes from the credential, never from path or body."""

import re
from ipaddress import ip_address
from typing import Final

from starlette.requests import HTTPConnection

from workflow_engine.models.tenant import DEFAULT_TENANT, TENANT_ID
from workflow_engine.routes.problems import HttpProblem

TENANT_HEADER: Final = "x-tenant-id"
_TENANT = re.compile(TENANT_ID)


def is_loopback_host(host: str) -> bool:
    """Whether a `Host` header or a bind address names this machine: `localhost`, `*.localhost`, 127/8 or ::1.

    >>> is_loopback_host("127.0.0.1:8000"), is_loopback_host("[::1]:80"), is_loopback_host("evil.example")
    (True, True, False)
    """
    name = host.strip().lower()
    name = (
        name[1 : name.find("]")] if name.startswith("[") else name.rsplit(":", 1)[0] if name.count(":") == 1 else name
    )
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def require_this_machine(connection: HTTPConnection) -> None:
    """Raise HttpProblem (403) where `Host` is not this machine, so that no web page can drive or read a local engine by
    a name of its own.
    """
    if not is_loopback_host(connection.headers.get("host", "")):
        raise HttpProblem(403, "without authentication `Host` must name this machine", code="foreign_host")


def require_own_origin(connection: HTTPConnection) -> None:
    """Raise HttpProblem (403) for what a browser's page of another site sends; programs send no `Origin`."""
    origin = connection.headers.get("origin")
    if origin is None:
        return
    scheme, _, rest = origin.lower().partition("://")
    if scheme not in ("http", "https") or rest != connection.headers.get("host", "").lower():
        raise HttpProblem(403, "pages of another origin may not change anything here", code="foreign_origin")


def tenant_of(connection: HTTPConnection) -> str:
    """The tenant of a request or socket without authentication: its `X-Tenant-ID`, or `default`.

    Raises:
        HttpProblem: 403 where `Host` is not this machine; 422 where the tenant's id is malformed.
    """
    require_this_machine(connection)
    tenant_id = connection.headers.get(TENANT_HEADER, DEFAULT_TENANT)
    if _TENANT.fullmatch(tenant_id) is None:
        raise HttpProblem(422, "X-Tenant-ID must be 1 to 128 of A-Z a-z 0-9 _ . -", code="invalid_tenant")
    return tenant_id
