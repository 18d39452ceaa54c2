"""The http node against a real server that answers byte for byte as scripted."""

import asyncio
import gzip
import os
import resource
import socket
import zlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from http_target import Target

from workflow_engine.models.step import Completed, Failed, StepCall, StepError
from workflow_engine.steps.http import HttpHandler

Build = Callable[..., StepCall]


async def output_of(handler: HttpHandler, call: StepCall) -> Any:
    outcome = await handler(call)
    assert isinstance(outcome, Completed), outcome
    return outcome.output


async def error_of(handler: HttpHandler, call: StepCall) -> StepError:
    outcome = await handler(call)
    assert isinstance(outcome, Failed), outcome
    return outcome.error


# What is sent


async def test_get_is_the_default_and_the_answer_is_status_headers_and_body(
    target: Target, handler: HttpHandler, step_call: Build
) -> None:
    target.replies(200, b'{"a": [1, 2.5, 12345678901234567]}', {"Content-Type": "application/json", "X-One": "1"})
    output = await output_of(handler, step_call({"url": target.url}))
    assert target.received[0].method == "GET"
    assert output["status"] == 200
    assert output["headers"]["x-one"] == "1"
    assert output["body"] == {"a": [1, 2.5, 12345678901234567]}


async def test_every_attempt_carries_the_same_idempotency_key_and_its_number(
    target: Target, handler: HttpHandler, step_call: Build
) -> None:
    target.replies()
    for attempt in (1, 2):
        await output_of(handler, step_call({"url": target.url}, attempt=attempt))
    sent = [(one.headers["idempotency-key"], one.headers["wf-attempt"]) for one in target.received]
    assert sent == [("key-1", "1"), ("key-1", "2")]
    assert target.received[0].headers["user-agent"].startswith("workflow-engine/")


async def test_a_definitions_own_idempotency_key_wins_and_its_wf_attempt_is_refused(
    target: Target, handler: HttpHandler, step_call: Build
) -> None:
    target.replies()
    await output_of(handler, step_call({"url": target.url, "headers": {"Idempotency-Key": "order-7"}}))
    assert target.received[0].headers["idempotency-key"] == "order-7"
    error = await error_of(handler, step_call({"url": target.url, "headers": {"Wf-Attempt": "1"}}))
    assert error.type == "invalid_input"


@pytest.mark.parametrize(
    ("given", "content_type", "body"),
    [
        ({"json": {"n": 2**60, "t": "ü"}}, "application/json", '{"n":1152921504606846976,"t":"ü"}'.encode()),
        ({"json": None}, "application/json", b"null"),
        ({"form": {"a": "x y", "b": [1, True], "c": None}}, "application/x-www-form-urlencoded", b"a=x+y&b=1&b=true"),
        ({"body": "plain"}, "text/plain; charset=utf-8", b"plain"),
        ({"body": "<a/>", "headers": {"content-type": "application/xml"}}, "application/xml", b"<a/>"),
    ],
)
async def test_a_body_is_sent_with_its_content_type(
    target: Target, handler: HttpHandler, step_call: Build, given: dict[str, Any], content_type: str, body: bytes
) -> None:
    target.replies()
    await output_of(handler, step_call({"method": "post", "url": target.url, **given}))
    assert target.received[0].method == "POST"
    assert target.received[0].headers["content-type"] == content_type
    assert target.received[0].body == body


