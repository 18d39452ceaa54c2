"""`start --batch`: what a file lists, started on a server, a thousand in a request."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from workflow_engine.cli import arguments
from workflow_engine.cli.failure import EXIT_COMPLETED, EXIT_REFUSED, CommandFailed
from workflow_engine.cli.output import Output
from workflow_engine.cli.remote import PAYLOAD_BYTES_MAX, Server, failure_of
from workflow_engine.cli.text import visible
from workflow_engine.models.document import DocumentInvalid, parse_json

if TYPE_CHECKING:
    from workflow_engine.client import Client, RequestRefused

OPTION: Final = "--batch"
STARTS_MAX: Final = 1_000
"""Of one request."""
BYTES_MAX: Final = 3 * 1024 * 1024
"""Of one request; a server takes 4 MiB unless told otherwise."""
REFUSED_SHOWN_MAX: Final = 100

Found = dict[str, Any]


def start_batch(output: Output, server: Server, workflow: str, name: str) -> int:
    """Start everything that the file lists; gives the exit code."""
    starts = _read(name)
    found: Found = {"items": [], "accepted": 0, "refused": 0}
    server.call(lambda client: _start(client, output, workflow, starts, found))
    if output.is_json:
        output.json(found)
    else:
        output.note(f"started {found['accepted']} of {len(starts)} executions of {workflow}")
    return EXIT_REFUSED if found["refused"] else EXIT_COMPLETED


async def _start(client: "Client", output: Output, workflow: str, starts: list[Any], found: Found) -> None:
    from workflow_engine.client import ClientError, RequestRefused

    for part in _parts(starts):
        try:
            answer = await client.start_batch(workflow, part)
        except ClientError as error:
            if not isinstance(error, RequestRefused) or error.code != "none_accepted":
                failure = failure_of(error)
                failure.data = found
                raise failure from None
            answer = _none_accepted(part, error)
        _take(output, found, answer)


def _take(output: Output, found: Found, answer: Found) -> None:
    """Add what one request came to, and tell it."""
    before = len(found["items"])
    for item in answer["items"]:
        item["index"] += before
        found["items"].append(item)
        if item["status"] == 202:
            found["accepted"] += 1
            if not output.is_json:
                output.text(item["execution_id"])
            continue
        found["refused"] += 1
        if found["refused"] <= REFUSED_SHOWN_MAX:
            problem = item["problem"]
            output.note(f"start {item['index'] + 1}: {problem['code']}: {visible(problem['detail'])}")


def _none_accepted(part: list[Any], refused: "RequestRefused") -> Found:
    """The same form of answer where a request was refused for each of its starts."""
    items = [
        {
            "index": place,
            "status": refused.status,
            "execution_id": start.get("execution_id") if isinstance(start, dict) else None,
            "problem": {"code": problem.code, "detail": problem.message},
        }
        for place, (start, problem) in enumerate(zip(part, refused.problems, strict=True))
    ]
    return {"items": items, "accepted": 0, "refused": len(items)}


def _parts(starts: list[Any]) -> Iterator[list[Any]]:
    """What goes into each request."""
    part: list[Any] = []
    size_bytes = 0
    for start in starts:
        start_bytes = len(msgspec.json.encode(start))
        if part and (len(part) == STARTS_MAX or size_bytes + start_bytes > BYTES_MAX):
            yield part
            part, size_bytes = [], 0
        part.append(start)
        size_bytes += start_bytes
    yield part


def _read(name: str) -> list[Any]:
    """A JSON list, or JSON lines."""
    data = arguments.read_bytes(name, OPTION, PAYLOAD_BYTES_MAX)
    if len(data) > PAYLOAD_BYTES_MAX:
        raise CommandFailed(f"{OPTION}: {name} is larger than {PAYLOAD_BYTES_MAX} bytes", hint="split the file")
    if data.lstrip()[:1] == b"[":
        starts: list[Any] = _parse(data, name)
    else:
        lines = enumerate(data.splitlines(), start=1)
        starts = [_parse(line, f"{name} line {number}") for number, line in lines if line.strip()]
    if not starts:
        raise CommandFailed(f"{OPTION}: {name} lists nothing to start")
    return starts


def _parse(data: bytes, place: str) -> Any:
    try:
        return parse_json(data, bytes_max=PAYLOAD_BYTES_MAX)
    except DocumentInvalid as error:
        raise CommandFailed(
            f"{OPTION}: {place} can't be used as JSON: {error}", code=error.problem.code, hint=error.problem.hint
        ) from None
