"""Soundness: of each scope, whether its tokens always come to an end, with a counter-example where they don't."""

from dataclasses import dataclass, field
from typing import Final, Literal

from workflow_engine.engine.validation.outline import Outline, ScopeView
from workflow_engine.engine.validation.report import Report
from workflow_engine.engine.validation.soundness.cycles import Ways, breeding_moves, components, spinning_cycles
from workflow_engine.engine.validation.soundness.net import Net, net_of
from workflow_engine.engine.validation.soundness.reduction import (
    Reduction,
    draining,
    mark_cyclic,
    ordered_places,
    prune,
)
from workflow_engine.engine.validation.soundness.search import Budget, Outcome, Search
from workflow_engine.engine.validation.soundness.words import (
    Finding,
    breeding_finding,
    growth_finding,
    high_count_finding,
    not_proved_finding,
    spinning_finding,
    stuck_finding,
)

MARKINGS_MAX: Final = 10_000
"""Markings that are visited for one definition: some 0.3 s."""
STEPS_MAX: Final = 250_000
"""Places that are walked through for one definition to learn what can reach a connection: some 0.3 s."""

DEEP_MARKINGS_MAX: Final = 6_000
DEEP_STEPS_MAX: Final = 60_000
"""The same for the search into the depth that follows where the limits were hit: it proves nothing, but may find."""

Verdict = Literal["sound", "unsound", "not_proved"]


@dataclass(slots=True)
class ScopeVerdict:
    """What is known of one scope."""

    path: str
    """JSON pointer of the scope; empty for the definition itself."""
    verdict: Verdict = "sound"
    findings: list[Finding] = field(default_factory=list)


def check_soundness(outline: Outline, report: Report) -> None:
    """Warns of what can go wrong with the tokens of each scope. Looks only at documents without errors."""
    if any(problem.severity == "error" for problem in report.problems):
        return
    for scope in soundness_of(outline):
        for finding in scope.findings:
            report.warning(*finding)


def soundness_of(
    outline: Outline, *, markings_max: int = MARKINGS_MAX, steps_max: int = STEPS_MAX
) -> list[ScopeVerdict]:
    """The verdict of each scope of a document without errors, in the order of the outline.

    `sound`: whichever way conditions go, whatever fails and in whatever order steps end, no join waits for ever, tokens
    do not grow without bound, and no cycle spins for ever. `not_proved`: a limit was hit before that was certain.
    """
    budget = Budget(markings_max, steps_max)
    endless_groups: list[str] = []
    verdicts = []
    for scope in reversed(outline.scopes):  # inner before outer: a group that never ends blocks what is around it
        net = net_of(scope, endless_groups)
        if scope.group is not None and not _can_end(net):
            endless_groups.append(scope.group.id or "")
        verdicts.append(_verdict_of(net, budget))
    return verdicts[::-1]


def _can_end(net: Net) -> bool:
    if net.scope.raw.get("finish") == "first":
        return True
    return net.initial.puts.keys() <= draining(net)


def _verdict_of(net: Net, budget: Budget) -> ScopeVerdict:
    found = ScopeVerdict(net.scope.path)
    tangles = components(net)
    ways = Ways(net)
    for cycle in spinning_cycles(net, tangles, ways):
        found.findings.append(spinning_finding(net, cycle, ways.choices_to(cycle[0])))
    hopeless = {
        index for index, join in net.joins.items() if join.rule == "count" and join.count > len(join.connections)
    }
    found.findings += [high_count_finding(net.joins[index]) for index in sorted(hopeless)]
    breeding, unsure = breeding_moves(net, tangles, ways)
    found.findings += [breeding_finding(net, move, ways.choices_to(move.owner)) for move in breeding]
    mark_cyclic(net, tangles)
    prune(net, unsure)
    why = _search(net, budget, hopeless, found.findings) if net.places else None
    if found.findings:
        found.verdict = "unsound"
    elif why is not None:
        found.verdict = "not_proved"
        found.findings.append(not_proved_finding(found.path, _scope_name(net.scope), why))
    return found


def _search(net: Net, budget: Budget, hopeless: set[int], findings: list[Finding]) -> str | None:
    """Adds what the search finds; gives the reason why it proves nothing, if there is one."""
    ordered = ordered_places(net)
    Reduction(net, ordered).run()
    search = Search(net, ordered)
    outcome = search.run(budget)
    if outcome.gave_up is not None and not outcome.stuck:
        deep = search.run(Budget(DEEP_MARKINGS_MAX, DEEP_STEPS_MAX), is_deep=True)
        outcome.stuck, outcome.growth = deep.stuck, deep.growth
    for stuck in outcome.stuck:
        if stuck.join.index not in hopeless:
            findings.append(stuck_finding(net, stuck, never_fires=_never_fires(net, outcome, stuck.join.index)))
    if outcome.growth is not None:
        findings.append(growth_finding(net, outcome.growth))
    if outcome.gave_up is not None:
        joins = len(net.joins)
        return f"{outcome.gave_up} for the limits of the search ({joins} joins are left after reduction)"
    if net.templates:
        names = sorted({f"`{net.places[place].node.id}`" for place in net.templates if place in net.places})
        return f"how many tokens go on from {', '.join(names[:8])} is known at run time only"
    return None


def _never_fires(net: Net, outcome: Outcome, join: int) -> bool:
    is_complete = outcome.gave_up is None and outcome.growth is None and not outcome.may_miss and not net.templates
    return is_complete and join not in outcome.fired


def _scope_name(scope: ScopeView) -> str:
    return "the definition" if scope.group is None else f"the group `{scope.group.id}`"
