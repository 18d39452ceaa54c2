"""`Idempotency-Key`: a request that is sent again gets the answer of the first one, and its effect happens once.

The answer is kept in the commit of the effect (`Receipt`), so there is no moment at which one exists without the other.
While a request is under way a second one with its key is told so.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from copy import copy
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from workflow_engine.models.errors import AlreadyExists
from workflow_engine.routes.problems import HttpProblem
from workflow_engine.services.workflow_executor import Receipt
from workflow_engine.store import IdempotencyRow, Store

HEADER: Final = "idempotency-key"
REPLAYED: Final = {"Idempotency-Replayed": "true"}
_decode = msgspec.json.Decoder().decode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_KEY = re.compile(r"[\x21-\x7e]{1,255}")

UNFINISHED: Final = 102
"""The status under which a request of many commits is kept until it is answered. Sent again it goes on."""

Identity = tuple[str, str, str]
"""Tenant, route and key."""


class RequestKey:
    """The key of one request, or the absence of one."""

    def __init__(self, tenant_id: str, route: str, key: str, body: bytes) -> None:
        self.tenant_id = tenant_id
        self.route = route
        self.key = key
        self.body_hash = hashlib.sha256(body).hexdigest()

    @property
    def identity(self) -> Identity:
        """What makes two requests the same."""
        return self.tenant_id, self.route, self.key

    def receipt(self, render: Callable[..., tuple[int, bytes]]) -> Receipt:
        """The receipt to commit with the request's command; `render(row, state)` gives status and body."""
        return Receipt(self.route, self.key, self.body_hash, render)

    def part(self, name: str) -> "RequestKey":
        """The key of one of the commits that the request makes. No request can have it: headers hold no blanks."""
        part = copy(self)
        part.key = f"{self.key} {name}"
        return part

    def row(self, status: int, answer: bytes) -> IdempotencyRow:
        """The receipt of an answer that is known already."""
        return IdempotencyRow(self.route, self.key, self.body_hash, status, answer)


def _canonical(request: Request, body: bytes) -> bytes:
    """What the key stands for: the body's content however it is written, and what the query changes in the effect.

    How long a start is waited for changes the answer alone: whoever asks again may wait longer.
    """
    try:
        content = _encode_sorted(_decode(body or b"{}"))
    except (ValueError, RecursionError):
        content = body  # YAML
    query = sorted((name, value) for name, value in request.query_params.multi_items() if name != "wait")
    return content if not query else content + b"\0" + _encode_sorted(query)


class Idempotency:
    """Answers repeated requests."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._in_progress: set[Identity] = set()

    @staticmethod
    def key_of(request: Request, tenant_id: str, body: bytes) -> RequestKey | None:
        """The request's key; None without the header. Raises HttpProblem (422) for a malformed one."""
        key = request.headers.get(HEADER)
        if key is None:
            return None
        if _KEY.fullmatch(key) is None:
            raise HttpProblem(422, "Idempotency-Key must be 1 to 255 visible ASCII characters", code="invalid_key")
        return RequestKey(tenant_id, f"{request.method} {request.url.path}", key, _canonical(request, body))

    async def answer(
        self,
        key: RequestKey | None,
        act: Callable[[], Awaitable[Response]],
        *,
        again: Callable[[], Awaitable[bytes]] | None = None,
    ) -> Response:
        """Act, unless a request with this key was answered before: then its answer, marked as a replay.

        Args:
            again: gives the answer where only that it was done is kept, since the process ended before it was made.

        Raises:
            HttpProblem: 422 the key was used with another body; 409 its first request is under way.
        """
        if key is None:
            return await act()
        if key.identity in self._in_progress:
            raise HttpProblem(409, "a request with this Idempotency-Key is under way", code="in_progress")
        self._in_progress.add(key.identity)
        try:
            replay = await self._replay(key, again)
            return replay if replay is not None else await act()
        except AlreadyExists:
            replay = await self._replay(key, again)
            if replay is None:
                raise
            return replay
        finally:
            self._in_progress.discard(key.identity)

    async def keep(self, key: RequestKey | None, status: int, answer: bytes) -> None:
        """Keep a fuller answer than the one that was committed: a start that was waited for knows its end."""
        if key is not None:
            await self._store.update_receipt(key.tenant_id, key.row(status, answer))

    async def begun(self, key: RequestKey | None) -> bytes | None:
        """What a request that was begun before, and not finished, keeps under its key."""
        found = await self._store.receipt(*key.identity) if key is not None else None
        return found.answer if found is not None and found.status == UNFINISHED else None

    async def _replay(self, key: RequestKey, again: Callable[[], Awaitable[bytes]] | None) -> Response | None:
        found = await self._store.receipt(*key.identity)
        if found is None:
            return None
        if found.body_hash != key.body_hash:
            raise HttpProblem(422, "this Idempotency-Key was used with another body", code="key_reused")
        if found.status == UNFINISHED:
            return None
        answer = found.answer or (await again() if again is not None else b"")
        return Response(answer, status_code=found.status, media_type="application/json", headers=REPLAYED)
