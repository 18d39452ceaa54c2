"""The functions of the language. Importing a module enters its functions into the tables."""

from workflow_engine.engine.expressions.functions import (
    encoders,
    formatting,
    lists,
    numbers,
    optionals,
    ours,
    patterns,
    sets,
    standard,
    strings,
    times,
)
from workflow_engine.engine.expressions.functions.registry import GLOBALS, METHODS, Function

NAMESPACES = frozenset(name.partition(".")[0] for name in GLOBALS if "." in name) | {"cel"}

__all__ = [
    "GLOBALS",
    "METHODS",
    "NAMESPACES",
    "Function",
    "encoders",
    "formatting",
    "lists",
    "numbers",
    "optionals",
    "ours",
    "patterns",
    "sets",
    "standard",
    "strings",
    "times",
]
