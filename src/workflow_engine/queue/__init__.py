"""The line in which ready tasks stand until a slot is free: fair between tenants, urgent ones first within a tenant."""

from workflow_engine.queue.fair_queue import FairQueue

__all__ = ["FairQueue"]
