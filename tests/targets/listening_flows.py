"""Executions that listen for the signal `say`, for those who follow their events."""

from typing import Any

ECHO: dict[str, Any] = {
    "id": "echo",
    "start": ["listen"],
    "variables": {"n": 0},
    "nodes": [
        {"id": "listen", "type": "wait", "with": {"signal": "say"}, "assign": {"n": "${ vars.n + 1 }"}},
        {"id": "done", "type": "set", "output": "${ vars.n }"},
    ],
    "connections": [
        {"from": "listen", "to": "listen", "when": "vars.n < input"},
        {"from": "listen", "to": "done", "otherwise": True},
    ],
}
"""Takes `input` signals; each is a commit of a few events."""

BURSTS: dict[str, Any] = {
    "id": "bursts",
    "start": ["listen"],
    "variables": {"n": 0},
    "nodes": [
        {"id": "listen", "type": "wait", "with": {"signal": "say"}},
        {
            "id": "burst",
            "type": "emit",
            "foreach": {"items": "${ input.items }"},
            "with": {"event": "tick", "data": "${ input.text }"},
            "assign": {"n": "${ vars.n + 1 }"},
        },
        {"id": "done", "type": "set"},
    ],
    "connections": [
        {"from": "listen", "to": "burst"},
        {"from": "burst", "to": "listen", "when": "vars.n < input.count"},
        {"from": "burst", "to": "done", "otherwise": True},
    ],
}
"""Each signal is a hundred items of three events each, every third one with the text of the input."""
