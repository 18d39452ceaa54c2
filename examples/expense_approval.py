"""The bank of `expense_approval.yaml`."""

from workflow_engine import StepContext, function


@function
def pay(amount: float, to: str, context: StepContext) -> dict[str, object]:
    """Pay. A real bank gets `context.idempotency_key` with the order, and pays once however often it is asked."""
    return {"amount": amount, "receipt": f"{to}/{amount:g}"}
