"""Soundness at publish: what the token game of a definition can come to, whatever its data."""

from workflow_engine.engine.validation.soundness.verdict import ScopeVerdict, check_soundness, soundness_of
from workflow_engine.engine.validation.soundness.words import Finding

__all__ = ["Finding", "ScopeVerdict", "check_soundness", "soundness_of"]
