"""LangGraph with its SQLite saver, `durability="sync"`: the checkpoint after each step is committed before the next
begins.
"""

import operator
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from types import TracebackType
from typing import Annotated, Any, Self, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from bench.peers.works import Place, check, step

THREADS = 4
"""W2 and W6. One to sixteen were as fast, and so was the asynchronous saver: all wait for one interpreter lock."""

ALL_STEPS = 1_000_000
"""No limit on the steps of a run."""


class Number(TypedDict):
    """The state of a chain and of a row."""

    n: int
    until: int


class Numbers(TypedDict):
    """The state of a fan-out."""

    count: int
    results: Annotated[list[int], operator.add]
    total: int


def next_number(state: Number) -> dict[str, int]:
    """The step."""
    return {"n": step(state["n"])}


class LangGraph:
    """Threads of one process that share the saver's connection."""

    def __init__(self, place: Place) -> None:
        self._path = place.folder / "langgraph.db"
        self._started = 0

    def __enter__(self) -> Self:
        self._connection = sqlite3.connect(self._path, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._saver = SqliteSaver(self._connection)
        self._saver.setup()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def settings(self) -> dict[str, str]:
        """As the connection reports them."""
        mode = self._connection.execute("PRAGMA journal_mode").fetchone()[0]
        synchronous = self._connection.execute("PRAGMA synchronous").fetchone()[0]
        return {
            "engine": f"langgraph {version('langgraph')}, saver {version('langgraph-checkpoint-sqlite')}",
            "database": f"SQLite {sqlite3.sqlite_version}",
            "durability": f"{mode.upper()}, synchronous={'FULL' if synchronous == 2 else synchronous}, sync",
        }

    def chains(self, length: int, repeats: int) -> list[float]:
        """See `Peer`."""
        graph = self._chain(length)
        return [self._timed(graph, {"n": 0, "until": 0}, "n", length) for _ in range(repeats)]

    def many(self, length: int, ids: Sequence[str]) -> None:
        """See `Peer`."""
        graph = self._chain(length)

        def one(execution_id: str) -> None:
            check(self._invoke(graph, {"n": 0, "until": 0}, execution_id)["n"], length)

        self._side_by_side(one, ids)

    def fan_out(self, count: int) -> None:
        """One `Send` per item."""

        def spread(state: Numbers) -> list[Send]:
            return [Send("item", {"n": number, "until": 0}) for number in range(state["count"])]

        builder = StateGraph(Numbers)
        builder.add_node("item", lambda state: {"results": [step(state["n"])]})
        builder.add_node("total", lambda state: {"total": sum(state["results"])})
        builder.add_conditional_edges(START, spread, ["item"])
        builder.add_edge("item", "total")
        builder.add_edge("total", END)
        graph = builder.compile(checkpointer=self._saver)
        self._timed(graph, {"count": count, "results": [], "total": 0}, "total", count * (count + 1) // 2)

    def row(self, count: int) -> None:
        """A cycle."""
        builder = StateGraph(Number)
        builder.add_node("step", next_number)
        builder.add_edge(START, "step")
        builder.add_conditional_edges("step", lambda state: "step" if state["n"] < state["until"] else END)
        graph = builder.compile(checkpointer=self._saver)
        self._timed(graph, {"n": 0, "until": count}, "n", count)

    def recover(self, length: int, ids: Sequence[str]) -> None:
        """The library has no memory of what was running: the application asks for each thread's state and goes on."""
        graph = self._chain(length)

        def one(execution_id: str) -> None:
            has_begun = graph.get_state(self._config(execution_id)).created_at is not None
            state = self._invoke(graph, None if has_begun else {"n": 0, "until": 0}, execution_id)
            check(state["n"], length)

        self._side_by_side(one, ids)

    def _side_by_side(self, one: Any, ids: Sequence[str]) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(one, ids):
                pass

    def _chain(self, length: int) -> Any:
        builder = StateGraph(Number)
        names = [f"s{number}" for number in range(length)]
        for name in names:
            builder.add_node(name, next_number)
        for before, after in zip([START, *names], [*names, END], strict=True):
            builder.add_edge(before, after)
        return builder.compile(checkpointer=self._saver)

    def _timed(self, graph: Any, state: object, field: str, expected: object) -> float:
        self._started += 1
        begun = time.perf_counter()
        ended = self._invoke(graph, state, f"timed-{self._started}")
        taken = time.perf_counter() - begun
        check(ended[field], expected)
        return taken

    def _invoke(self, graph: Any, state: object, execution_id: str) -> Any:
        return graph.invoke(state, self._config(execution_id), durability="sync")

    def _config(self, execution_id: str) -> Any:
        return {"configurable": {"thread_id": execution_id}, "recursion_limit": ALL_STEPS}
