import msgspec
from api import CALL, HOLD, PURE, Api

FIELDS = {"id", "version", "name", "labels", "definition", "archived", "created_at"}
YAML = b"""
id: hello
name: Hello
labels: {team: red}
nodes:
  - {id: greet, type: set, output: "${ 'no' }"}
"""


async def test_publishing_answers_201_with_the_version_its_tag_and_its_place(api: Api) -> None:
    reply = await api.post("/api/v1/workflows", PURE)
    assert reply.status == 201
    assert reply.json.keys() == FIELDS
    assert (reply.json["id"], reply.json["version"], reply.json["name"]) == ("pure", 1, "pure")
    assert (reply.json["definition"], reply.json["archived"]) == (PURE, False)
    assert reply.headers["Location"] == "/api/v1/workflows/pure/versions/1"
    shown = await api.get("/api/v1/workflows/pure")
    assert (shown.status, shown.json, shown.headers["ETag"]) == (200, reply.json, reply.headers["ETag"])
    assert (await api.get(reply.headers["Location"])).json == reply.json
    again = await api.post("/api/v1/workflows", PURE)
    assert (again.status, again.code) == (409, "already_exists")


async def test_yaml_is_taken_as_it_is_written(api: Api) -> None:
    reply = await api.call("POST", "/api/v1/workflows", YAML, Content_Type="application/yaml; charset=utf-8")
    assert reply.status == 201, reply
    assert (reply.json["name"], reply.json["labels"]) == ("Hello", {"team": "red"})


async def test_an_invalid_definition_is_422_with_every_problem(api: Api) -> None:
    wrong = {"id": "x", "nodes": [{"id": "a", "type": "sett"}, {"id": "b", "type": "set", "outptu": 1}]}
    reply = await api.post("/api/v1/workflows", wrong)
    assert (reply.status, reply.code) == (422, "definition_invalid")
    assert set(reply.paths) >= {"/nodes/0/type", "/nodes/1/outptu"}
    for body in ([], 1, None, "x"):
        assert (await api.call("POST", "/api/v1/workflows", msgspec.json.encode(body))).status == 422, body
    assert (await api.get("/api/v1/workflows/x")).status == 404


async def test_validate_answers_200_also_for_what_can_not_be_read(api: Api) -> None:
    path = "/api/v1/workflows/validate"
    good = await api.post(path, PURE)
    assert (good.status, good.json) == (200, {"valid": True, "problems": []})
    for body in (b"{", b'{"a":1,"a":2}', b"[NaN]", b"[1", b""):
        reply = await api.call("POST", path, body)
        assert (reply.status, reply.json["valid"]) == (200, False), body
        assert reply.json["problems"][0].keys() == {"severity", "code", "path", "message", "hint"}
    assert (await api.post(path, b"<x/>", Content_Type="application/xml")).status == 415
    assert (await api.get("/api/v1/workflows")).json["items"] == []


async def test_put_publishes_versions_and_keeps_equal_content(api: Api) -> None:
    await api.publish(PURE)
    same = await api.call("PUT", "/api/v1/workflows/pure", PURE)
    assert (same.status, same.json["version"]) == (200, 1)
    second = await api.call("PUT", "/api/v1/workflows/pure", PURE | {"name": "Second"})
    assert (second.status, second.json["version"], second.json["name"]) == (201, 2, "Second")
    assert [one["version"] for one in (await api.get("/api/v1/workflows/pure/versions")).json["items"]] == [2, 1]
    assert (await api.get("/api/v1/workflows/pure/versions/1")).json["name"] == "pure"
    assert [len(page) for page in await api.pages("/api/v1/workflows/pure/versions", 1)] == [1, 1]
    for version in ("0", "3", "x", "99999999999999999999", "-1"):
        assert (await api.get(f"/api/v1/workflows/pure/versions/{version}")).status == 404, version


async def test_put_refuses_unknown_ids_and_other_ids(api: Api) -> None:
    await api.publish(PURE)
    assert (await api.call("PUT", "/api/v1/workflows/call", CALL)).code == "not_found"
    reply = await api.call("PUT", "/api/v1/workflows/pure", CALL)
    assert (reply.status, reply.paths) == (422, ["/id"])