async def test_query_auth_and_headers_reach_the_target(target: Target, handler: HttpHandler, step_call: Build) -> None:
    target.replies()
    basic = {"basic": {"user": "u", "password": "p:q"}}
    query = {"q": "a b&c", "n": [1, 2], "none": None, "flag": False}
    await output_of(handler, step_call({"url": target.url + "p?x=1", "query": query, "auth": {"bearer": "tok"}}))
    await output_of(handler, step_call({"url": target.url, "auth": basic, "headers": {"X-N": 7, "X-None": None}}))
    assert target.received[0].path == "/p?x=1&q=a+b%26c&n=1&n=2&flag=false"
    assert target.received[0].headers["authorization"] == "Bearer tok"
    assert target.received[1].headers["authorization"] == "Basic dTpwOnE="
    assert target.received[1].headers["x-n"] == "7"
    assert "x-none" not in target.received[1].headers


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"url": "https://a.example/", "headers": {"X-A": "v\r\nX-Evil: 1"}}, "headers.X-A"),
        ({"url": "https://a.example/", "headers": {"X-A\r\nEvil": "v"}}, "headers"),
        ({"url": "https://a.example/", "headers": {"X-A": "\ud800"}}, "headers.X-A"),
        ({"url": "https://a.example/", "headers": {"Host": "internal"}}, "headers.Host"),
        ({"url": "https://a.example/", "headers": {"Transfer-Encoding": "chunked"}}, "Transfer-Encoding"),
        ({"url": "https://a.example/", "headers": {"x-a": "1", "X-A": "2"}}, "twice"),
        ({"url": "https://a.example/", "headers": {"X-A": {"deep": 1}}}, "headers.X-A"),
        ({"url": "https://a.example/", "headers": ["x"]}, "headers"),
        ({"url": "https://a.example/", "query": "a=1"}, "query"),
        ({"url": "https://a.example/", "auth": {"bearer": "a\r\nb"}}, "auth.bearer"),
        ({"url": "https://a.example/", "auth": {"basic": {"user": "a:b", "password": ""}}}, "auth.basic"),
        ({"url": "https://a.example/", "auth": {"digest": 1}}, "auth"),
        ({"url": "https://a.example/", "auth": {"bearer": "a"}, "headers": {"authorization": "b"}}, "auth"),
        ({"url": "https://a.example/", "method": "GET /x HTTP/1.1\r\n"}, "method"),
        ({"url": "https://a.example/", "method": "CONNECT"}, "method"),
        ({"url": "https://a.example/", "json": 1, "body": "x"}, "json and body"),
        ({"url": "https://a.example/", "body": {"a": 1}}, "body"),
        ({"url": "https://a.example/", "expect": "2xx"}, "expect"),
        ({"url": "https://a.example/", "expect": []}, "expect"),
        ({"url": "https://a.example/", "expect": [True, 700]}, "expect"),
        ({"url": "https://a.example/", "response": "xml"}, "response"),
        ({"url": "https://a.example/", "redirect": True}, "redirect"),
        ({"url": "https://a.example/a b"}, "url"),
        ({"url": "https://a.example\\@b.example/"}, "url"),
        ({"url": "https://a\t.example/"}, "url"),
        ({"url": "https://a.example/\x00"}, "url"),
        ({"url": "https://user:pw@a.example/"}, "url"),
        ({"url": "http://a@127.0.0.1/"}, "url"),
        ({"url": "https://a.example:99999/"}, "url"),
        ({"url": "http:///path"}, "url"),
        ({"url": "http://[::1/"}, "url"),
        ({"url": ""}, "url"),
        ({"url": 5}, "url"),
        ({}, "url"),
        ("https://a.example/", "with"),
    ],
)
async def test_what_cant_be_a_request_is_invalid_input_and_names_the_part(
    handler: HttpHandler, step_call: Build, given: Any, named: str
) -> None:
    error = await error_of(handler, step_call(given))
    assert (error.type, error.no_effect) == ("invalid_input", True)
    assert named in error.message


async def test_a_secret_in_a_refused_header_or_url_is_not_repeated(handler: HttpHandler, step_call: Build) -> None:
    for given in (
        {"url": "https://a.example/", "headers": {"X-A": "canary\n"}},
        {"url": "https://a.example/", "auth": {"bearer": "canary\n"}},
        {"url": "https://u:canary@a.example/"},
        {"url": "https://a.example:canary/"},
    ):
        assert "canary" not in (await error_of(handler, step_call(given))).message


# What comes back


@pytest.mark.parametrize(
    ("status", "type_", "no_effect"),
    [
        (301, "http_301", False),
        (400, "http_400", False),
        (404, "http_404", False),
        (408, "timeout", False),
        (425, "http_425", False),
        (429, "rate_limited", True),
        (500, "http_500", False),
        (502, "unavailable", False),
        (503, "unavailable", True),
        (504, "unavailable", False),
    ],
)
async def test_a_status_outside_expect_becomes_its_error_type(
    target: Target, handler: HttpHandler, step_call: Build, status: int, type_: str, no_effect: bool
) -> None:
    target.replies(status, b'{"code": "x"}', {"Content-Type": "application/problem+json"})
    error = await error_of(handler, step_call({"url": target.url + "?token=canary"}))
    assert (error.type, error.no_effect) == (type_, no_effect)
    assert error.details == {"status": status, "body": {"code": "x"}}
    assert str(status) in error.message
    assert "canary" not in error.message


