"""Problems: what validation has to say about a document, each with its place and the way out."""

from typing import Literal

import msgspec

Severity = Literal["error", "warning"]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a document, or looks wrong."""

    severity: Severity
    code: str
    """Stable, snake_case; the table of codes is in docs/definition-language.md."""
    path: str
    """JSON pointer (RFC 6901) to the place; empty for the whole document."""
    message: str
    hint: str | None = None
    """What to do about it."""

    def to_dict(self) -> dict[str, str | None]:
        """The problem as the API shows it.

        >>> Problem(severity="error", code="no_start", path="", message="...").to_dict()["code"]
        'no_start'
        """
        return {
            "severity": self.severity,
            "code": self.code,
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
        }


def pointer(*parts: str | int) -> str:
    """The JSON pointer that the parts make.

    >>> pointer("nodes", 0, "a/b~c")
    '/nodes/0/a~1b~0c'
    """
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)
