"""Pages of lists: `limit` and a `cursor` that only the server can make and only its tenant can use."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

import msgspec
from starlette.requests import Request

from workflow_engine.routes.problems import HttpProblem

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500
_SIGNATURE_BYTES: Final = 16
_CURSOR_CHARS_MAX: Final = 2_000


class Cursors:
    """Makes and reads cursors: a position, signed for one tenant and one list."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def _signature(self, tenant_id: str, name: str, position: bytes) -> bytes:
        message = b"\0".join((tenant_id.encode(), name.encode(), position))
        return hmac.new(self._key, b"cursor\0" + message, hashlib.sha256).digest()[:_SIGNATURE_BYTES]

    def make(self, tenant_id: str, name: str, position: Any) -> str:
        """The cursor of a position, which may be any JSON value; `name` is the list's, with its filters."""
        encoded = msgspec.json.encode(position)
        return urlsafe_b64encode(self._signature(tenant_id, name, encoded) + encoded).decode().rstrip("=")

    def read(self, tenant_id: str, name: str, cursor: str) -> Any:
        """The position that a cursor stands for; raises HttpProblem (422) for any that this tenant did not get here."""
        try:
            if len(cursor) > _CURSOR_CHARS_MAX:
                raise ValueError
            raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
            signature, position = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
            if not hmac.compare_digest(signature, self._signature(tenant_id, name, position)):
                raise ValueError
            return msgspec.json.decode(position)
        except ValueError:
            raise HttpProblem(422, "the cursor is not one that this list gave out", code="invalid_cursor") from None


def limit_of(request: Request) -> int:
    """The page size a request asks for, 1 to 500; 50 without one."""
    given = request.query_params.get("limit")
    if given is None:
        return LIMIT_DEFAULT
    if not (given.isascii() and given.isdigit() and len(given) <= 4 and 1 <= int(given) <= LIMIT_MAX):
        raise HttpProblem(422, f"`limit` must be an integer from 1 to {LIMIT_MAX}", code="invalid_limit")
    return int(given)