@pytest.mark.parametrize("expect", [[200, 404], "400-404", ["200-299", 404], 404])
async def test_an_expected_status_is_a_success(
    target: Target, handler: HttpHandler, step_call: Build, expect: Any
) -> None:
    target.replies(404, b"gone")
    output = await output_of(handler, step_call({"url": target.url, "expect": expect}))
    assert (output["status"], output["body"]) == (404, "gone")


async def test_a_redirect_is_not_followed_and_the_error_says_where_it_points(
    target: Target, handler: HttpHandler, step_call: Build
) -> None:
    target.replies(302, b"", {"Location": "http://169.254.169.254/latest"})
    error = await error_of(handler, step_call({"url": target.url}))
    assert error.type == "http_302"
    assert error.details["location"] == "http://169.254.169.254/latest"
    assert "redirects are not followed" in error.message
    assert len(target.received) == 1


async def test_an_errors_body_is_an_excerpt_of_bounded_length(
    target: Target, handler: HttpHandler, step_call: Build
) -> None:
    target.replies(500, b"\x00\xff" + b"x" * 100_000)
    error = await error_of(handler, step_call({"url": target.url}))
    assert len(error.details["body"]) == 2_000
    assert "\0" not in error.details["body"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "99999999999"}, 86_400.0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:10 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 10.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:10 GMT"}, 0.0),
        ({}, None),
    ],
)
async def test_retry_after_is_read_as_seconds_or_date_and_bounded(
    target: Target, handler: HttpHandler, step_call: Build, headers: dict[str, str], expected: float | None
) -> None:
    target.replies(429, b"", headers)
    assert (await error_of(handler, step_call({"url": target.url}))).retry_after_s == expected


async def test_a_retry_after_date_without_a_date_of_the_target_is_measured_by_our_clock(
    target: Target, handler: HttpHandler, step_call: Build
) -> None:
    target.replies(503, b"", {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)})
    retry_after_s = (await error_of(handler, step_call({"url": target.url}))).retry_after_s
    assert retry_after_s is not None
    assert 90 < retry_after_s <= 100


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": NaN}',
        b"[1e400]",
        b'"\\ud800"',
        b'"\xff"',
        b'{"a":',
        b"[" * 100_000,
        b"[" * 300 + b"]" * 300,
        b'"a\\u0000b"',
        b"1" * 5_000,
        b"",
    ],
)
async def test_a_body_that_says_json_and_is_not_storable_json_is_invalid_output(
    target: Target, handler: HttpHandler, step_call: Build, body: bytes
) -> None:
    target.replies(200, body, {"Content-Type": "application/json"})
    assert (await error_of(handler, step_call({"url": target.url, "response": "json"}))).type == "invalid_output"


@pytest.mark.parametrize(
    ("given", "content_type", "body", "expected"),
    [
        ({}, "application/json; charset=utf-8", b"\xef\xbb\xbf[1]", [1]),
        ({}, "application/vnd.api+json", b"{}", {}),
        ({}, "text/html; charset=latin-1", b"\xfc", "ü"),
        ({}, "text/plain", b"", None),
        ({}, "application/json", b"", None),
        ({"response": "text"}, "application/json", b"[1]", "[1]"),
        ({"response": "text"}, "text/plain", b"", ""),
        ({"response": "json"}, "text/plain", b"[18446744073709551615]", [18446744073709551615]),
    ],
)
async def test_a_body_is_json_or_text_by_response_and_content_type(
    target: Target,
    handler: HttpHandler,
    step_call: Build,
    given: dict[str, Any],
    content_type: str,
    body: bytes,
    expected: Any,
) -> None:
    target.replies(200, body, {"Content-Type": content_type})
    assert (await output_of(handler, step_call({"url": target.url, **given})))["body"] == expected


@pytest.mark.parametrize("headers", [{"Content-Type": "image/png"}, {"Content-Type": "text/plain; charset=klingon"}])
async def test_a_body_that_is_no_text_is_invalid_output(
    target: Target, handler: HttpHandler, step_call: Build, headers: dict[str, str]
) -> None:
    target.replies(200, b"\x89PNG\xff", headers)
    assert (await error_of(handler, step_call({"url": target.url}))).type == "invalid_output"


