"""The engine as a library: the door for a program that runs it in its own process."""

from workflow_engine.library.engine import Engine
from workflow_engine.library.errors import EngineClosed, ExecutionEnded, WrongEventLoop
from workflow_engine.library.execution import Execution
from workflow_engine.library.published import Published

__all__ = ["Engine", "EngineClosed", "Execution", "ExecutionEnded", "Published", "WrongEventLoop"]
