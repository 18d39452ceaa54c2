"""The WebSocket doors: live events, and commands with a reply."""

from fastapi import FastAPI
from starlette.routing import WebSocketRoute

from workflow_engine.routes.context import Door
from workflow_engine.websocket.connection_manager import ConnectionManager
from workflow_engine.websocket.handlers import EventSocket, ExecutionSocket
from workflow_engine.websocket.protocol import server_options

__all__ = ["ConnectionManager", "add_sockets", "server_options"]


def add_sockets(app: FastAPI) -> ConnectionManager:
    """Add the WebSocket routes to an application of `create_app`. The server needs `server_options`, and calls
    `close_all` of what is returned before it lets go of its connections.
    """
    door: Door = app.state.door
    manager = ConnectionManager(door.services, door.settings)
    app.router.routes += [
        WebSocketRoute("/ws/v1/executions/{execution_id}", ExecutionSocket(manager).__call__, name="execution_socket"),
        WebSocketRoute("/ws/v1/events", EventSocket(manager).__call__, name="event_socket"),
    ]
    return manager
