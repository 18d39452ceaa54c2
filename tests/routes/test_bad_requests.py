"""What strangers send: each refused with its problem, at little cost, and the next good request is answered."""

import asyncio
import gzip
from pathlib import Path

import pytest
from affordable import affordable
from api import CALL, PURE, Api, served

START = "/api/v1/workflows/call/executions"
CPU_S = 0.5
"""What a refusal may cost, its request and the check of its answer included; most cost a hundredth of it."""


async def refused(api: Api, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    """Status and code of a refusal that cost little."""
    for _ in affordable(CPU_S):
        reply = await api.call(method, path, body, **headers)
    return reply.status, reply.code


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[" * 100_000, (400, "too_deep")),
        (b'{"a":' * 100_000, (400, "too_deep")),
        (b'{"input": 1, "input": 2}', (400, "duplicate_key")),
        (b'{"input": {"x": [1, {"a": 1, "a": 1}]}}', (400, "duplicate_key")),
        (b'{"input": NaN}', (400, "not_finite")),
        (b'{"input": Infinity}', (400, "not_finite")),
        (b'{"input": 1e400}', (400, "not_finite")),
        (b'{"input": ' + b"9" * 5_000 + b"}", (400, "number_out_of_range")),
        (b'{"input": "\\u0000"}', (400, "nul_character")),
        (b'{"input": "\\ud800"}', (400, "lone_surrogate")),
        (b'{"input": "\xff"}', (400, "invalid_utf8")),
        (b'{"input": "\xc0\x80"}', (400, "invalid_utf8")),
        (b"{", (400, "invalid_json")),
        (b"{} {}", (400, "invalid_json")),
        (b"<start/>", (400, "invalid_json")),
        (b"[]", (422, "invalid_body")),
        (b'"x"', (422, "invalid_body")),
        (b'{"inptu": 1}', (422, "invalid_body")),
    ],
    ids=lambda given: repr(given)[:30],
)
async def test_a_body_that_is_no_start_is_refused_with_its_problem(
    api: Api, body: bytes, expected: tuple[int, str]
) -> None:
    await api.publish(CALL)
    assert await refused(api, "POST", START, body) == expected
    assert (await api.post(START, {"input": {"n": 1}})).status == 202


async def test_a_body_over_the_limit_is_413(tmp_path: Path) -> None:
    async with served(tmp_path, body_max_bytes=2_048) as small:
        await small.publish(CALL)
        assert await refused(small, "POST", START, b'{"input": "' + b"x" * 2_048 + b'"}') == (413, "body_too_large")
        exact = b'{"input": "' + b"x" * (2_048 - 13) + b'"}'
        assert len(exact) == 2_048
        assert (await small.post(START, exact)).status == 202


async def test_a_body_without_a_length_is_cut_off_at_the_limit(tmp_path: Path) -> None:
    async with served(tmp_path, body_max_bytes=2_048) as small:
        await small.publish(CALL)
        head = f"POST {START} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", int(small.url.rpartition(":")[2]))
        writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(3):
            writer.write(b"400\r\n" + b" " * 1_024 + b"\r\n")
        assert b" 413 " in await reader.readline()
        writer.close()


async def test_too_many_values_are_413(api: Api) -> None:
    await api.publish(CALL)
    body = b'{"input": [' + b"1," * 1_000_001 + b"1]}"
    assert await refused(api, "POST", START, body) == (413, "too_many_values")


async def test_exact_numbers_come_back_exactly(api: Api) -> None:
    await api.publish(CALL)
    for number in (b"9007199254740993", b"9223372036854775808", b"-9223372036854775808", b"0.1", b"1e300", b"-0.0"):
        reply = await api.post(START, b'{"input":{"n":' + number + b"}}")
        assert reply.status == 202, number
        assert b'"input":{"n":' + number + b"}" in reply.body.replace(b"1e+300", b"1e300")