async def test_repeated_and_latin_1_headers_come_as_one_text_each(
    target: Target, handler: HttpHandler, step_call: Build
) -> None:
    target.sends(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nX-L: \xfc\r\nContent-Length: 0\r\n\r\n")
    headers = (await output_of(handler, step_call({"url": target.url})))["headers"]
    assert (headers["x-a"], headers["x-l"]) == ("1, 2", "ü")


async def test_an_answer_that_is_not_http_is_invalid_output(
    target: Target, handler: HttpHandler, step_call: Build
) -> None:
    target.sends(b"-ERR unknown command\r\n\r\n")
    assert (await error_of(handler, step_call({"url": target.url}))).type == "invalid_output"


async def test_cookies_are_not_kept(target: Target, handler: HttpHandler, step_call: Build) -> None:
    target.replies(200, b"", {"Set-Cookie": "session=tenant-a"})
    await output_of(handler, step_call({"url": target.url}))
    await output_of(handler, step_call({"url": target.url}))
    assert "cookie" not in target.received[1].headers


# Limits


async def test_a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not(target: Target, step_call: Build) -> None:
    handler = HttpHandler(["127.0.0.1"], body_max_bytes=2_000)
    target.replies(200, b"x" * 2_001)
    assert (await error_of(handler, step_call({"url": target.url}))).type == "payload_too_large"
    target.sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d1\r\n" + b"x" * 2_001 + b"\r\n0\r\n\r\n")
    assert (await error_of(handler, step_call({"url": target.url}))).type == "payload_too_large"
    target.replies(200, b"x" * 1_900)
    assert (await output_of(handler, step_call({"url": target.url})))["body"] == "x" * 1_900
    await handler.close()


async def test_an_endless_body_is_cut_at_the_limit_and_memory_stays_flat(
    target: Target, handler: HttpHandler, step_call: Build
) -> None:
    sent = 0

    async def pour(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    target.answer = pour
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = await error_of(handler, step_call({"url": target.url}))
    await target.closed_by_client.wait()
    assert error.type == "payload_too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024
    assert sent < 32 * 1024 * 1024


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_decompression_bomb_is_never_inflated_past_the_limit(
    target: Target, handler: HttpHandler, step_call: Build, encoding: str
) -> None:
    zeros = b"\0" * (256 * 1024 * 1024)
    bomb = gzip.compress(zeros, 9) if encoding == "gzip" else zlib.compress(zeros, 9)
    del zeros
    target.replies(200, bomb, {"Content-Encoding": encoding})
    handler._body_max_bytes = len(bomb) + 1  # the compressed length alone must not be what stops it
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = await error_of(handler, step_call({"url": target.url}))
    assert error.type == "payload_too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"hello")),
        ("deflate", zlib.compress(b"hello")),
        ("deflate", zlib.compress(b"hello", wbits=-15)),
    ],
)
async def test_compressed_bodies_are_read(
    target: Target, handler: HttpHandler, step_call: Build, encoding: str, body: bytes
) -> None:
    target.replies(200, body, {"Content-Encoding": encoding})
    assert (await output_of(handler, step_call({"url": target.url})))["body"] == "hello"


@pytest.mark.parametrize(
    ("encoding", "body"), [("gzip", b"not gzip"), ("gzip", gzip.compress(b"hello")[:-3]), ("br", b"x")]
)
async def test_a_body_that_cant_be_decompressed_is_invalid_output(
    target: Target, handler: HttpHandler, step_call: Build, encoding: str, body: bytes
) -> None:
    target.replies(200, body, {"Content-Encoding": encoding})
    assert (await error_of(handler, step_call({"url": target.url}))).type == "invalid_output"


# Deadlines and broken connections


def never_answer(_writer: asyncio.StreamWriter) -> Awaitable[None]:
    return asyncio.get_running_loop().create_future()


async def test_a_target_that_hangs_meets_the_total_timeout(
    target: Target, handler: HttpHandler, step_call: Build
) -> None:
    target.answer = never_answer
    error = await error_of(handler, step_call({"url": target.url}, timeout_s=0.1))
    assert (error.type, error.no_effect) == ("timeout", False)


async def test_a_drip_fed_body_meets_the_total_timeout(target: Target, handler: HttpHandler, step_call: Build) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.005)

    target.answer = drip
    assert (await error_of(handler, step_call({"url": target.url}, timeout_s=0.2))).type == "timeout"
    await target.closed_by_client.wait()


