"""A schema, compiled part by part as it is met: references, patterns and the limits of both."""

import re
from collections.abc import Callable
from typing import Any, Final

import re2

from workflow_engine.services.json_schema.keywords import COMPILERS, UNEVALUATED
from workflow_engine.services.json_schema.run import (
    Enough,
    Error,
    Keyword,
    Notes,
    Path,
    Run,
    SchemaUnusable,
    StepsExceeded,
    shown,
)

PATTERN_CHARS_MAX: Final = 1_024
PROGRAM_MAX: Final = 20_000
"""Instructions of a compiled pattern; RE2's slow matcher takes some 9 ns for each and byte."""

PATTERN_COMPILE_STEPS: Final = 200
PATTERNS_MAX: Final = 200
"""Different patterns of one schema."""

_options = re2.Options()
_options.max_mem = 1 << 19
_options.log_errors = False
_options.never_capture = True
_UNICODE_ESCAPE = re.compile(r"((?:[^\\]|^)(?:\\\\)*)\\u([0-9a-fA-F]{4})")


class Node:
    """One subschema, compiled when it is met first."""

    __slots__ = ("_keywords", "_part", "_schema", "_unevaluated")

    def __init__(self, schema: "Schema", part: Any) -> None:
        self._schema = schema
        self._part = part
        self._keywords: list[Keyword] | None = None
        self._unevaluated: list[Keyword] = []

    def check(self, value: Any, path: Path, run: Run, is_told: bool, notes: Notes | None) -> bool:
        """Whether the value fits."""
        keywords = self._keywords
        if keywords is None:
            keywords = self._keywords = self._compiled(run)
        run.spend(1 + len(keywords))
        outer, own = notes, notes
        if self._unevaluated:
            own = Notes()
        fits = True
        for keyword in keywords:
            if not keyword(value, path, run, is_told, own):
                fits = False
                if not is_told:
                    return False
        for keyword in self._unevaluated if fits else ():
            if not keyword(value, path, run, is_told, own):
                fits = False
        if fits and own is not outer and outer is not None and own is not None:
            outer.add(own)
        return fits

    def fits(self, value: Any, path: Path, run: Run, notes: Notes | None) -> bool:
        """Whether the value fits, without telling why not; what is noted counts only if it does."""
        if notes is None:
            return self.check(value, path, run, False, None)
        own = Notes()
        if not self.check(value, path, run, False, own):
            return False
        notes.add(own)
        return True

    def _compiled(self, run: Run) -> list[Keyword]:
        part = self._part
        if part is True or part == {}:
            return []
        if part is False:
            return [lambda value, path, run, is_told, notes: run.fail(path, is_told, "nothing is allowed here")]
        if not isinstance(part, dict):
            raise SchemaUnusable("a schema must be an object, true or false")
        found = [COMPILERS[word](self._schema, part, run) for word in COMPILERS if word in part]
        self._unevaluated = [UNEVALUATED[word](self._schema, part) for word in UNEVALUATED if word in part]
        return found


class Schema:
    """A schema, ready to check values, in any thread. Its parts are compiled when they are met first."""

    def __init__(self, document: dict[str, Any] | bool) -> None:
        self._document = document
        self._nodes: dict[int, Node] = {}
        self._patterns: dict[str, Any] = {}
        self._anchors: dict[str, Any] | None = None
        self.root = self.node(document)

    def errors(self, value: Any, *, steps_max: int) -> list[Error]:
        """What is wrong with a value, at most `ERRORS_MAX` errors, in document order.

        Raises:
            StepsExceeded: it would take more than `steps_max` keywords.
            SchemaUnusable: the schema itself is wrong.
        """
        run = Run(steps_max)
        try:
            self.root.check(value, None, run, True, None)
        except Enough:
            pass
        except RecursionError:
            raise StepsExceeded from None
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            if isinstance(error, SchemaUnusable):
                raise
            raise SchemaUnusable(f"a keyword has a value that it can't have ({error})") from None
        return run.errors

    def node(self, part: Any) -> Node:
        """The compiled form of a part of the document."""
        node = self._nodes.get(id(part)) if isinstance(part, dict) else None
        if node is None:
            node = Node(self, part)
            if isinstance(part, dict):
                self._nodes[id(part)] = node
        return node

    def target(self, reference: str) -> Node:
        """The subschema that a reference names."""
        if reference in ("#", self._own_id, f"{self._own_id}#"):
            return self.root
        fragment = reference.removeprefix(self._own_id) if self._own_id else reference
        if fragment.startswith("#/"):
            return self.node(self._at(fragment))
        anchors = self._anchors if self._anchors is not None else self._find_anchors()
        if not fragment.startswith("#") or fragment[1:] not in anchors:
            raise SchemaUnusable(f"the reference {shown(reference)} names nothing in this schema")
        return self.node(anchors[fragment[1:]])

    @property
    def _own_id(self) -> str:
        own = self._document.get("$id", "") if isinstance(self._document, dict) else ""
        return own.rstrip("#") if isinstance(own, str) else ""

    def _at(self, fragment: str) -> Any:
        current: Any = self._document
        for word in fragment[2:].split("/"):
            key = word.replace("~1", "/").replace("~0", "~")
            if isinstance(current, dict) and key in current:
                current = current[key]
            elif isinstance(current, list) and key.isascii() and key.isdigit() and int(key[:9]) < len(current):
                current = current[int(key[:9])]
            else:
                raise SchemaUnusable(f"the reference {shown(fragment)} points to nothing in this schema")
        return current

    def _find_anchors(self) -> dict[str, Any]:
        anchors: dict[str, Any] = {}
        stack: list[Any] = [self._document]
        while stack:
            part = stack.pop()
            if isinstance(part, dict):
                for word in ("$anchor", "$dynamicAnchor"):
                    if isinstance(part.get(word), str):
                        anchors.setdefault(part[word], part)
                stack.extend(part.values())
            elif isinstance(part, list):
                stack.extend(part)
        self._anchors = anchors
        return anchors

    def pattern(self, text: str, run: Run) -> Callable[[str, Run], bool]:
        """Whether a regular expression is found in a text; through RE2, whose time grows with the text alone."""
        compiled = self._patterns.get(text)
        if compiled is None:
            run.spend(PATTERN_COMPILE_STEPS)
            compiled = _compile_pattern(text)
            if len(self._patterns) >= PATTERNS_MAX:
                raise SchemaUnusable(f"the schema has more than {PATTERNS_MAX} different patterns")
            self._patterns[text] = compiled
        size = compiled.programsize

        def is_found(content: str, run: Run) -> bool:
            run.spend(1 + (len(content) * size >> 7))
            return compiled.search(content.encode()) is not None

        return is_found


def _compile_pattern(text: str) -> Any:
    if len(text) > PATTERN_CHARS_MAX:
        raise SchemaUnusable(f"a pattern has at most {PATTERN_CHARS_MAX} characters")
    try:
        compiled = re2.compile(_UNICODE_ESCAPE.sub(r"\1\\x{\2}", text), _options)
    except (re2.error, UnicodeEncodeError):
        raise SchemaUnusable(
            f"the pattern {shown(text)} is no regular expression of RE2, which has no look-around and no references"
        ) from None
    if compiled.programsize > PROGRAM_MAX:
        raise SchemaUnusable(f"the pattern {shown(text)} unfolds to too many steps")
    return compiled
