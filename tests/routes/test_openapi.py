from typing import Any

import pytest
from api import PURE, Api, Contract

OURS = ("/api/v1/workflows", "/api/v1/executions", "/api/v1/tasks")


@pytest.fixture
async def contract(api: Api) -> Contract:
    return Contract((await api.get("/openapi.json")).json)


def operations_of(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, operations in document["paths"].items()
        if path.startswith(OURS) and not path.endswith("/events")
        for method, operation in operations.items()
    ]


async def test_every_route_says_what_it_does_takes_and_answers(contract: Contract) -> None:
    operations = operations_of(contract.document)
    assert len(operations) >= 25
    assert len({operation["operationId"] for _, _, operation in operations}) == len(operations)
    for method, path, operation in operations:
        place = f"{method} {path}"
        assert operation["summary"], place
        assert operation["description"], place
        for parameter in operation["parameters"]:
            assert parameter["schema"], (place, parameter)
        if method in ("POST", "PUT", "PATCH"):
            for media in operation["requestBody"]["content"].values():
                assert media["schema"], place
                assert media["example"] is not None, place
        for status, answer in operation["responses"].items():
            bare = status in ("204", "304")
            assert bare or answer["content"], (place, status)
            assert int(status) < 400 or answer["content"].keys() == {"application/problem+json"}, (place, status)


async def test_every_reference_of_the_document_leads_somewhere(contract: Contract) -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, list):
            return [found for item in value for found in references(item)]
        if not isinstance(value, dict):
            return []
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for name, item in value.items() if name != "example" for found in references(item)]

    schemas = contract.document["components"]["schemas"]
    for reference in references(contract.document):
        assert reference.removeprefix("#/components/schemas/") in schemas, reference


async def test_every_changing_route_honours_the_idempotency_key(contract: Contract) -> None:
    for method, path, operation in operations_of(contract.document):
        named = {parameter["name"] for parameter in operation["parameters"]}
        changes = method in ("POST", "PUT", "PATCH") and not path.endswith(("/validate", "/test"))
        assert ("Idempotency-Key" in named) is changes, (method, path)


async def test_the_examples_of_bodies_are_taken(api: Api, contract: Contract) -> None:
    examples = {
        operation["operationId"]: operation["requestBody"]["content"]["application/json"]["example"]
        for _, _, operation in operations_of(contract.document)
        if "requestBody" in operation
    }
    published = await api.post("/api/v1/workflows", examples["publishWorkflow"])
    assert published.status == 201, published
    started = await api.post(f"/api/v1/workflows/{published.json['id']}/executions", examples["startExecution"])
    assert (started.status, started.json["status"]) == (202, "paused")
    path = f"/api/v1/executions/{started.json['execution_id']}"
    for operation, method, place in (
        ("setVariables", "PATCH", "/variables"),
        ("sendSignal", "POST", "/signals/x"),
        ("pauseExecution", "POST", "/pause"),
        ("resumeExecution", "POST", "/resume"),
        ("migrateExecution", "POST", "/migrate"),
        ("forkExecution", "POST", "/fork"),
        ("skipStep", "POST", "/steps/approve.1/skip"),
    ):
        reply = await api.call(method, path + place, examples[operation])
        assert reply.status in (200, 201, 202), reply
    again = await api.post(f"/api/v1/workflows/{published.json['id']}/executions", examples["startExecution"])
    path = f"/api/v1/executions/{again.json['execution_id']}"
    assert (await api.post(f"{path}/cancel", examples["cancelExecution"])).status == 200
    assert (await api.post("/api/v1/executions/bulk", examples["steerExecutions"])).json["succeeded"] == 1
    assert (await api.post("/api/v1/workflows/validate", PURE)).json["valid"] is True
