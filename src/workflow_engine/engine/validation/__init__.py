"""Validation of definitions: every problem at once, each with its place and the way out."""

from workflow_engine.engine.validation.limits import Limits
from workflow_engine.engine.validation.validate import Validation, validate

__all__ = ["Limits", "Validation", "validate"]
