"""What is executed: definitions whose function nodes call `bench.next`, the smallest step that there is."""

from typing import Any


def chain(length: int) -> dict[str, Any]:
    """Function steps in a row, each with the output of the one before."""
    nodes = []
    for number in range(length):
        before = "${ input }" if number == 0 else f"${{ steps.s{number - 1}.output }}"
        nodes.append(
            {"id": f"s{number}", "type": "function", "with": {"name": "bench.next", "arguments": {"n": before}}}
        )
    connections = [{"from": f"s{number}", "to": f"s{number + 1}"} for number in range(length - 1)]
    return {"id": f"chain-{length}", "nodes": nodes, "connections": connections}


def pure_chain(length: int) -> dict[str, Any]:
    """The same chain of `set` nodes."""
    nodes = [
        {"id": f"s{n}", "type": "set", "output": "${ input + 1 }" if n == 0 else f"${{ steps.s{n - 1}.output + 1 }}"}
        for n in range(length)
    ]
    connections = [{"from": f"s{number}", "to": f"s{number + 1}"} for number in range(length - 1)]
    return {"id": f"pure-{length}", "nodes": nodes, "connections": connections}


CYCLE: dict[str, Any] = {
    "id": "cycle",
    "start": ["step"],
    "variables": {"n": 0},
    "nodes": [
        {
            "id": "step",
            "type": "function",
            "with": {"name": "bench.next", "arguments": {"n": "${ vars.n }"}},
            "assign": {"n": "${ output }"},
        },
        {"id": "enough", "type": "set", "output": "${ vars.n }"},
    ],
    "connections": [
        {"from": "step", "to": "step", "when": "vars.n < input"},
        {"from": "step", "to": "enough", "otherwise": True},
    ],
}
"""As many steps as the input says, one after another."""

FANOUT: dict[str, Any] = {
    "id": "fanout",
    "nodes": [
        {
            "id": "each",
            "type": "function",
            "foreach": {"items": "${ input }", "concurrency": 1000},
            "with": {"name": "bench.next", "arguments": {"n": "${ item }"}},
        },
        {"id": "total", "type": "set", "output": "${ sum(steps.each.output) }"},
    ],
    "connections": [{"from": "each", "to": "total"}],
}
"""A step for each item of the input, side by side, and their sum."""
