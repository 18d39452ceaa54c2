"""A client of the HTTP service, which it knows by its contract alone."""

from workflow_engine.client.client import Client
from workflow_engine.client.errors import ClientError, RequestRefused, ServerUnreachable
from workflow_engine.client.settings import ClientSettings

__all__ = ["Client", "ClientError", "ClientSettings", "RequestRefused", "ServerUnreachable"]
