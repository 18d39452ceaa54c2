"""The agency of `travel_saga.yaml`."""

from workflow_engine import StepFailed, function


@function
def book(what: str) -> dict[str, str]:
    """Book something; there are no flying cars yet."""
    if what == "flying car":
        raise StepFailed("no_car", "flying cars are not to be had")
    return {"booking": f"booking of a {what}"}


@function
def give_back(booking: str, note: str = "") -> str:
    """Cancel a booking. A booking that is cancelled already stays so: this may be called twice."""
    return f"{booking} given back {note}".strip()
