"""Why an execution is where it is: in sentences, with what each node waits for, why, and who can move it on."""

from workflow_engine.services.explanation.explain import explain

__all__ = ["explain"]
