"""A durable, multi-tenant workflow engine.

```python
from workflow_engine import Engine, function
```
"""

import gc
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workflow_engine.config.settings import Settings, SettingsInvalid
    from workflow_engine.library import Engine, EngineClosed, Execution, ExecutionEnded, Published, WrongEventLoop
    from workflow_engine.models.errors import (
        AlreadyExists,
        CommandRejected,
        Conflict,
        DatabaseInUse,
        DefinitionInvalid,
        InputInvalid,
        LimitExceeded,
        NotFound,
        StoreUnavailable,
        WorkflowEngineError,
    )
    from workflow_engine.steps.function_registry import FunctionRegistry, StepContext, StepFailed, function
    from workflow_engine.steps.heartbeat import heartbeat

__all__ = [
    "AlreadyExists",
    "CommandRejected",
    "Conflict",
    "DatabaseInUse",
    "DefinitionInvalid",
    "Engine",
    "EngineClosed",
    "Execution",
    "ExecutionEnded",
    "FunctionRegistry",
    "InputInvalid",
    "LimitExceeded",
    "NotFound",
    "Published",
    "Settings",
    "SettingsInvalid",
    "StepContext",
    "StepFailed",
    "StoreUnavailable",
    "WorkflowEngineError",
    "WrongEventLoop",
    "__version__",
    "function",
    "heartbeat",
]

__version__ = "0.1.0"

_NAMES = {
    "workflow_engine.config.settings": ("Settings", "SettingsInvalid"),
    "workflow_engine.library": ("Engine", "EngineClosed", "Execution", "ExecutionEnded", "Published", "WrongEventLoop"),
    "workflow_engine.models.errors": (
        "AlreadyExists",
        "CommandRejected",
        "Conflict",
        "DatabaseInUse",
        "DefinitionInvalid",
        "InputInvalid",
        "LimitExceeded",
        "NotFound",
        "StoreUnavailable",
        "WorkflowEngineError",
    ),
    "workflow_engine.steps.function_registry": ("FunctionRegistry", "StepContext", "StepFailed", "function"),
    "workflow_engine.steps.heartbeat": ("heartbeat",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `workflow-engine --version` and a bare import stay quick."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_imported(_HOMES[name]), name)
    globals()[name] = value
    return value


def _imported(module: str) -> ModuleType:
    """The module. All that an import makes stays: looking it through for garbage would take a tenth of the time."""
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        return import_module(module)
    finally:
        if is_collecting:
            gc.enable()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
