"""The reservations of `seat_and_room.yaml`."""

from collections import Counter

from workflow_engine import StepFailed, function

_asked: Counter[str] = Counter()


@function
def reserve(what: str, city: str) -> str:
    """Hold a seat or a room. The first room of a city is always gone, and Atlantis has none."""
    _asked[f"{what} {city}"] += 1
    number = _asked[f"{what} {city}"]
    if what == "room" and (city == "Atlantis" or number == 1):
        raise StepFailed("sold_out", f"no room in {city}")
    return f"{city} {what} {number}"
