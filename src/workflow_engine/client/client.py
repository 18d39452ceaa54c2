"""The calls that the commands make."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import quote

from workflow_engine.client.connection import Connection, Query
from workflow_engine.client.errors import RequestRefused
from workflow_engine.client.following import OnLost, follow
from workflow_engine.models.execution import TERMINAL

API: Final = "/api/v1"
PAGE: Final = 500
HELD_S_MAX: Final = 30.0
"""What one request asks the server to hold its answer back, well within the minute that proxies allow."""
LOOK_S: Final = 1.0
"""How often is looked whether an execution has ended, once the server holds no answer back any more."""

BATCH_S: Final = 30.0
"""What a thousand starts may take on a busy server."""

BULK_S: Final = 120.0
"""What ten thousand executions may take."""

Control = Literal["pause", "resume", "cancel", "terminate", "retry"]

Json = dict[str, Any]


class Client:
    """One server, as one tenant. Use it as a context.

    All methods raise RequestRefused and ServerUnreachable. Connections that are lost are made anew, and what was asked
    for happens once.
    """

    def __init__(self, url: str, *, token: str | None = None, tenant_id: str | None = None) -> None:
        """
        Args:
            tenant_id: sent as `X-Tenant-ID`, where a server without authentication looks; None: not sent.

        Raises:
            ClientError: the URL, token or tenant can't be used.
        """
        self._connection = Connection(url, token=token, tenant_id=tenant_id)

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.__aexit__(kind, error, trace)

    # --- workflows

    async def publish(self, document: Any) -> tuple[Json, bool]:
        """Publish a definition, as the first version of its workflow or the next; gives the workflow, and whether the
        version is new: the same content keeps its version.
        """
        new = ("POST", f"{API}/workflows", 409)
        workflow_id = document.get("id") if isinstance(document, dict) else None
        if not isinstance(workflow_id, str) or not workflow_id:
            return await self._publish(*new[:2], document)  # the server says what is wrong with it
        known = ("PUT", _path("workflows", workflow_id), 404)
        for method, path, other in (known, new):
            try:
                return await self._publish(method, path, document)
            except RequestRefused as refused:
                if refused.status != other:
                    raise
        return await self._publish(*known[:2], document)  # somebody else was first

    async def _publish(self, method: str, path: str, document: Any) -> tuple[Json, bool]:
        answer = await self._connection.request(method, path, body=document)
        return answer.body, answer.status == 201

    async def definition(self, workflow_id: str, version: int) -> Json:
        """The definition of one version."""
        body = await self._get(_path("workflows", workflow_id, "versions", str(version)))
        definition: Json = body["definition"]
        return definition

    # --- executions

    async def start(self, workflow_id: str, start: Json, *, wait_s: float = 0.0) -> Json:
        """Start an execution; gives it once it is accepted or, with `wait_s`, as it ends or stands then.

        Args:
            start: the body of the request: `{input, version, labels, execution_id, ...}`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        held_s = min(wait_s, HELD_S_MAX)
        answer = await self._connection.request(
            "POST",
            _path("workflows", workflow_id, "executions"),
            query=[("wait", f"{round(held_s * 1000)}ms")] if held_s > 0 else (),
            body=start,
            held_s=held_s,
        )
        execution: Json = answer.body
        while execution["status"] not in TERMINAL and (left_s := deadline - loop.time()) > 0:
            await asyncio.sleep(min(LOOK_S, left_s))
            execution = await self.execution(execution["execution_id"])
        return execution

    async def start_batch(self, workflow_id: str, starts: Sequence[Json]) -> Json:
        """Start at most 1,000 executions in one commit; gives `{items, accepted, refused}`, items in this order.

        Where none is accepted RequestRefused (`none_accepted`) names why, start by start.

        Args:
            starts: each as of `start`.
        """
        path = _path("workflows", workflow_id, "executions", "batch")
        answer = await self._connection.request("POST", path, body={"executions": starts}, held_s=BATCH_S)
        found: Json = answer.body
        return found

    async def execution(self, execution_id: str) -> Json:
        """One execution."""
        return await self._get(_path("executions", execution_id))

    async def executions(self, filters: Query) -> Json:
        """A page of executions, `{items, next_cursor}`."""
        return await self._get(f"{API}/executions", filters)

    async def steps(self, execution_id: str) -> AsyncIterator[Json]:
        """The steps of an execution, page by page, in the order in which they began."""
        cursor: str | None = None
        while True:
            query = [("limit", str(PAGE)), *([("cursor", cursor)] if cursor is not None else [])]
            page = await self._get(_path("executions", execution_id, "steps"), query)
            for step in page["items"]:
                yield step
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def step(self, execution_id: str, step_id: str) -> Json:
        """One step."""
        return await self._get(_path("executions", execution_id, "steps", step_id))

    async def control(self, execution_id: str, action: Control, body: Json | None = None) -> Json:
        """Pause, resume, cancel, terminate or retry an execution; gives it as it is then."""
        return await self._post(_path("executions", execution_id, action), body or {})

    async def fork(self, execution_id: str, body: Json) -> Json:
        """Start an execution that goes on from an event of this one; gives the new one.

        Args:
            body: `{sequence, version, variables}`, all of which may be left out.
        """
        return await self._post(_path("executions", execution_id, "fork"), body)

    async def migrate(self, execution_id: str, body: Json) -> Json:
        """Let an execution go on with another version; gives it or, of a dry run, `{possible, problems, steps}`.

        Args:
            body: `{version, nodes, dry_run}`.
        """
        return await self._post(_path("executions", execution_id, "migrate"), body)

    async def bulk(self, body: Json) -> Json:
        """Steer many executions; gives `{matched, succeeded, failed, execution_ids, next_cursor}`.

        Args:
            body: `{action, ids or filter or all, reason, compensate, limit, cursor, dry_run}`.
        """
        answer = await self._connection.request("POST", f"{API}/executions/bulk", body=body, held_s=BULK_S)
        found: Json = answer.body
        return found

    async def complete_step(self, execution_id: str, step_id: str, output: Any) -> Json:
        """Complete a step by hand; gives the execution."""
        return await self._post(_path("executions", execution_id, "steps", step_id, "complete"), {"output": output})

    async def skip_step(self, execution_id: str, step_id: str) -> Json:
        """Skip a step; gives the execution."""
        return await self._post(_path("executions", execution_id, "steps", step_id, "skip"), {})

    async def add_items(self, execution_id: str, step_id: str, items: list[Any]) -> Json:
        """Give a `foreach` that is under way more items; gives its step."""
        return await self._post(_path("executions", execution_id, "steps", step_id, "items"), {"items": items})

    async def signal(self, execution_id: str, name: str, payload: Any) -> Json:
        """Send a signal; it is kept until a wait takes it."""
        return await self._post(_path("executions", execution_id, "signals", name), {"payload": payload})

    def follow(self, execution_id: str, *, after: int, on_lost: OnLost) -> AsyncGenerator[Json]:
        """Every event after a sequence, in order, each once, until the execution has ended."""
        socket_path = f"/ws/v1/executions/{quote(execution_id, safe='')}"
        return follow(self._connection, _path("executions", execution_id), socket_path, after=after, on_lost=on_lost)

    async def _get(self, path: str, query: Query = ()) -> Json:
        answer = await self._connection.request("GET", path, query=query)
        body: Json = answer.body
        return body

    async def _post(self, path: str, body: Json) -> Json:
        answer = await self._connection.request("POST", path, body=body)
        found: Json = answer.body
        return found


def _path(*parts: str) -> str:
    return API + "".join(f"/{quote(part, safe='')}" for part in parts)
