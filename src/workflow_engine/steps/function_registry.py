"""Python callables that `function` nodes call by name: how they are registered, what they get and how they fail."""

import difflib
import inspect
import time
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

F = TypeVar("F", bound=Callable[..., Any])

NAME_CHARS_MAX = 256
NAMES_SHOWN_MAX = 20
"""An error message lists so many registered names at most."""


class StepFailed(Exception):
    """Raised by a function to fail its step with an error type of its own choice.

    Args:
        type: what error connections and `retry.on` match. `unavailable`, `timeout` and `rate_limited` are repeated by a
            node without a `retry` of its own, everything else is not.
        message: for people.
        details: JSON; readable as `error.details`.
        retry_after_s: the next attempt comes no earlier.
        no_effect: the call surely changed nothing outside.
    """

    def __init__(
        self,
        type: str,  # noqa: A002 - the contract's word
        message: str,
        details: Any = None,
        *,
        retry_after_s: float | None = None,
        no_effect: bool = False,
    ) -> None:
        super().__init__(type, message)
        self.type = type
        self.message = message
        self.details = details
        self.retry_after_s = retry_after_s
        self.no_effect = no_effect

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


class StepContext(msgspec.Struct, frozen=True):
    """What a function may know about the step that it serves; given to a parameter annotated with this class."""

    tenant_id: str
    workflow_id: str
    execution_id: str
    node_id: str
    step_id: str
    attempt: int
    """Counts from 1."""
    idempotency_key: str
    """The same for every attempt of this step: hand it to whatever the function changes."""
    deadline: float | None
    """On the clock of `time.monotonic()`; None without a timeout."""

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the attempt times out, never below 0; None without a timeout."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


class FunctionDuplicate(ValueError):
    """Two callables claim one name."""


class RegisteredFunction(msgspec.Struct, frozen=True):
    """A callable with what a call must know about it, looked up once."""

    name: str
    callable: Callable[..., Any]
    is_async: bool
    required: frozenset[str]
    accepted: frozenset[str]
    takes_any: bool
    context_parameter: str | None
    place: str
    """`file:line (qualified name)`, for messages."""

    def misfit(self, arguments: dict[str, Any]) -> str | None:
        """Say why these arguments don't fit the signature, or None if they do."""
        given = arguments.keys()
        missing = self.required - given
        unexpected = given & {self.context_parameter} if self.takes_any else given - self.accepted
        if not missing and not unexpected:
            return None
        parts = [
            f"{word}: {', '.join(sorted(map(str, names)))}"
            for word, names in (("missing", missing), ("unexpected", unexpected))
            if names
        ]
        takes = [*sorted(self.accepted), *(["any other"] if self.takes_any else [])]
        return f"{'; '.join(parts)} (it takes: {', '.join(takes) or 'none'})"


class FunctionRegistry:
    """The functions of a process or of one engine, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, RegisteredFunction] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    @property
    def names(self) -> list[str]:
        """Registered names, sorted."""
        return sorted(self._by_name)

    def get(self, name: str) -> RegisteredFunction | None:
        """Give the function of that name, or None."""
        return self._by_name.get(name)

    def include(self, other: "FunctionRegistry") -> None:
        """Take over the functions of another registry; a name that both have for two is a FunctionDuplicate."""
        for registered in other._by_name.values():
            self._add(registered)

    @overload
    def function(self, name: F) -> F: ...

    @overload
    def function(self, name: str | None = None) -> Callable[[F], F]: ...

    def function(self, name: F | str | None = None) -> F | Callable[[F], F]:
        """Register a callable for `function` nodes: `@function`, `@function()` or `@function("name")`.

        The callable is left as it is. Without a name it is registered under its own. Plain functions run in a thread,
        `async def` ones on the event loop.

        Raises:
            FunctionDuplicate: the name is taken by another callable.
            ValueError: the name or the signature can't be used.
        """
        if callable(name):
            self._add(_describe(name, _own_name(name)))
            return name
        wanted = name

        def register(target: F) -> F:
            self._add(_describe(target, _own_name(target) if wanted is None else wanted))
            return target

        return register

    def unknown(self, name: str) -> str:
        """Say that there is no function of this name, and which ones there are."""
        close = difflib.get_close_matches(name[:NAME_CHARS_MAX], self._by_name, n=3)
        meant = f"; did you mean {' or '.join(map(repr, close))}?" if close else "."
        shown = ", ".join(self.names[:NAMES_SHOWN_MAX]) or "none"
        more = f" and {len(self) - NAMES_SHOWN_MAX} more" if len(self) > NAMES_SHOWN_MAX else ""
        return (
            f"no function named {name[:NAME_CHARS_MAX]!r} is registered in this process{meant}"
            f" Registered: {shown}{more}. WORKFLOW_ENGINE_FUNCTIONS names the modules that register functions."
        )

    def _add(self, registered: RegisteredFunction) -> None:
        present = self._by_name.get(registered.name)
        if present is not None and present.callable is not registered.callable and not _is_reload(present, registered):
            raise FunctionDuplicate(
                f"two functions are named {registered.name!r}: {present.place} and {registered.place};"
                " give one of them another name"
            )
        self._by_name[registered.name] = registered


def _is_reload(old: RegisteredFunction, new: RegisteredFunction) -> bool:
    """Whether a module was loaded again and brings the newer definition of the same function."""
    is_module_level = isinstance(new.callable, types.FunctionType) and "<locals>" not in new.callable.__qualname__
    return is_module_level and old.place == new.place


def _own_name(target: Callable[..., Any]) -> str:
    name = getattr(target, "__name__", None)
    if name is None or name == "<lambda>":
        raise ValueError(f'{target!r} has no name of its own; write function("a-name")')
    return str(name)


def _describe(target: Callable[..., Any], name: str) -> RegisteredFunction:
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise ValueError(f"a function's name is 1 to {NAME_CHARS_MAX} printable characters, got {name!r}")
    place = _place(target)
    parameters = _signature(target).parameters.values()
    for parameter in parameters:
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ValueError(f"{place}: parameter {parameter.name!r} is positional only; arguments are given by name")
    context = next((p.name for p in parameters if _is_context(p.annotation)), None)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != context]
    return RegisteredFunction(
        name=name,
        callable=target,
        is_async=inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(type(target).__call__),
        required=frozenset(p.name for p in named if p.default is p.empty),
        accepted=frozenset(p.name for p in named),
        takes_any=any(p.kind is p.VAR_KEYWORD for p in parameters),
        context_parameter=context,
        place=place,
    )


def _signature(target: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(target, eval_str=True)
    except (NameError, TypeError, SyntaxError, AttributeError):
        return inspect.signature(target)  # annotations that name what exists only for type checkers


def _is_context(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.split("|")[0].strip().rpartition(".")[2] == StepContext.__name__
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return StepContext in typing.get_args(annotation)
    return annotation is StepContext


def _place(target: Callable[..., Any]) -> str:
    inner = inspect.unwrap(getattr(target, "func", target))
    code = getattr(inner, "__code__", None)
    label = getattr(inner, "__qualname__", type(inner).__qualname__)
    return f"{code.co_filename}:{code.co_firstlineno} ({label})" if code else f"{inner.__module__} ({label})"


functions = FunctionRegistry()
"""The registry that the module-level decorator fills."""

function = functions.function
