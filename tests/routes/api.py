"""A client of the HTTP API, and definitions for the tests of its routes."""

import asyncio
import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

import aiohttp
import msgspec
from jsonschema import Draft202012Validator
from multidict import CIMultiDictProxy

from workflow_engine import function
from workflow_engine.config.settings import Settings
from workflow_engine.server import serve

TIMEOUT_S = 30.0

GATES: dict[str, asyncio.Event] = {}
"""What the function `routes.hold` waits for, by name."""


@function("routes.double")
async def double(n: int) -> int:
    """The smallest call."""
    return 2 * n


@function("routes.hold")
async def hold(gate: str) -> str:
    """Waits until the test opens the gate."""
    await GATES.setdefault(gate, asyncio.Event()).wait()
    return "through"


@function("routes.refuse")
async def refuse(reason: str) -> None:
    """Fails at once."""
    raise ValueError(reason)


PURE: dict[str, Any] = {
    "id": "pure",
    "input": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}},
    "nodes": [{"id": "twice", "type": "set", "output": "${ input.n * 2 }"}],
}
CALL: dict[str, Any] = {
    "id": "call",
    "nodes": [
        {"id": "double", "type": "function", "with": {"name": "routes.double", "arguments": {"n": "${ input.n }"}}}
    ],
}
HOLD: dict[str, Any] = {
    "id": "hold",
    "nodes": [
        {"id": "held", "type": "function", "with": {"name": "routes.hold", "arguments": {"gate": "${ input.gate }"}}},
        {"id": "after", "type": "set", "output": "${ vars }"},
    ],
    "variables": {"limit": 1},
    "connections": [{"from": "held", "to": "after"}],
    "output": "${ steps.after.output }",
}
FAILING: dict[str, Any] = {
    "id": "failing",
    "nodes": [
        {
            "id": "refused",
            "type": "function",
            "with": {"name": "routes.refuse", "arguments": {"reason": "no"}},
            "retry": {"max_attempts": 1},
        }
    ],
}
SIGNAL: dict[str, Any] = {
    "id": "signalled",
    "nodes": [{"id": "paid", "type": "wait", "with": {"signal": "payment/confirmed"}}],
}
FORM: dict[str, Any] = {
    "type": "object",
    "required": ["approved"],
    "properties": {"approved": {"type": "boolean"}, "note": {"type": "string", "maxLength": 10}},
}
HUMAN: dict[str, Any] = {
    "id": "asked",
    "nodes": [
        {
            "id": "approve",
            "type": "human",
            "with": {
                "title": "Approve ${ input.amount } EUR?",
                "form": FORM,
                "assignees": ["user:${ input.who }", "role:finance"],
                "due": "48h",
            },
        },
        {"id": "sorry", "type": "set", "output": "${ error.type }"},
    ],
    "connections": [{"from": "approve", "to": "sorry", "on": "error"}],
}


class Reply(NamedTuple):
    """An answer, read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        """The stable code of a problem document, whose form is checked on the way."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        problem = self.json
        assert problem["status"] == self.status
        assert {"type", "title", "status", "detail", "instance", "code"} <= problem.keys()
        return str(problem["code"])

    @property
    def paths(self) -> list[str]:
        """The places that a problem document names."""
        return [problem["path"] for problem in self.json["problems"]]


class Contract:
    """What the OpenAPI document promises: every answer of every test is held against it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._validators: dict[str, Draft202012Validator] = {}
        self._operations = [
            (method.upper(), re.compile(_pattern(path)), operation)
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        ]

    def check(self, method: str, path: str, reply: Reply) -> None:
        """Assert that the answer has a status and a body that the route's documentation knows."""
        bare = unquote(path.partition("?")[0])
        for one, pattern, operation in self._operations:
            if one == method and pattern.fullmatch(bare) and not bare.endswith("/events"):
                documented = operation["responses"].get(str(reply.status))
                assert documented is not None, f"{method} {path} answers {reply.status}, which is not documented"
                self._check_body(documented.get("content"), reply)
                return

    def _check_body(self, content: dict[str, Any] | None, reply: Reply) -> None:
        if content is None:
            assert reply.body == b""
            return
        schema = content[reply.headers["Content-Type"]].get("schema")
        if schema is not None and "$ref" in schema:
            self._validator(schema["$ref"]).validate(reply.json)

    def _validator(self, reference: str) -> Draft202012Validator:
        if reference not in self._validators:
            whole = {"$ref": reference, "components": self.document["components"]}
            self._validators[reference] = Draft202012Validator(whole)
        return self._validators[reference]