async def test_other_media_types_and_encodings_are_415(api: Api) -> None:
    await api.publish(CALL)
    bomb = gzip.compress(b" " * 10_000_000)
    for kind in ("text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert await refused(api, "POST", START, b"{}", Content_Type=kind) == (415, "unsupported_media_type"), kind
    assert await refused(api, "POST", START, bomb, Content_Encoding="gzip") == (415, "unsupported_encoding")
    xml = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'
    for method, path in (("POST", "/api/v1/workflows"), ("POST", START), ("PATCH", "/api/v1/executions/x/variables")):
        assert await refused(api, method, path, xml, Content_Type="application/xml") == (415, "unsupported_media_type")


async def test_hostile_yaml_is_refused_or_plain_data(api: Api) -> None:
    bomb = b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    python = b"id: !!python/object/apply:os.system [id]\nnodes: []\n"
    merge = b"base: &x {id: y}\n<<: *x\n"
    for body in (bomb, python, merge, b"a: b: c", b"\x00"):
        status, _ = await refused(api, "POST", "/api/v1/workflows", body, Content_Type="application/yaml")
        assert status == 400, body


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=501",
        "limit=1000000000",
        "limit=x",
        "limit=1.5",
        "limit=",
        "limit=1&limit=2",
        "sort=created_at",
        "status=done",
        "since=yesterday",
        "since=2026-01-01",
        "until=2026-01-01T00:00:00",
        "label=team",
        "label=:x",
        "metadata.=x",
        "cursor=x",
        "cursor=",
        "workflow_id=" + "x" * 10_240,
        "label=a:" + "x" * 10_240,
        "&".join(f"label=k{n}:v" for n in range(9)),
        "label=a:1&label=a:2",
        "workflow_id=%00",
    ],
    ids=lambda query: query[:30],
)
async def test_a_list_refuses_what_it_does_not_know(api: Api, query: str) -> None:
    status, code = await refused(api, "GET", f"/api/v1/executions?{query}")
    assert (status, code.startswith("invalid_")) == (422, True)


async def test_unknown_query_parameters_are_refused_everywhere(api: Api) -> None:
    await api.publish(PURE)
    execution_id = (await api.start("pure", wait="5s", input={"n": 1}))["execution_id"]
    for method, path in (
        ("GET", "/api/v1/workflows"),
        ("GET", "/api/v1/workflows/pure"),
        ("GET", "/api/v1/workflows/pure/versions"),
        ("GET", "/api/v1/tasks"),
        ("GET", f"/api/v1/executions/{execution_id}"),
        ("GET", f"/api/v1/executions/{execution_id}/steps"),
        ("POST", f"/api/v1/executions/{execution_id}/pause"),
        ("POST", "/api/v1/workflows"),
        ("POST", "/api/v1/workflows/pure/executions"),
        ("DELETE", "/api/v1/workflows/pure"),
    ):
        assert await refused(api, method, f"{path}?bogus=1", b"{}" if method == "POST" else None) == (
            422,
            "invalid_parameter",
        ), path


async def test_cursors_count_only_where_they_were_made(api: Api) -> None:
    await api.publish(PURE)
    for _ in range(3):
        await api.start("pure", input={"n": 1})
    path = "/api/v1/executions?limit=1"
    cursor = (await api.get(path)).json["next_cursor"]
    assert (await api.get(f"{path}&cursor={cursor}")).status == 200
    flipped = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]
    for wrong in (flipped, cursor[:-4], cursor + "AAAA", "A" * 40, "é", "A" * 3_000, cursor[::-1]):
        assert (await api.get(f"{path}&cursor={wrong}")).code == "invalid_cursor", wrong
    assert (await api.get(f"{path}&status=completed&cursor={cursor}")).code == "invalid_cursor"
    assert (await api.get(f"/api/v1/workflows?cursor={cursor}")).code == "invalid_cursor"
    assert (await api.as_tenant("other").get(f"{path}&cursor={cursor}")).code == "invalid_cursor"


async def test_odd_ids_in_paths_are_like_unknown_ones(api: Api) -> None:
    for odd in ("%00", "..%2F..%2Fetc", "%E2%80%AE", "x" * 10_000, "%0a", "a%20b", "'--"):
        for path in (f"/api/v1/executions/{odd}", f"/api/v1/workflows/{odd}", f"/api/v1/tasks/{odd}"):
            status, code = await refused(api, "GET", path)
            assert (status, code) == (404, "not_found"), path


async def test_methods_that_a_route_does_not_have_are_405_with_those_it_has(api: Api) -> None:
    reply = await api.call("DELETE", "/api/v1/executions/x")
    assert (reply.status, reply.code) == (405, "method_not_allowed")
    assert "GET" in reply.headers["Allow"]
    assert (await api.get("/api/v1/nothing")).code == "not_found"


async def test_web_pages_of_others_can_not_drive_the_engine(api: Api) -> None:
    await api.publish(CALL)
    assert await refused(api, "POST", START, None, Origin="https://evil.example") == (403, "foreign_origin")
    assert await refused(api, "POST", START, None, Origin="null") == (403, "foreign_origin")
    assert await refused(api, "GET", "/api/v1/executions", None, Host="evil.example") == (403, "foreign_host")
    assert (await api.post(START, {"input": {"n": 1}}, Origin=api.url)).status == 202


async def test_malformed_tenants_are_422(api: Api) -> None:
    for tenant_id in ("", "a b", "../x", "-x", "x" * 129, "a/b"):
        assert (await api.as_tenant(tenant_id).get("/api/v1/executions")).code == "invalid_tenant", tenant_id
