"""The card company of `error_routes.yaml`."""

from workflow_engine import StepContext, StepFailed, function


@function
def charge_card(card: str, context: StepContext) -> dict[str, object]:
    """Charge a card, or fail the way its name says."""
    if card == "declined":
        raise StepFailed("declined", "the card was declined", {"reason": "over its limit"})
    if card == "offline" or (card == "hiccup" and context.attempt == 1):
        raise StepFailed("unavailable", "the card company does not answer")
    if card == "stolen":
        raise StepFailed("fraud", "the card is reported stolen")
    return {"charged": True}
