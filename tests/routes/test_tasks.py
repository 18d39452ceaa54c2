from datetime import datetime, timedelta

import pytest
from api import HUMAN, SIGNAL, Api

FIELDS = {
    "task_id",
    "execution_id",
    "workflow_id",
    "node_id",
    "step_id",
    "status",
    "title",
    "instructions",
    "form",
    "assignees",
    "due",
    "created_at",
    "completed_at",
    "completed_by",
}


@pytest.fixture
async def inbox(api: Api) -> Api:
    """Three waiting tasks, of anna, ben and anna."""
    await api.publish(HUMAN)
    for number, who in enumerate(("anna", "ben", "anna")):
        await api.start("asked", input={"amount": number, "who": who}, execution_id=f"e{number}")
    return api


async def test_the_inbox_shows_what_is_asked(inbox: Api) -> None:
    items = (await inbox.get("/api/v1/tasks?type=human&status=waiting")).json["items"]
    assert [item["title"] for item in items] == ["Approve 0 EUR?", "Approve 1 EUR?", "Approve 2 EUR?"]
    task = items[0]
    assert task.keys() == FIELDS
    assert (task["execution_id"], task["workflow_id"], task["node_id"], task["step_id"]) == (
        "e0",
        "asked",
        "approve",
        "approve.1",
    )
    assert task["assignees"] == ["user:anna", "role:finance"]
    opened, due = (datetime.fromisoformat(task[name]) for name in ("created_at", "due"))
    assert due - opened == timedelta(hours=48)
    assert (await inbox.get(f"/api/v1/tasks/{task['task_id']}")).json == task


async def test_the_inbox_filters_and_pages(inbox: Api) -> None:
    async def listed(query: str) -> list[str]:
        reply = await inbox.get(f"/api/v1/tasks?{query}")
        assert reply.status == 200, reply
        return [item["execution_id"] for item in reply.json["items"]]

    assert await listed("assignee=user:anna") == ["e0", "e2"]
    assert await listed("assignee=user:ann") == []
    assert await listed("assignee=role:finance&workflow_id=asked") == ["e0", "e1", "e2"]
    assert await listed("workflow_id=other") == []
    assert await listed("due_before=2000-01-01T00:00:00Z") == []
    assert await listed("due_before=2900-01-01T00:00:00Z") == ["e0", "e1", "e2"]
    assert await listed("status=completed") == []
    pages = await inbox.pages("/api/v1/tasks", 2)
    assert [[item["execution_id"] for item in page] for page in pages] == [["e0", "e1"], ["e2"]]
    assert [len(page) for page in await inbox.pages("/api/v1/tasks?assignee=user:anna", 1)] == [1, 1]


async def test_an_answer_that_does_not_fit_the_form_is_422_with_the_places(inbox: Api) -> None:
    task = (await inbox.get("/api/v1/tasks")).json["items"][0]
    path = f"/api/v1/tasks/{task['task_id']}/complete"
    reply = await inbox.post(path, {"output": {"approved": "yes", "note": "much too long"}})
    assert (reply.status, reply.code, sorted(reply.paths)) == (422, "invalid_input", ["/approved", "/note"])
    assert (await inbox.post(path, {"output": {}})).status == 422
    assert (await inbox.post(path, {"answer": {}})).paths == ["/answer"]
    assert (await inbox.post(path)).status == 422
    assert (await inbox.get(f"/api/v1/tasks/{task['task_id']}")).json["status"] == "waiting"


async def test_an_answer_completes_the_task_once(inbox: Api) -> None:
    task = (await inbox.get("/api/v1/tasks")).json["items"][0]
    path = f"/api/v1/tasks/{task['task_id']}"
    reply = await inbox.post(f"{path}/complete", {"output": {"approved": True}})
    assert (reply.status, reply.json["status"]) == (200, "completed")
    assert (await inbox.execution("e0"))["output"] == {"approved": True}
    shown = (await inbox.get(path)).json
    assert (shown["status"], shown["due"], shown["created_at"]) == ("completed", task["due"], task["created_at"])
    for action, body in (("complete", {"output": {"approved": True}}), ("fail", {"error": {"type": "x"}})):
        again = await inbox.post(f"{path}/{action}", body)
        assert (again.status, again.code) == (409, "not_waiting")
    waiting = (await inbox.get("/api/v1/tasks")).json["items"]
    assert [item["execution_id"] for item in waiting] == ["e1", "e2"]
    closed = (await inbox.get("/api/v1/tasks?status=completed")).json["items"]
    assert [item["execution_id"] for item in closed] == ["e0"]


async def test_a_failed_task_fails_its_step_with_that_error(inbox: Api) -> None:
    task = (await inbox.get("/api/v1/tasks?assignee=user:ben")).json["items"][0]
    error = {"type": "declined", "message": "not mine", "details": {"why": 1}}
    reply = await inbox.post(f"/api/v1/tasks/{task['task_id']}/fail", {"error": error})
    assert (reply.status, reply.json["status"]) == (200, "failed")
    ended = await inbox.execution("e1")
    assert (ended["status"], ended["output"]) == ("completed", "declined")


async def test_tasks_of_a_cancelled_execution_are_over(inbox: Api) -> None:
    task = (await inbox.get("/api/v1/tasks")).json["items"][0]
    await inbox.post("/api/v1/executions/e0/cancel", {})
    assert (await inbox.get(f"/api/v1/tasks/{task['task_id']}")).json["status"] == "cancelled"
    reply = await inbox.post(f"/api/v1/tasks/{task['task_id']}/complete", {"output": {"approved": True}})
    assert (reply.status, reply.code) == (409, "not_waiting")


async def test_what_is_no_person_s_task_is_404(inbox: Api) -> None:
    await inbox.publish(SIGNAL)
    await inbox.start("signalled")
    for task_id in ("timer", "approve.1", "00000000-0000-4000-8000-000000000000"):
        assert (await inbox.get(f"/api/v1/tasks/{task_id}")).code == "not_found"
        assert (await inbox.post(f"/api/v1/tasks/{task_id}/complete", {"output": 1})).code == "not_found"
