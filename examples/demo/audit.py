"""The functions of `audit.yaml`: they read source files of a package and measure what stands in them."""

import ast
import importlib.util
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from workflow_engine import StepContext, StepFailed, function

LEDGER = os.environ.get("AUDIT_LEDGER")
"""A file that gets one line per call, so that the demo can count them; unset: nobody counts."""

BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.BoolOp, ast.comprehension)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
PARSER = threading.Lock()
"""Python 3.11 counts the depth of a parse once for all threads (CPython issue 106905): two upset each other."""
RANKED = 3
"""Functions named per heavy module."""


@function
def list_modules(package: str, context: StepContext) -> list[str]:
    """The files of a package, by their path inside it."""
    _note_call(context)
    folder = _folder(package)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))


@function
def measure_module(package: str, module: str, pace_s: float, context: StepContext) -> dict[str, Any]:
    """Lines, functions and branches of one module, and its longest function."""
    _note_call(context)
    begun = time.monotonic()
    source = (_folder(package) / module).read_text()
    functions = _functions(source)
    longest = max(functions, key=_length, default=None)
    measured = {
        "module": module,
        "lines": len(source.splitlines()),
        "functions": len(functions),
        "branches": sum(_branches(found) for found in functions),
        "longest": {"name": longest.name, "lines": _length(longest)} if longest else None,
    }
    time.sleep(max(0.0, pace_s - (time.monotonic() - begun)))
    return measured


@function
def rank_functions(package: str, module: str, context: StepContext) -> dict[str, Any]:
    """The functions of a module with the most branches."""
    _note_call(context)
    functions = _functions((_folder(package) / module).read_text())
    ranked = sorted(functions, key=_branches, reverse=True)[:RANKED]
    return {"module": module, "functions": [{"name": found.name, "branches": _branches(found)} for found in ranked]}


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise StepFailed("no_package", f"{package} is no package of this Python")
    return Path(spec.submodule_search_locations[0])


def _functions(source: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    with PARSER:
        tree = ast.parse(source)
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _branches(node: ast.AST) -> int:
    """Places where the flow may part, those of functions inside left out: they count for themselves."""
    parts = [part for part in ast.iter_child_nodes(node) if not isinstance(part, FUNCTIONS)]
    return sum(isinstance(part, BRANCHES) + _branches(part) for part in parts)


def _note_call(context: StepContext) -> None:
    """One line, appended by one system call: it is there even if the process is killed right after."""
    if LEDGER is None:
        return
    line = json.dumps({"key": context.idempotency_key, "step": context.step_id, "pid": os.getpid()})
    ledger = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(ledger, f"{line}\n".encode())
    finally:
        os.close(ledger)
