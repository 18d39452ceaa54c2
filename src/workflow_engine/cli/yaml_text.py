"""JSON values as YAML that the definition language reads back as they were (1.2 core schema)."""

import re
from typing import Any

import yaml

_CORE = {
    "null": (r"null|Null|NULL|~|", ("n", "N", "~", "")),
    "bool": (r"true|True|TRUE|false|False|FALSE", ("t", "T", "f", "F")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", tuple("-+0123456789")),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        tuple("-+.0123456789"),
    ),
}


class _CoreDumper(yaml.SafeDumper):
    """Quotes what the core schema would take for something else than text, and nothing more."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind, (_pattern, _first) in _CORE.items():
    _CoreDumper.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def yaml_text(value: Any) -> str:
    """The value as YAML, keys in their order."""
    text: str = yaml.dump(value, Dumper=_CoreDumper, sort_keys=False, allow_unicode=True, width=110)
    return text
