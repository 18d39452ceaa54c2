"""What expressions see: the names in scope, and the variables as a transition changes them."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from workflow_engine.engine.apply import ROOT
from workflow_engine.engine.expressions import (
    Expression,
    ExpressionFailed,
    Meter,
    Template,
    Timestamp,
    evaluate_condition,
    too_large,
)
from workflow_engine.engine.working import Place
from workflow_engine.models.execution import ExecutionState
from workflow_engine.models.limits import Limits

NEVER_ACTIVATED: Mapping[str, Any] = {"status": "pending", "output": None, "error": None, "attempt": 0, "count": 0}
"""What `steps.<node>` shows before the node was ever activated: a branch that was not taken makes no expression
fail.
"""


SKIPPED: Mapping[str, Any] = {**NEVER_ACTIVATED, "status": "skipped"}
"""The same once the scope has ended."""


class StepFault(Exception):
    """What a step asked for can't be had: becomes the step's error, as a value, before anything leaves the core.

    Attributes:
        type: an error type of the language, such as `expression_error` or `no_match`.
        message: names the place and the way out.
    """

    def __init__(self, type: str, message: str) -> None:  # noqa: A002 - the contract's word
        super().__init__(message)
        self.type = type
        self.message = message


class StepViews(Mapping[str, Any]):
    """`steps` in expressions: every node of the scope and of the scopes around it, activated or not, with the
    completion that is just being decided.
    """

    __slots__ = ("_absent", "_completing", "_outer", "_view", "place")

    def __init__(self, place: Place, outer: "StepViews | None") -> None:
        self.place = place
        self._outer = outer
        self._absent = NEVER_ACTIVATED
        self._completing: str | None = None
        self._view: Mapping[str, Any] = NEVER_ACTIVATED

    def show_completed(self, node: str, output: Any, attempt: int, status: str = "completed") -> None:
        """Let `steps.<node>` read as completed before that is a fact, for the conditions that decide what follows."""
        before = self.place.scope.views.get(node, NEVER_ACTIVATED)
        self._completing = node
        self._view = {
            "status": status,
            "output": output,
            "error": None,
            "attempt": attempt,
            "count": before["count"] + (status == "completed"),
        }

    def show_iteration(self, node: str, output: Any) -> None:
        """Let `steps.<node>.output` read as what its latest iteration gave, before that is a fact."""
        self._completing = node
        self._view = {**self.place.scope.views.get(node, NEVER_ACTIVATED), "output": output}

    def show_failed(self, node: str, error: dict[str, Any]) -> None:
        """Let `steps.<node>` read as failed before that is a fact."""
        before = self.place.scope.views.get(node, NEVER_ACTIVATED)
        self._completing = node
        self._view = {**before, "status": "failed", "error": error, "attempt": error["attempt"]}

    def show_facts(self) -> None:
        """Read nothing but facts again."""
        self._completing = None

    def show_ended(self) -> None:
        """The scope has ended: a node without an activation was skipped."""
        self._absent = SKIPPED

    def __getitem__(self, node: str) -> Any:
        if node == self._completing:
            return self._view
        view = self.place.scope.views.get(node)
        if view is not None:
            return MappingProxyType(view)  # what an expression takes out of it is a copy: the view goes on changing
        if node in self.place.graph.by_id:
            return self._absent
        if self._outer is not None:
            return self._outer[node]
        raise KeyError(node)

    def __iter__(self) -> Iterator[str]:
        yield from self.place.graph.by_id
        if self._outer is not None:
            yield from self._outer

    def __len__(self) -> int:
        return len(self.place.graph.by_id) + (len(self._outer) if self._outer is not None else 0)


class Variables:
    """`vars` while a transition is decided: what was changed on top of the state's, recorded once with the final
    values.

    A scope sees the variables that it declares, then those of the scopes around it, then the execution's; an assignment
    goes to the nearest that declares the name, else to the execution's. `changed` is by scope key.
    """

    __slots__ = ("_root", "_undo", "changed", "touched")

    def __init__(self, state: ExecutionState) -> None:
        self._root: dict[str, Any] = state.variables
        self.changed: dict[str, dict[str, Any]] = {}
        self.touched: set[str] = set()
        """The names that were assigned since somebody asked."""
        self._undo: list[tuple[str, str, Any, Any]] = []

    def begin(self, values: dict[str, Any]) -> None:
        """The execution begins with these."""
        self._root = dict(values)

    def seen_from(self, place: Place) -> dict[str, Any]:
        """The variables that a scope sees; not to be changed."""
        if not place.has_variables:
            return self._root
        seen = dict(self._root)
        for around in reversed(list(place.declaring())):
            seen.update(around.scope.variables)
            seen.update(self.changed.get(around.key, ()))
        return seen

    def assign(self, values: Mapping[str, Any], place: Place) -> None:
        """Set several variables at once; the state itself stays as it is until the fact is applied."""
        if ROOT not in self.changed:
            self._root = dict(self._root)
        self._undo = []
        for name, value in values.items():
            key = self._owner(name, place)
            changed = self.changed.setdefault(key, {})
            self._undo.append((key, name, changed.get(name, _UNSET), self._root.get(name, _UNSET)))
            changed[name] = value
            if key == ROOT:
                self._root[name] = value
        self.touched.update(values)

    def _owner(self, name: str, place: Place) -> str:
        for around in place.declaring():
            if name in around.graph.declared:
                return around.key
        return ROOT

    def forget(self, key: str) -> None:
        """A scope is over, and its variables with it."""
        self.changed.pop(key, None)

    def keep(self) -> None:
        """The last assignment stands."""
        self._undo = []

    def undo(self) -> None:
        """Take the last assignment back: what should have followed it failed."""
        for key, name, changed, root in reversed(self._undo):
            _restore(self.changed[key], name, changed)
            if key == ROOT:
                _restore(self._root, name, root)
        self._undo = []


_UNSET: Any = object()


def _restore(values: dict[str, Any], name: str, value: Any) -> None:
    if value is _UNSET:
        del values[name]
    else:
        values[name] = value


_NO_METER = Meter(0)


class Names(dict[str, Any]):
    """Every name in scope and its value; what is rarely read is made when it is."""

    __slots__ = ("_evaluator",)

    def __init__(self, evaluator: "Evaluator", values: dict[str, Any]) -> None:
        super().__init__(values)
        self._evaluator = evaluator

    def __missing__(self, name: str) -> Any:
        value = self[name] = _LATE[name](self._evaluator)
        return value


class Evaluator:
    """Evaluates a definition's expressions within one transition and counts what they cost: units of evaluation, bytes
    of values. `is_spent`: that, or what else it has done, was enough for one transition, which should be committed.
    """

    __slots__ = ("_bytes", "_state", "_units", "is_spent", "limits", "now", "variables", "views")

    def __init__(self, state: ExecutionState, limits: Limits, now: int) -> None:
        self._state = state
        self.limits = limits
        self.now = now
        self.is_spent = False
        self._units = 0
        self._bytes = 0
        self.variables = Variables(state)
        self.views: dict[str, StepViews] = {}

    def steps(self, place: Place) -> StepViews:
        """`steps` as seen from a scope."""
        views = self.views.get(place.key)
        if views is None or views.place is not place:
            outer = self.steps(place.outer) if place.outer is not None else None
            views = self.views[place.key] = StepViews(place, outer)
        return views

    def names(self, place: Place, extra: Mapping[str, Any] | None = None) -> Names:
        """Every name in scope and its value; `extra` holds those of the moment (`error`, `output`, `item`, ...)."""
        # A proxy, so that `${ vars }` gives a copy: a value must not change with the assignments that follow it.
        seen = MappingProxyType(self.variables.seen_from(place))
        names = Names(self, {"input": self._state.input, "vars": seen, "steps": self.steps(place)})
        if place.names is not None:
            names.update(place.names)
        if extra:
            names.update(extra)
        return names

    def _now(self) -> Timestamp:
        return Timestamp.from_microseconds(self.now)

    def _execution(self) -> dict[str, Any]:
        state = self._state
        started_at = state.started_at if state.started_at is not None else self.now
        return {
            "id": state.execution_id,
            "workflow_id": state.workflow_id,
            "version": state.version,
            "tenant_id": state.tenant_id,
            "started_at": Timestamp.from_microseconds(started_at),
            "metadata": state.metadata,
        }

    def value(self, template: Template, place: Place, extra: Mapping[str, Any] | None = None) -> Any:
        """The JSON value of a template.

        Raises:
            StepFault: of type `expression_error`, `expression_limit` or `payload_too_large`.
        """
        limits = self.limits
        if template.is_constant:
            value = template.evaluate({}, _NO_METER)
            size = template.constant_bytes
        else:
            meter = Meter(limits.expression_units_max, limits.payload_bytes_max)
            try:
                value = template.evaluate(self.names(place, extra), meter)
            except ExpressionFailed as failure:
                raise StepFault(failure.type, failure.message) from failure
            finally:
                self._charge(meter)
            size = template.constant_bytes + meter.bytes
        if size > limits.payload_bytes_max:
            raise StepFault("payload_too_large", str(too_large(limits.payload_bytes_max)))
        self._bytes += size
        if self._bytes >= limits.transition_bytes_max:
            self.is_spent = True
        return value

    def holds(self, condition: Expression, place: Place, extra: Mapping[str, Any] | None = None) -> bool:
        """Whether a condition holds; raises StepFault, also where the result is no boolean."""
        meter = Meter(self.limits.expression_units_max)
        try:
            return evaluate_condition(condition, self.names(place, extra), meter)
        except ExpressionFailed as failure:
            raise StepFault(failure.type, failure.message) from failure
        finally:
            self._charge(meter)

    def _charge(self, meter: Meter) -> None:
        self._units += meter.spent
        if self._units >= self.limits.transition_units_max:
            self.is_spent = True


# By name, not as bound methods of each evaluator: with those it would be a cycle, which only the collector frees.
_LATE: Mapping[str, Callable[[Evaluator], Any]] = {"now": Evaluator._now, "execution": Evaluator._execution}