def _pattern(path: str) -> str:
    parts = re.split(r"\{(\w+)\}", path)
    names = {"name": ".+"}
    return "".join(names.get(part, "[^/]+") if place % 2 else re.escape(part) for place, part in enumerate(parts))


CONTRACTS: list[Contract] = []
"""The one of this release, once a server was asked for it."""


class Api:
    """Talks to a server as one tenant."""

    def __init__(self, session: aiohttp.ClientSession, url: str, tenant_id: str = "default") -> None:
        self._session = session
        self.url = url
        self.tenant_id = tenant_id

    def as_tenant(self, tenant_id: str) -> "Api":
        """The same server for somebody else."""
        return Api(self._session, self.url, tenant_id)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Any request; a body that is no bytes is sent as JSON. `Content_Type` and the like are headers."""
        named = {"X-Tenant-ID": self.tenant_id} | {name.replace("_", "-"): text for name, text in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = msgspec.json.encode(body)
        if body is not None:
            named.setdefault("Content-Type", "application/json")
        skipped = [] if "Content-Type" in named else ["Content-Type"]
        async with self._session.request(
            method,
            self.url + path,
            data=io.BytesIO(body) if body is not None else None,
            headers=named,
            skip_auto_headers=skipped,
        ) as response:
            reply = Reply(response.status, response.headers, await response.read())
        if CONTRACTS and method != "HEAD":
            CONTRACTS[0].check(method, path, reply)
        return reply

    async def get(self, path: str, **headers: str) -> Reply:
        return await self.call("GET", path, **headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> Reply:
        return await self.call("POST", path, body, **headers)

    async def publish(self, *definitions: dict[str, Any]) -> None:
        for definition in definitions:
            reply = await self.post("/api/v1/workflows", definition)
            assert reply.status == 201, reply

    async def start(self, workflow_id: str, *, wait: str = "", **body: Any) -> dict[str, Any]:
        """Start an execution; gives the resource."""
        reply = await self.post(f"/api/v1/workflows/{workflow_id}/executions" + (f"?wait={wait}" if wait else ""), body)
        assert reply.status in (200, 202), reply
        started: dict[str, Any] = reply.json
        return started

    async def execution(self, execution_id: str) -> dict[str, Any]:
        reply = await self.get(f"/api/v1/executions/{execution_id}")
        assert reply.status == 200, reply
        shown: dict[str, Any] = reply.json
        return shown

    async def until(self, execution_id: str, *statuses: str) -> dict[str, Any]:
        """The execution once it has one of these statuses."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                shown = await self.execution(execution_id)
                if shown["status"] in statuses:
                    return shown
                await asyncio.sleep(0.005)

    async def pages(self, path: str, limit: int) -> list[list[dict[str, Any]]]:
        """Every page of a list."""
        pages = []
        cursor = ""
        while True:
            joint = "&" if "?" in path else "?"
            reply = await self.get(f"{path}{joint}limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
            assert reply.status == 200, reply
            pages.append(reply.json["items"])
            cursor = reply.json["next_cursor"]
            if cursor is None:
                return pages

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()


@asynccontextmanager
async def served(folder: Path, **values: Any) -> AsyncIterator[Api]:
    """A real server in this process, on a fresh database and a free loopback port, until the block is left."""
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    chosen = {"database_url": f"sqlite:///{folder}/routes.db", "shutdown_grace": 0, **values}
    settings = Settings(_env_file=None, **chosen)
    running = asyncio.create_task(serve(settings, "127.0.0.1", 0, announce=listening.set_result, until=stop.wait))
    await asyncio.wait([running, listening], return_when=asyncio.FIRST_COMPLETED)
    session = aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(TIMEOUT_S), connector=aiohttp.TCPConnector(limit=0), requote_redirect_url=False
    )
    try:
        async with Api(session, listening.result() if listening.done() else "") as api:
            if not CONTRACTS:
                CONTRACTS.append(Contract((await api.get("/openapi.json")).json))
            yield api
    finally:
        for gate in GATES.values():
            gate.set()
        GATES.clear()
        stop.set()
        await running
