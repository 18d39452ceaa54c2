"""What can go wrong between a client and the server."""

from collections.abc import Sequence

from workflow_engine.models.problem import Problem


class ClientError(Exception):
    """The call could not be made, or was not granted."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ServerUnreachable(ClientError):
    """No answer came, or one that no Workflow Engine gives."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} can't be reached: {reason}")
        self.url = url
        self.reason = reason


class RequestRefused(ClientError):
    """The server answered with a problem document."""

    def __init__(self, status: int, code: str, detail: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        """Stable; the last part of the problem's `type`."""
        self.problems = list(problems)
        """Each with its place and the way out."""

    @property
    def is_passing(self) -> bool:
        """Whether the same request may be granted a little later."""
        return self.status in (408, 429) or self.status >= 500

    @property
    def is_in_progress(self) -> bool:
        """Whether an earlier request with the same `Idempotency-Key` is still being answered."""
        return self.status == 409 and self.code == "in_progress"
