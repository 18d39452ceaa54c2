"""Ways to run an example on a database of its own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from example_runs import EXAMPLES, Command, Ended, Execute, load_functions, run_command

from workflow_engine import Engine
from workflow_engine.config.settings import Settings
from workflow_engine.steps.function_registry import functions


@pytest.fixture(autouse=True)
def functions_of_one_example() -> Iterator[None]:
    """`@function` registers for the whole process: each example starts without what other tests registered."""
    before, functions._by_name = functions._by_name, {}
    yield
    functions._by_name = before


@pytest.fixture
def run(tmp_path: Path) -> Command:
    """Run an example by the command."""

    def start(name: str, given: Any, **settings: str) -> Ended:
        text = given if isinstance(given, str) else json.dumps(given)
        arguments = ["run", f"examples/{name}.yaml", "--input", text, "--db", str(tmp_path / "run.db")]
        return run_command(arguments, tmp_path, settings)

    return start


@pytest.fixture
def resume(tmp_path: Path) -> Command:
    """Go on by the command with an execution that `run` left waiting."""

    def start(execution_id: str, *arguments: str) -> Ended:
        return run_command(["resume", execution_id, "--db", str(tmp_path / "run.db"), *arguments], tmp_path, {})

    return start


@pytest.fixture
def execute(tmp_path: Path) -> Execute:
    """Run an example in this process to its end; gives the execution as the API shows it.

    `answer` is given to the node, and `signals` are sent, right after the start.
    """

    async def start(
        name: str, given: Any, *, answer: tuple[str, Any] | None = None, signals: list[tuple[str, Any]] | None = None
    ) -> dict[str, Any]:
        load_functions(EXAMPLES / f"{name}.py")
        settings = Settings(http_allow=("127.0.0.0/8",))
        async with Engine(f"sqlite:///{tmp_path}/engine.db", settings=settings) as engine:
            published = await engine.publish(EXAMPLES / f"{name}.yaml")
            execution = await engine.start(published.workflow_id, given)
            if answer is not None:
                await execution.answer(*answer)
            for name_of_signal, payload in signals or []:
                await execution.signal(name_of_signal, payload)
            return await execution.wait()

    return start
