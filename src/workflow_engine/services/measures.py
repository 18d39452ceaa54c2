"""What the services count while they work: plain numbers, turned into metrics only when somebody asks for them.

A dozen of these updates belong to one step; together they cost some two microseconds.
"""

from collections import Counter
from collections.abc import Sized

from workflow_engine.models.histogram import Histogram


class ExecutionMeasures:
    """What the executor counts."""

    def __init__(self) -> None:
        self.decide_seconds = Histogram()
        """One transition's decision: the pure core alone."""
        self.commit_wait_seconds = Histogram()
        """From the decision to its durability."""
        self.started = 0
        self.finished: Counter[str] = Counter()
        """By terminal status."""
        self.outages = 0
        """Times that the store stopped taking writes."""


class StepMeasures:
    """What the step processor counts."""

    def __init__(self) -> None:
        self.queue_wait_seconds = Histogram()
        """From the commit that caused a call to the slot that it runs in."""
        self.duration_seconds: dict[str, Histogram] = {}
        """By node type; every attempt counts."""
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """By node type and `completed`, `failed` or `withdrawn`."""

    def ended(self, node_type: str, outcome: str, seconds: float) -> None:
        """Count one attempt."""
        durations = self.duration_seconds.get(node_type)
        if durations is None:
            durations = self.duration_seconds[node_type] = Histogram()
        durations.observe(seconds)
        self.outcomes[node_type, outcome] += 1


class TimerMeasures:
    """What the timer service counts."""

    def __init__(self) -> None:
        self.lag_seconds = Histogram()
        """How late a timer fired."""


class LimitMeasures:
    """What the slots of limits count."""

    def __init__(self) -> None:
        self.wait_seconds = Histogram()
        """From asking for a slot to its grant."""


class RequestMeasures:
    """What the HTTP door counts."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str, int], Histogram] = {}
        """By method, route and status."""
        self.in_progress = 0
        self.connections: Sized = ()
        """What stands for the connections that are open, those of WebSockets included; the server's own."""
        self.refused: Counter[str] = Counter()
        """Connections that were closed before a request was whole, by why."""

    def ended(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (method, route, status)
        durations = self.seconds.get(key)
        if durations is None:
            durations = self.seconds[key] = Histogram()
        durations.observe(seconds)
