"""Functions of order.yaml; found because of their file's name."""

from workflow_engine import StepFailed, function


@function
def order_tax(amount: float) -> float:
    print("a function may print")  # noqa: T201
    if amount < 0:
        raise StepFailed("negative", "a negative\x1b[31m amount")
    return amount * 2
