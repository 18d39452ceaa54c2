"""What a call gave, from what its node made of it: the log holds the node's `output`, a stub needs the raw one."""

import re
from typing import Any, Final

from workflow_engine.engine.expressions import compile_template
from workflow_engine.models.field import is_template
from workflow_engine.models.node import NodeBase

_PLACE: Final = re.compile(r"\$\{\s*output((?:\.[A-Za-z_][A-Za-z0-9_]*)*)\s*\}")


class RawOutputUnknown(Exception):
    """The node's `output` computes something that can't be taken back."""


def raw_output(node: NodeBase, output: Any) -> Any:
    """A raw output from which the node makes this one; places that it does not read are left out.

    Raises:
        RawOutputUnknown: the template is more than places of `output`, such as `${ output.body.id }`.
    """
    if not node.has_output:
        return output
    places: dict[tuple[str, ...], Any] = {}
    _match(node.output, output, places)
    if () in places:
        return places[()]
    raw: Any = {} if places else None
    for path, value in places.items():
        _put(raw, path, value)
    return raw


def _match(template: Any, value: Any, places: dict[tuple[str, ...], Any]) -> None:
    if isinstance(template, dict) and isinstance(value, dict) and template.keys() == value.keys():
        for name, part in template.items():
            _match(part, value[name], places)
    elif isinstance(template, list) and isinstance(value, list) and len(template) == len(value):
        for part, item in zip(template, value, strict=True):
            _match(part, item, places)
    elif is_template(template):
        place = _PLACE.fullmatch(template)
        if place is not None:
            places[tuple(place[1].split(".")[1:])] = value
        elif any(path[0] == "output" for path in compile_template(template).references):
            raise RawOutputUnknown(template)


def _put(raw: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        raw = raw.setdefault(name, {})
        if not isinstance(raw, dict):
            raise RawOutputUnknown(".".join(path))
    raw[path[-1]] = value
