"""Expressions: that each compiles, and that it names only what is in scope at its place."""

import re
from collections import ChainMap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from workflow_engine.engine.expressions import Expression, ExpressionInvalid, compile_expression, split_template
from workflow_engine.engine.validation.outline import NodeView, Outline, ScopeView
from workflow_engine.engine.validation.report import Report
from workflow_engine.engine.validation.served import LATER_NAMES
from workflow_engine.models.field import is_template
from workflow_engine.models.node import IO_TYPES
from workflow_engine.models.problem import pointer

_EVERYWHERE = frozenset({"input", "vars", "steps", "execution", "now"})
_EXECUTION_FIELDS = frozenset({"id", "workflow_id", "version", "tenant_id", "started_at", "metadata"})
_STEP_FIELDS = frozenset({"output", "status", "error", "attempt", "count"})

# Names that exist, but only in some places.
_SOMEWHERE = {
    "error": "the `when` of `on: error` connections and the nodes they lead to; elsewhere read `steps.<node>.error`",
    "signal": "the `when` of a wait for a signal; afterwards the payload is the node's output",
    "output": "`output` and `assign` of a node; elsewhere read `steps.<node>.output`",
    "iteration": "nodes with `repeat`, and what is inside them",
    "completed": "`complete_when` of a foreach",
    "secrets": "`with` of I/O nodes, as a part of its own: ${ secrets.name }",
}
RESERVED_NAMES = _EVERYWHERE | _SOMEWHERE.keys()
_CEL_WORDS = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"}
    | {"let", "loop", "package", "namespace", "return", "var", "void", "while"}
)

# Fields that hold CEL as a whole.
_BARE_FIELDS = ("/when", "/while", "/until", "/condition", "/complete_when")

_BARE_SECRET = re.compile(r"\$\{\s*secrets\.[A-Za-z_][A-Za-z0-9_]*\s*\}")

Reference = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """What an expression may name at its place."""

    scope: ScopeView
    roots: frozenset[str]
    """Names beside those that are known everywhere."""
    allows_secrets: bool = False

    def with_roots(self, *roots: str) -> "Names":
        """The same place with more names."""
        return replace(self, roots=self.roots | frozenset(roots))


