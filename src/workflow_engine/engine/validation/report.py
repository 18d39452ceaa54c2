"""The list of problems as it grows, and suggestions for misspelt words."""

from collections.abc import Collection
from difflib import get_close_matches

from workflow_engine.models.problem import Problem, Severity

# Comparing one word with one candidate costs some 10 microseconds; beyond this many in all, suggestions stop.
_COMPARISONS_MAX = 10_000


class Report:
    """Collects problems up to a limit; a place gets each code once."""

    def __init__(self, problems_max: int) -> None:
        self._problems: dict[tuple[str, str, str], Problem] = {}
        self._problems_max = problems_max
        self._omitted = 0
        self._comparisons_left = _COMPARISONS_MAX

    def error(self, code: str, path: str, message: str, hint: str | None = None) -> None:
        """Adds a problem that forbids publishing."""
        self._add("error", code, path, message, hint)

    def warning(self, code: str, path: str, message: str, hint: str | None = None) -> None:
        """Adds a problem that is worth a look."""
        self._add("warning", code, path, message, hint)

    def suggestion(self, word: str, known: Collection[str]) -> str | None:
        """A hint that names the known word which the given one resembles, if one does."""
        if len(known) > self._comparisons_left:
            return None
        self._comparisons_left -= len(known)
        close = get_close_matches(word[:128], [name for name in known if name != word], n=1, cutoff=0.6)
        return f"did you mean `{close[0]}`?" if close else None

    @property
    def problems(self) -> list[Problem]:
        """Errors first, each kind in the order of discovery."""
        found = sorted(self._problems.values(), key=lambda problem: problem.severity)
        if self._omitted:
            found.append(
                Problem(
                    severity="error",
                    code="too_many_problems",
                    path="",
                    message=f"{self._omitted} more problems are not shown",
                    hint="mend these first",
                )
            )
        return found

    def _add(self, severity: Severity, code: str, path: str, message: str, hint: str | None) -> None:
        key = (code, path, message)
        if key in self._problems:
            return
        if len(self._problems) >= self._problems_max:
            self._omitted += 1
            return
        self._problems[key] = Problem(severity=severity, code=code, path=path, message=message, hint=hint)
