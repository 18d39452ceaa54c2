"""How large a definition may be."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one definition; settings may change them."""

    definition_bytes_max: int = 1 << 20
    """Size as compact JSON."""
    nodes_max: int = 5_000
    """Nodes in the whole definition, those in groups included."""
    connections_max: int = 20_000
    expression_bytes_max: int = 4_096
    """Size of one CEL expression in UTF-8."""
    depth_max: int = 200
    """Nesting of arrays and objects."""
    problems_max: int = 500
    """Problems reported; nobody reads more, and hostile documents would have hundreds of thousands."""
