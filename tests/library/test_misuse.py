"""What a program can do wrong is refused at once, with the place and the way out, and nothing is left of it."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
import structlog
from library_engines import GATE, opened

from workflow_engine import (
    DefinitionInvalid,
    Engine,
    FunctionRegistry,
    InputInvalid,
    LimitExceeded,
    NotFound,
    SettingsInvalid,
    StoreUnavailable,
    WrongEventLoop,
)


async def test_an_unknown_execution_is_not_found_by_any_method(engine: Engine) -> None:
    nobody = engine.execution("nobody")
    for asked in (nobody.get(), nobody.result(), nobody.pause(), nobody.step("a.1"), anext(aiter(nobody.events()))):
        with pytest.raises(NotFound, match="nobody"):
            await asked
    with pytest.raises(TypeError, match="text, not int"):
        engine.execution(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("definition", "error", "message"),
    [
        (5, TypeError, "a Path, YAML or JSON text, or a dict"),
        ("order.yaml", TypeError, r"give Path\('order.yaml'\)"),
        (Path("order.yaml"), FileNotFoundError, "order.yaml"),
        ("a: [", DefinitionInvalid, "line 2"),
        (b"\xff", DefinitionInvalid, "not UTF-8"),
        ("\ud800", DefinitionInvalid, "not UTF-8"),
        ({"id": "a", "nodes": {1, 2}}, DefinitionInvalid, "/nodes: is a set"),
        ({1: 2}, DefinitionInvalid, "no string"),
    ],
)
async def test_garbage_is_not_published(engine: Engine, definition: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        await engine.publish(definition)


@pytest.mark.parametrize(
    ("fields", "error", "place"),
    [
        ({"input": object()}, LimitExceeded, "the input"),
        ({"input": {"when": {1, 2}}}, LimitExceeded, "/when"),
        ({"input": float("nan")}, LimitExceeded, "NaN"),
        ({"variables": {1: 2}}, InputInvalid, "variables"),
        ({"variables": {"a": b"x"}}, LimitExceeded, "variable a"),
        ({"labels": ["red"]}, InputInvalid, "/labels"),
        ({"labels": {"team": {}}}, InputInvalid, "/labels/team"),
        ({"priority": 10}, InputInvalid, "/priority"),
        ({"priority": "high"}, InputInvalid, "/priority"),
        ({"version": "1"}, InputInvalid, "/version"),
        ({"version": 2}, NotFound, "version 2"),
        ({"execution_id": "a b"}, InputInvalid, "/execution_id"),
        ({"delay": "soon"}, InputInvalid, "/delay"),
        ({"delay": 5}, InputInvalid, "/delay"),
    ],
)
async def test_a_start_that_is_not_right_names_the_field(
    engine: Engine, fields: dict[str, Any], error: type[Exception], place: str
) -> None:
    await engine.publish(GATE)
    with pytest.raises(error, match=place):
        await engine.start("gate", **fields)
    assert [1 async for _ in engine.executions()] == []


async def test_what_is_refused_leaves_no_trace_in_the_log(engine: Engine) -> None:
    await engine.publish(GATE)
    execution = await engine.start("gate")
    before = await execution.get()
    wrong: list[Any] = [
        execution.signal(5),  # type: ignore[arg-type]
        execution.signal(""),
        execution.signal("go", object()),
        execution.set_variables({1: 2}),  # type: ignore[dict-item]
        execution.cancel(5),  # type: ignore[arg-type]
        execution.terminate(""),
        execution.complete_step("go.1", object()),
    ]
    for asked in wrong:
        with pytest.raises((InputInvalid, LimitExceeded)):
            await asked
    assert await execution.get() == before


def test_another_event_loop_is_refused(tmp_path: Path) -> None:
    """From another thread and from a second `asyncio.run`, at once; through the engine's own loop it is served."""

    async def elsewhere(engine: Engine) -> None:
        with pytest.raises(WrongEventLoop, match="run_coroutine_threadsafe"):
            await engine.publish(GATE)

    def in_a_thread(engine: Engine, loop: asyncio.AbstractEventLoop) -> Any:
        asyncio.run(elsewhere(engine))
        return asyncio.run_coroutine_threadsafe(engine.publish(GATE), loop).result(60)

    async def main() -> None:
        async with opened(tmp_path / "a.db") as engine:
            found = await asyncio.to_thread(in_a_thread, engine, asyncio.get_running_loop())
            assert found == ("gate", 1, True)

    asyncio.run(main())


async def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tenant_id"):
        Engine(tenant_id="a b")
    with pytest.raises(StoreUnavailable, match="sqlite:////absolute/path"):
        async with Engine("orders.db"):
            pass
    with pytest.raises(SettingsInvalid, match="HTTP_ALLOW"):
        async with opened(tmp_path / "a.db", http_allow=("no host/at all",)):
            pass
    with pytest.raises(SettingsInvalid, match="FUNCTIONS: 'no_such_module'"):
        async with opened(tmp_path / "a.db", modules=("no_such_module",)):
            pass
    async with opened(tmp_path / "a.db") as engine:  # it was never locked
        await engine.publish(GATE)


async def test_the_log_goes_to_logging_unless_the_program_says_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    functions = FunctionRegistry()

    @functions.function
    def work(secret: str) -> None:
        raise LookupError("not there")

    node = {"id": "a", "type": "function", "with": {"name": "work", "arguments": {"secret": "swordfish"}}}
    before = structlog.get_config()
    structlog.reset_defaults()
    try:
        with caplog.at_level(logging.WARNING):
            async with opened(tmp_path / "a.db", functions) as engine:
                await engine.publish({"id": "call", "nodes": [node]})
                assert (await (await engine.start("call")).wait())["status"] == "failed"
    finally:
        structlog.configure(**before)
    (record,) = [one for one in caplog.records if one.name.startswith("workflow_engine")]
    assert (record.name, record.levelname) == ("workflow_engine.steps.function", "WARNING")
    assert record.getMessage() == "function.raised function=work"
    assert "LookupError: not there" in caplog.text
    assert "swordfish" not in caplog.text + "".join(capsys.readouterr())
