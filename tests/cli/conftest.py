"""The command, run in this process or as one of its own, with a data folder of its own."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from cli_command import Held, Ran
from served import Served

from workflow_engine.cli.entry import main


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield
    sys.path[:] = path
    structlog.reset_defaults()


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run the command in this process."""

    def run(*words: object) -> Ran:
        capfd.readouterr()
        code = main([str(word) for word in words])
        return Ran(code, *capfd.readouterr())

    return run


@pytest.fixture
def hold() -> Iterator[Callable[..., Held]]:
    held: list[Held] = []

    def start(*words: object, **env: str) -> Held:
        held.append(Held(*words, **env))
        return held[-1]

    yield start
    for one in held:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all; each test has workflows of its own."""
    served = Served(tmp_path_factory.mktemp("served"))
    yield served
    served.end()


@pytest.fixture
def remote(cli: Callable[..., Ran], server: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run the command in this process; `WORKFLOW_ENGINE_URL` names the server."""
    monkeypatch.setenv("WORKFLOW_ENGINE_URL", server.url)
    return cli