async def test_a_stale_tag_is_412(api: Api) -> None:
    await api.publish(PURE)
    first = (await api.get("/api/v1/workflows/pure")).headers["ETag"]
    path, second, third = "/api/v1/workflows/pure", PURE | {"name": "2"}, PURE | {"name": "3"}
    assert (await api.call("PUT", path, second, If_Match=first)).status == 201
    for stale in (first, f'"x", {first}', "", '"nonsense"', f"W/{first}"):
        reply = await api.call("PUT", path, third, If_Match=stale)
        assert (reply.status, reply.code) == (412, "outdated"), stale
    assert (await api.call("PUT", path, third, If_Match="*")).status == 201
    assert (await api.get(path)).json["version"] == 3


async def test_if_none_match_saves_the_body(api: Api) -> None:
    await api.publish(PURE)
    tag = (await api.get("/api/v1/workflows/pure")).headers["ETag"]
    for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        reply = await api.get("/api/v1/workflows/pure", If_None_Match=header)
        assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", tag), header
    assert (await api.get("/api/v1/workflows/pure", If_None_Match='"other"')).status == 200


async def test_an_archived_workflow_takes_no_starts_until_a_put_revives_it(api: Api) -> None:
    await api.publish(HOLD)
    running = await api.start("hold", input={"gate": "a"})
    for _ in range(2):
        reply = await api.call("DELETE", "/api/v1/workflows/hold")
        assert (reply.status, reply.body) == (204, b"")
    refused = await api.post("/api/v1/workflows/hold/executions", {"input": {"gate": "b"}})
    assert (refused.status, refused.code) == (409, "archived")
    assert (await api.get("/api/v1/workflows/hold")).json["archived"] is True
    assert (await api.get("/api/v1/workflows")).json["items"] == []
    assert (await api.execution(running["execution_id"]))["status"] == "running"
    revived = await api.call("PUT", "/api/v1/workflows/hold", HOLD)
    assert (revived.status, revived.json["archived"]) == (200, False)
    await api.start("hold", input={"gate": "b"})
    assert (await api.call("DELETE", "/api/v1/workflows/none")).status == 404


async def test_the_list_shows_latest_versions_by_id_and_filters_by_label(api: Api) -> None:
    for number in range(5):
        await api.publish(PURE | {"id": f"w{number}", "labels": {"team": "red" if number % 2 else "blue", "x": '"'}})
    await api.call("PUT", "/api/v1/workflows/w1", PURE | {"id": "w1", "labels": {"team": "red"}})
    pages = await api.pages("/api/v1/workflows", 2)
    assert [[(one["id"], one["version"]) for one in page] for page in pages] == [
        [("w0", 1), ("w1", 2)],
        [("w2", 1), ("w3", 1)],
        [("w4", 1)],
    ]
    red = (await api.get("/api/v1/workflows?label=team:red")).json["items"]
    assert [one["id"] for one in red] == ["w1", "w3"]
    both = (await api.get('/api/v1/workflows?label=team:red&label=x:"')).json["items"]
    assert [one["id"] for one in both] == ["w3"]
    assert red[0].keys() == FIELDS


async def test_strict_publishing_makes_errors_of_warnings(api: Api) -> None:
    lonely = {
        "id": "lonely",
        "start": ["a"],
        "nodes": [{"id": "a", "type": "set"}, {"id": "b", "type": "set"}],
    }
    found = (await api.post("/api/v1/workflows/validate", lonely)).json
    assert (found["valid"], [one["code"] for one in found["problems"]]) == (True, ["unreachable_node"])
    strictly = (await api.post("/api/v1/workflows/validate?strict=true", lonely)).json
    assert (strictly["valid"], [one["severity"] for one in strictly["problems"]]) == (False, ["error"])
    refused = await api.post("/api/v1/workflows?strict=true", lonely)
    assert (refused.status, refused.paths) == (422, ["/nodes/1"])
    assert (await api.post("/api/v1/workflows?strict=false", lonely)).status == 201
