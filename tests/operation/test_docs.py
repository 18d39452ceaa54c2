import json
import re
from pathlib import Path

import aiohttp
from own_door import served

from workflow_engine.routes.docs import as_openapi_3_0


async def test_the_page_takes_everything_from_this_server(tmp_path: Path) -> None:
    async with served(tmp_path) as door, aiohttp.ClientSession(door.url) as client:
        async with client.get("/docs") as answer:
            page = await answer.text()
            policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy
        links = re.findall(r'(?:href|src)="([^"]+)"', page)
        assert len(links) == 4
        assert "<script>" not in page
        for link in links:
            assert link.startswith("/docs/assets/")
            async with client.get(link) as answer:
                assert answer.status == 200
                assert len(await answer.read()) > 100
        async with client.get("/docs/assets/start.js") as answer:
            assert "//" not in await answer.text()


async def test_nothing_but_the_assets_is_given_out(tmp_path: Path) -> None:
    async with served(tmp_path) as door:
        for path in ("index.html", "../../docs.py", "..%2f..%2fdocs.py", "swagger-ui.css.map", "%2fetc%2fpasswd"):
            request = f"GET /docs/assets/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            assert b" 404 " in await door.say(request.encode())


async def test_the_page_reads_the_same_operations_in_the_older_format(tmp_path: Path) -> None:
    async with served(tmp_path) as door, aiohttp.ClientSession(door.url) as client:
        async with client.get("/openapi.json") as answer:
            newer = await answer.json()
        async with client.get("/docs/openapi.json") as answer:
            older = await answer.json()
    assert newer["openapi"].startswith("3.1")
    assert older["openapi"].startswith("3.0")
    assert {path: set(item) for path, item in newer["paths"].items()} == {
        path: set(item) for path, item in older["paths"].items()
    }
    assert '{"type": "null"}' not in json.dumps(older)


def test_words_of_the_newer_format_are_put_into_older_ones() -> None:
    newer = {
        "word": {"const": "a"},
        "kinds": {"type": ["string", "null"]},
        "reference": {"anyOf": [{"$ref": "#/x"}, {"type": "null"}]},
        "number": {"type": "integer", "examples": [3, 4]},
        "bound": {"type": "integer", "exclusiveMinimum": 0},
        "values": {"example": {"const": "kept"}},
        "properties": {"const": {"const": "a"}, "default": {"type": ["integer", "null"]}},
    }
    assert as_openapi_3_0(newer) == {
        "openapi": "3.0.3",
        "word": {"enum": ["a"]},
        "kinds": {"type": "string", "nullable": True},
        "reference": {"anyOf": [{"$ref": "#/x"}], "nullable": True},
        "number": {"type": "integer", "example": 3},
        "bound": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
        "values": {"example": {"const": "kept"}},
        "properties": {"const": {"enum": ["a"]}, "default": {"type": "integer", "nullable": True}},
    }
