"""What the engine allows at most. Settings may change each; the defaults are the contract's."""

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """Bounds that `decide` keeps. Going over one ends in an error that names it, never in a hang or a silent cut."""

    max_steps: int = 1_000_000
    """Steps of one execution, items included; more is `limit_exceeded`, which no connection catches."""
    payload_bytes_max: int = 1024 * 1024
    """JSON of one input, output, variable or signal; more is `payload_too_large`."""
    expression_units_max: int = 1_000_000
    """Units of one evaluation; more is `expression_limit`. About 50 ms."""
    transition_units_max: int = 400_000
    """Expression units after which a transition commits and goes on in the next one. About 20 ms."""
    transition_steps_max: int = 1_000
    """Steps after which a transition commits and goes on in the next one."""
    transition_bytes_max: int = 4 * 1024 * 1024
    """Payload bytes after which a transition commits and goes on in the next one."""
    signals_unread_max: int = 1_000
    """Signals that wait to be taken."""
    signals_unread_bytes_max: int = 16 * 1024 * 1024
    """Their payloads together."""
    tokens_max: int = 100_000
    """Tokens that one connection may be given at a time."""
