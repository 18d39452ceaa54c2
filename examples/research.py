"""Planner, library, critic and writer of `research.yaml`: small stand-ins for models and a search engine."""

from typing import Any

from workflow_engine import StepFailed, function

NOTES = {
    "dance": {"text": "The waggle dance tells direction and distance.", "leads_to": ["direction", "distance"]},
    "direction": {"text": "Its angle to the vertical is the angle to the sun.", "leads_to": []},
    "distance": {"text": "The longer the waggle, the farther the flowers.", "leads_to": ["measure"]},
    "measure": {"text": "Bees measure by how fast the ground flows past.", "leads_to": []},
    "hive": {"text": "It is danced in the dark of the hive.", "leads_to": []},
}


@function
def plan_queries(question: str) -> list[str]:
    """What to look for first."""
    return ["dance", "hive", "unicorn"] if "dance" in question else ["hive"]


@function
def search_notes(query: str) -> dict[str, Any]:
    """One note; a query without one fails, and the loop goes on without it."""
    if query not in NOTES:
        raise StepFailed("nothing_found", f"there is no note about {query}")
    return {"source": query, **NOTES[query]}


@function
def what_is_missing(findings: list[dict[str, Any]]) -> list[str]:
    """Leads in the findings that nobody has followed yet."""
    known = {found["source"] for found in findings}
    return sorted({lead for found in findings for lead in found["leads_to"]} - known)


@function
def write_answer(question: str, findings: list[dict[str, Any]]) -> str:
    """One paragraph."""
    return f"{question} " + " ".join(found["text"] for found in findings)
