"""A durable, multi-tenant workflow engine.

```python
from workflow_engine import Engine, function
```
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workflow_engine.main import Engine, Execution, ExecutionEnded
    from workflow_engine.steps.function_registry import StepContext, StepFailed, function
    from workflow_engine.steps.heartbeat import heartbeat

__all__ = ["Engine", "Execution", "ExecutionEnded", "StepContext", "StepFailed", "__version__", "function", "heartbeat"]

__version__ = "0.1.0"

_HOMES = {
    "Engine": "workflow_engine.main",
    "Execution": "workflow_engine.main",
    "ExecutionEnded": "workflow_engine.main",
    "StepContext": "workflow_engine.steps.function_registry",
    "StepFailed": "workflow_engine.steps.function_registry",
    "function": "workflow_engine.steps.function_registry",
    "heartbeat": "workflow_engine.steps.heartbeat",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `workflow-engine --version` and a bare import stay quick."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
