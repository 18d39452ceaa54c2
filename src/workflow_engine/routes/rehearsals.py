"""The tests that a definition carries, run without publishing it."""

from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from workflow_engine.routes.answers import json_response
from workflow_engine.routes.bodies import read_document
from workflow_engine.routes.context import CallerOf
from workflow_engine.routes.openapi import DEFINITION_EXAMPLE, Answer, RequestBody, operation, parameter, text_filter
from workflow_engine.routes.queries import Query, refused
from workflow_engine.routes.resources import Resource
from workflow_engine.services.rehearsal import seeds_of

router = APIRouter(prefix="/api/v1/workflows", tags=["workflows"])

SEEDS_MAX: Final = 100


class TestProblem(Resource):
    """One thing in which a test failed."""

    what: str = Field(description="The field of the expectation, or what the test could not go on for.")
    message: str
    expected: Any
    actual: Any


class TestOutcome(Resource):
    """What came of a test: of the first run that failed, or of the last one."""

    name: str
    passed: bool
    seed: int | None = Field(description="Of the run that is told of; it fails again with the same seed.")
    runs: int
    status: Literal["pending", "running", "paused", "completed", "failed", "cancelled"]
    problems: list[TestProblem]
    path: list[str] = Field(description="Nodes of completed activations; of a long one the first thousand.")
    last_events: list[str] = Field(description="What happened last, where it failed.")
    virtual_s: float = Field(description="How far the test's clock went.")
    duration_ms: float = Field(description="What all its runs took.")


class Covered(Resource):
    """What the tests went through, all together."""

    covered: list[str]
    missed: list[str]


class TestCoverage(Resource):
    """Of a definition."""

    nodes: Covered
    connections: Covered


class TestResult(Resource):
    """What came of the tests of a definition."""

    passed: bool = Field(description="Every test that was chosen passed, and there was at least one.")
    tests: list[TestOutcome]
    coverage: TestCoverage


EXAMPLE: Final = {
    **DEFINITION_EXAMPLE,
    "tests": [{"name": "small amounts", "input": {"amount": 12}, "expect": {"path": ["policy", "paid"]}}],
}
EXAMPLE_YAML: Final = """id: hello
nodes:
  - {id: greet, type: set, output: "${ 'Hello ' + input.name }"}
tests:
  - {name: ada, input: {name: Ada}, expect: {output: Hello Ada}}
"""
BODY: Final = RequestBody(
    {
        "application/json": {"schema": {"type": "object"}, "example": EXAMPLE},
        "application/yaml": {"schema": {"type": "string"}, "example": EXAMPLE_YAML},
    },
    is_required=True,
)
SEEDS: Final = parameter(
    "seeds",
    {"type": "integer", "minimum": 1, "maximum": SEEDS_MAX},
    "Run each test under so many seeds, from which the order of what is simultaneous is drawn.",
)
NAME: Final = text_filter("name", "Only tests whose name holds this text.", "small")


@router.post(
    "/test",
    **operation(
        "testWorkflow",
        "Run the tests of a definition",
        body=BODY,
        answers={200: Answer("What came of them, whether they pass or not.", TestResult)},
        parameters=(SEEDS, NAME),
    ),
)
async def test_workflow(request: Request, caller: CallerOf) -> Response:
    """The body is a definition with `tests`, as JSON or YAML; it is not published. The tests run on a virtual clock,
    and nothing is called. 422 where the definition is not valid. All tests of a request together get ten seconds; the
    rest fails with a message that says so.
    """
    query = Query(request, ("seeds", "name"))
    seeds = _seeds(query.text("seeds"))
    document, _ = await read_document(request, caller.door.settings.body_max_bytes, takes_yaml=True)
    found = await caller.services.rehearsals.run(
        caller.tenant_id, document, seeds=seeds_of(seeds, None), name=query.text("name")
    )
    return json_response(found)


def _seeds(given: str | None) -> int | None:
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= 3 and 1 <= int(given) <= SEEDS_MAX):
        raise refused("seeds", f"must be an integer from 1 to {SEEDS_MAX}")
    return int(given)