async def test_a_body_that_falls_silent_meets_the_idle_timeout(target: Target, step_call: Build) -> None:
    handler = HttpHandler(["127.0.0.1"], idle_timeout_s=0.05)

    async def stall(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
        await never_answer(writer)

    target.answer = stall
    error = await error_of(handler, step_call({"url": target.url}))
    assert error.type == "timeout"
    assert "in the middle of its answer" in error.message
    await handler.close()


async def test_a_known_status_is_reported_although_its_body_never_comes(
    target: Target, handler: HttpHandler, step_call: Build
) -> None:
    async def stall(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 404 No\r\nContent-Length: 10\r\n\r\nx")
        writer.close()

    target.answer = stall
    error = await error_of(handler, step_call({"url": target.url}))
    assert (error.type, error.details) == ("http_404", {"status": 404, "body": "x"})


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nxxx"])
async def test_a_connection_that_breaks_after_sending_is_unavailable_and_may_have_had_an_effect(
    target: Target, handler: HttpHandler, step_call: Build, data: bytes
) -> None:
    async def break_off(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    target.answer = break_off
    error = await error_of(handler, step_call({"method": "POST", "url": target.url, "json": 1}))
    assert (error.type, error.no_effect) == ("unavailable", False)


async def test_a_refused_connection_is_unavailable_without_effect(handler: HttpHandler, step_call: Build) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await error_of(handler, step_call({"url": f"http://127.0.0.1:{unused.getsockname()[1]}/"}))
    assert (error.type, error.no_effect) == ("unavailable", True)


async def test_an_unknown_host_is_unavailable_without_effect(step_call: Build) -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    handler = HttpHandler(resolve=unknown)
    error = await error_of(handler, step_call({"url": "http://nowhere.example/"}))
    assert (error.type, error.no_effect) == ("unavailable", True)
    await handler.close()


async def test_a_name_service_that_hangs_is_unavailable_after_the_connect_timeout(step_call: Build) -> None:
    async def hang(host: str, port: int) -> list[str]:
        return await asyncio.get_running_loop().create_future()

    handler = HttpHandler(resolve=hang, connect_timeout_s=0.05)
    error = await error_of(handler, step_call({"url": "http://slow.example/"}))
    assert (error.type, error.no_effect) == ("unavailable", True)
    await handler.close()


async def test_a_target_that_takes_no_connections_meets_the_connect_timeout(step_call: Build) -> None:
    handler = HttpHandler(["127.0.0.1"], connect_timeout_s=0.1)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # the kernel keeps so many connections that nobody accepted, and answers no more
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        error = await error_of(handler, step_call({"url": f"http://127.0.0.1:{port}/"}))
        for one in waiting:
            one.close()
    assert (error.type, error.no_effect) == ("timeout", True)
    await handler.close()


async def test_cancelling_a_call_closes_its_connection(target: Target, step_call: Build) -> None:
    handler = HttpHandler(["127.0.0.1"], connections_max=1)

    async def answer(writer: asyncio.StreamWriter) -> None:
        if len(target.received) == 1:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
            await reader_gone(writer)
        else:
            writer.write(b"HTTP/1.1 204 No\r\n\r\n")

    async def reader_gone(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"")
            if writer.transport.is_closing():
                raise ConnectionError
            await asyncio.sleep(0)

    target.answer = answer
    running = asyncio.create_task(handler(step_call({"url": target.url})))
    await target.reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    output = await output_of(handler, step_call({"url": target.url}))  # the only connection is free again
    assert (output["status"], target.connections) == (204, 2)
    await handler.close()


async def test_connections_are_used_again(target: Target, handler: HttpHandler, step_call: Build) -> None:
    target.replies(200, b"{}")
    for _ in range(20):
        await output_of(handler, step_call({"url": target.url}))
    assert (target.connections, len(target.received)) == (1, 20)


async def test_proxies_of_the_environment_are_not_used(
    target: Target, handler: HttpHandler, step_call: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "HTTP_PROXY", "http://127.0.0.1:1/")
    target.replies()
    assert (await output_of(handler, step_call({"url": target.url})))["status"] == 200


async def test_a_closed_handler_fails_calls_instead_of_raising(target: Target, step_call: Build) -> None:
    handler = HttpHandler(["127.0.0.1"])
    await handler.close()
    await handler.close()
    assert (await error_of(handler, step_call({"url": target.url}))).type == "unavailable"
