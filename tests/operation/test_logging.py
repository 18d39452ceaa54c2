import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest
import structlog

from workflow_engine.config.logging import configure_logging
from workflow_engine.config.settings import Settings

HOSTILE = 'ok\n{"event": "forged"}\r\x1b[31mred\x00\u2028\u202e\ud800'


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was logged since it was last asked for."""
    return lambda: capsys.readouterr().err


def configured(log_format: str, log_level: str = "info") -> None:
    configure_logging(Settings(_env_file=None, log_format=log_format, log_level=log_level))  # type: ignore[arg-type]


def test_a_json_line_holds_whatever_stands_in_a_field(logged: Callable[[], str]) -> None:
    configured("json")
    structlog.get_logger().info("step.completed", name=HOSTILE, nested={"a": [HOSTILE]})
    line, end = logged().split("\n")
    assert end == ""
    assert line.isprintable()
    entry = json.loads(line)
    assert entry["name"] == HOSTILE
    assert (entry["event"], entry["level"]) == ("step.completed", "info")


def test_a_console_line_escapes_what_moves_the_cursor(logged: Callable[[], str]) -> None:
    configured("console")
    structlog.get_logger().info("step.completed", name=HOSTILE, nested={"a": HOSTILE}, empty="")
    line, end = logged().split("\n")
    assert end == ""
    assert line.isprintable()
    assert "\\x1b[31mred" in line
    assert 'empty=""' in line


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_libraries_log_the_same_way(logged: Callable[[], str], log_format: str) -> None:
    configured(log_format)
    logging.getLogger("some.library").warning("a %s message", HOSTILE)
    logging.getLogger("some.library").info("shown")
    logging.getLogger("some.library").debug("not shown")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    lines = logged().splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_a_traceback_cannot_forge_a_line(logged: Callable[[], str]) -> None:
    configured("console")
    try:
        raise ValueError("bad\n2026-01-01T00:00:00Z info    forged")
    except ValueError:
        structlog.get_logger().exception("request.failed")
    lines = logged().splitlines()
    assert "forged" in lines[-1]
    assert all(line.startswith("    | ") for line in lines[1:])


def test_a_traceback_is_one_json_line(logged: Callable[[], str]) -> None:
    configured("json")
    try:
        raise ValueError("bad")
    except ValueError:
        structlog.get_logger().exception("request.failed")
        logging.getLogger("library").exception("failed")
    entries = [json.loads(line) for line in logged().splitlines()]
    assert [("ValueError: bad" in entry["exception"]) for entry in entries] == [True, True]


def test_the_level_is_kept(logged: Callable[[], str]) -> None:
    configured("json", "error")
    structlog.get_logger().warning("not shown")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("not shown", stacklevel=1)
    assert logged() == ""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_log_that_cannot_be_written_stops_nobody(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stderr", full)
        configured(log_format)
        for _ in range(10):
            structlog.get_logger().error("step.completed", text="x" * 10_000)
            logging.getLogger("some.library").error("failed")
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
