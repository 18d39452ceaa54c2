"""Warehouse and bank of `order_fulfilment.yaml`."""

from workflow_engine import function

STOCK = {"lamp": 5, "chair": 0}
CREDIT = 1_000.0


@function
def check_stock(items: dict[str, int]) -> dict[str, object]:
    """Whether all of it lies in the warehouse."""
    missing = sorted(name for name, count in items.items() if STOCK.get(name, 0) < count)
    return {"ok": not missing, "missing": missing}


@function
def check_credit(total: float) -> dict[str, object]:
    """Whether the customer is good for it."""
    return {"ok": total <= CREDIT}


@function
def ship(items: dict[str, int], country: str) -> dict[str, object]:
    """Hand it to the carrier."""
    return {"shipped": True, "parcels": sum(items.values()), "country": country}