class NameCheck:
    """Compiles every expression of a document and tells what is wrong with each."""

    def __init__(self, outline: Outline, report: Report, *, expression_bytes_max: int) -> None:
        self._outline = outline
        self._report = report
        self._bytes_max = expression_bytes_max
        self._variables = _variables_of(outline)
        self._templates: dict[str, list[Expression] | ExpressionInvalid] = {}

    def run(self) -> None:
        """Checks the whole document."""
        root = self._outline.scopes[0]
        whole = Names(root, frozenset())
        for name in ("timeout", "output"):
            self._template(root.raw.get(name), pointer(name), whole)
        for scope in self._outline.scopes:
            inside = Names(scope, _names_around(scope))
            self._template(scope.raw.get("variables"), scope.path + "/variables", inside)
            self._scope(scope, inside)

    def _scope(self, scope: ScopeView, names: Names) -> None:
        caught = {connection.target for connection in scope.connections if connection.is_error}
        undoing = _names_of_undoing(scope)
        for node in scope.nodes:
            here = names.with_roots(*undoing.get(node.id, ()))
            self._node(node, here.with_roots("error") if node.id in caught else here)
        for connection in scope.connections:
            here = names.with_roots("error") if connection.is_error else names
            self._expression(connection.raw.get("when"), connection.path + "/when", here)
            self._template(connection.raw.get("tokens"), connection.path + "/tokens", names)

    def _node(self, node: NodeView, outside: Names) -> None:
        inside = outside.with_roots(*_own_names(node))
        self._foreach(node, outside)
        self._repeat(node, inside)
        self._input(node, replace(inside, allows_secrets=node.type in IO_TYPES))
        for name in ("timeout", "lock", "limit"):
            self._template(node.raw.get(name), node.path + pointer(name), inside)
        after = inside.with_roots("output")
        if node.body is not None:
            after = replace(after, scope=node.body)
        self._template(node.raw.get("output"), node.path + "/output", after)
        self._template(node.raw.get("assign"), node.path + "/assign", replace(after, scope=node.scope))

    def _foreach(self, node: NodeView, names: Names) -> None:
        path = node.path + "/foreach"
        foreach = node.part("foreach")
        for name in ("items", "concurrency", "complete_after"):
            self._template(foreach.get(name), path + pointer(name), names)
        self._expression(foreach.get("complete_when"), path + "/complete_when", names.with_roots("completed"))
        self._item_names(node, foreach, path)

    def _item_names(self, node: NodeView, foreach: dict[str, Any], path: str) -> None:
        for word in ("as", "index_as"):
            name = foreach.get(word)
            if isinstance(name, str) and (name in RESERVED_NAMES or name in _CEL_WORDS):
                self._report.error(
                    "reserved_name", path + pointer(word), f"`{name}` has a meaning of its own", "choose another name"
                )
        if foreach and foreach.get("as", "item") == foreach.get("index_as", "index"):
            self._report.error(
                "contradiction", path, "the item and its index have the same name", "choose two names: `as`, `index_as`"
            )

    def _repeat(self, node: NodeView, names: Names) -> None:
        path, repeat = node.path + "/repeat", node.part("repeat")
        for name in ("while", "until"):
            self._expression(repeat.get(name), path + pointer(name), names)
        for name in ("max", "delay"):
            self._template(repeat.get(name), path + pointer(name), names)

    def _input(self, node: NodeView, names: Names) -> None:
        given = node.raw.get("with")
        path = node.path + "/with"
        if node.type != "wait" or not isinstance(given, dict):
            self._template(given, path, names)
            return
        choices = given.get("any")
        self._wait(given, path, names)
        for index, choice in enumerate(choices if isinstance(choices, list) else ()):
            if isinstance(choice, dict):
                self._wait(choice, path + pointer("any", index), names)

    def _wait(self, choice: dict[str, Any], path: str, names: Names) -> None:
        for name in ("for", "until", "signal"):
            self._template(choice.get(name), path + pointer(name), names)
        self._expression(choice.get("when"), path + "/when", names.with_roots("signal"))
        self._expression(choice.get("condition"), path + "/condition", names)

    def _template(self, value: object, path: str, names: Names) -> None:
        for place, text in _template_strings(value, path):
            compiled = self._compiled(text)
            if isinstance(compiled, ExpressionInvalid):
                self._tell_invalid(compiled, place, text)
                continue
            for expression in compiled:
                self._compiled_expression(expression, place, names, text)

    def _expression(self, source: object, path: str, names: Names) -> None:
        if not isinstance(source, str) or not source:
            return
        try:
            expression = compile_expression(source)
        except ExpressionInvalid as error:
            self._tell_invalid(error, path, source)
        else:
            self._compiled_expression(expression, path, names, source)

    def _compiled(self, text: str) -> list[Expression] | ExpressionInvalid:
        """The expressions of a template; equal texts, which large definitions are full of, are compiled once."""
        found = self._templates.get(text)
        if found is None:
            try:
                found = [part for part in split_template(text) if isinstance(part, Expression)]
            except ExpressionInvalid as error:
                found = error
            self._templates[text] = found
        return found

    def _compiled_expression(self, expression: Expression, path: str, names: Names, text: str) -> None:
        if len(expression.source.encode(errors="replace")) > self._bytes_max:
            self._tell_too_long(path)
        self._references(expression.references, path, names, text)
        for name in sorted(expression.functions):
            self._report.error(
                "unknown_function", path, f"there is no function `{name}`", "see the list in the reference"
            )

    def _tell_too_long(self, path: str) -> None:
        message = f"the expression has more than {self._bytes_max:,} bytes"
        self._report.error("expression_too_long", path, message, "compute parts of it in `set` nodes")

    def _tell_invalid(self, error: ExpressionInvalid, path: str, source: str) -> None:
        is_unclosed = "not closed" in error.message
        size = len(source.encode(errors="replace")) - (error.position if is_unclosed else 0)
        if size > self._bytes_max and (is_unclosed or not is_template(source)):
            self._tell_too_long(path)
            return
        hint = error.hint
        if is_template(source) and path.endswith(_BARE_FIELDS):
            hint = "this field is an expression as a whole: write it without ${ }"
        self._report.error("invalid_expression", path, f"{error.message} (at character {error.position + 1})", hint)

    def _references(self, references: frozenset[Reference], path: str, names: Names, text: str) -> None:
        for reference in sorted(references):
            root = reference[0]
            if root == "secrets":
                self._secret(path, names, text)
            elif root not in _EVERYWHERE and root not in names.roots:
                self._unknown_name(root, path, names)
            elif root == "steps" and len(reference) > 1:
                self._step(reference, path, names.scope)
            elif root == "vars" and len(reference) > 1:
                self._variable(reference[1], path)
            elif root == "execution" and len(reference) > 1 and reference[1] not in _EXECUTION_FIELDS:
                hint = self._report.suggestion(reference[1], _EXECUTION_FIELDS)
                self._report.error("unknown_name", path, f"`execution` has no `{reference[1]}`", hint)

    def _unknown_name(self, name: str, path: str, names: Names) -> None:
        if name in _SOMEWHERE:
            self._report.error(
                "unknown_name", path, f"`{name}` is not known here", f"it is known in {_SOMEWHERE[name]}"
            )
            return
        here = sorted(_EVERYWHERE | names.roots)
        if name in self._outline.by_id:
            hint: str | None = f"a node is read as `steps.{name}.output`"
        elif name in self._variables:
            hint = f"a variable is read as `vars.{name}`"
        else:
            hint = self._report.suggestion(name, here)
        known = f"known here: {', '.join(here)}"
        self._report.error("unknown_name", path, f"`{name}` is not known here", f"{hint} ({known})" if hint else known)

    def _step(self, reference: Reference, path: str, scope: ScopeView) -> None:
        node_id = reference[1]
        visible = [around.by_id for around in scope.enclosing()]
        if any(node_id in nodes for nodes in visible):
            if len(reference) > 2 and reference[2] not in _STEP_FIELDS:
                hint = self._report.suggestion(reference[2], _STEP_FIELDS)
                known = "a step has output, status, error, attempt and count; its result is under `output`"
                message = f"`steps.{node_id}` has no `{reference[2]}`"
                self._report.error("unknown_name", path, message, hint or known)
        elif node_id in self._outline.by_id:
            group = self._outline.by_id[node_id].scope.group
            hint = f"read the output of the group `{group.id}`" if group is not None else None
            self._report.error("step_out_of_scope", path, f"`{node_id}` is inside a group and can't be read here", hint)
        else:
            hint = self._report.suggestion(node_id, ChainMap(*visible))
            self._report.error("unknown_step", path, f"there is no node `{node_id}`", hint)

    def _variable(self, name: str, path: str) -> None:
        if name not in self._variables:
            hint = self._report.suggestion(name, self._variables) or "declare it under `variables`"
            self._report.warning("unknown_variable", path, f"the variable `{name}` is set nowhere", hint)

    def _secret(self, path: str, names: Names, text: str) -> None:
        if "secrets" in LATER_NAMES:
            self._report.error("not_supported_yet", path, "`secrets` comes in a later release", "leave it out for now")
        elif not names.allows_secrets:
            self._report.error(
                "unknown_name", path, "`secrets` is not known here", f"it is known in {_SOMEWHERE['secrets']}"
            )
        elif "secrets" in _BARE_SECRET.sub("", text):
            self._report.error(
                "secret_in_expression",
                path,
                "a secret can't be computed with",
                "let it stand alone in its part, as in: Bearer ${ secrets.name }",
            )


def _variables_of(outline: Outline) -> set[str]:
    found: set[str] = set()
    for scope in outline.scopes:
        found |= _keys(scope.raw.get("variables"))
    for node in outline.nodes:
        found |= _keys(node.raw.get("assign"))
    return found


def _keys(value: object) -> set[str]:
    return set(value) if isinstance(value, dict) else set()


def _names_around(scope: ScopeView) -> frozenset[str]:
    """Item names and `iteration` of the groups that a scope is inside of, and what those see that undo a node."""
    groups = [around.group for around in scope.enclosing() if around.group is not None]
    return frozenset(
        name for group in groups for name in (*_own_names(group), *_names_of_undoing(group.scope).get(group.id, ()))
    )


def _names_of_undoing(scope: ScopeView) -> dict[str | None, list[str]]:
    """What a compensating node sees of the step that it undoes: its output, item, index and iteration."""
    found: dict[str | None, list[str]] = {}
    for node in scope.nodes:
        target = node.raw.get("compensate")
        if isinstance(target, str):
            found.setdefault(target, ["output"]).extend(_own_names(node))
    return found


def _own_names(node: NodeView) -> list[str]:
    found = []
    if isinstance(node.raw.get("foreach"), dict):
        foreach = node.part("foreach")
        found += [foreach.get("as", "item"), foreach.get("index_as", "index")]
    if isinstance(node.raw.get("repeat"), dict):
        found.append("iteration")
    return [name for name in found if isinstance(name, str)]


def _template_strings(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Every string that holds `${`, with its pointer; without recursion, in document order."""
    stack: list[tuple[str, object]] = [(path, value)]
    while stack:
        place, current = stack.pop()
        if isinstance(current, str):
            if "${" in current:
                yield place, current
        elif isinstance(current, dict):
            stack.extend([(place + pointer(key), item) for key, item in current.items()][::-1])
        elif isinstance(current, list):
            stack.extend([(f"{place}/{index}", item) for index, item in enumerate(current)][::-1])
