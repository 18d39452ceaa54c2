"""Runs executions: commands in, one transition after another, effects out once they are durable.

Every execution that has something to do is a `Resident`: its state in memory, a mailbox, and at most one commit under
way. What comes in meanwhile waits in the mailbox and is decided together, so a burst of a thousand results costs a few
transitions. An execution that only waits is not resident: it costs rows, and neither memory nor time.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import msgspec
import structlog

from workflow_engine.engine.decide import Decision, decide
from workflow_engine.engine.graph import Graph
from workflow_engine.engine.working import CALL, Working
from workflow_engine.models.command import (
    Abort,
    AnyCommand,
    CompleteStep,
    FailStep,
    FireTimers,
    Fork,
    GrantSlot,
    Recover,
    Start,
)
from workflow_engine.models.effect import AskSlot, Dispatch, Withdraw
from workflow_engine.models.errors import (
    AlreadyExists,
    CommandRejected,
    DependencyUnavailable,
    Fenced,
    GroupRefused,
    InvariantViolated,
    LimitExceeded,
    NotFound,
    StoreUnavailable,
    WorkflowEngineError,
)
from workflow_engine.models.event import AnyFact
from workflow_engine.models.execution import PAUSED, TERMINAL, ExecutionState, Step
from workflow_engine.models.instant import MICROSECONDS
from workflow_engine.models.step import Completed, Failed, Outcome, StepCall, StepError
from workflow_engine.services.children import ChildCall, Children
from workflow_engine.services.inbox import Inbox
from workflow_engine.services.measures import ExecutionMeasures
from workflow_engine.services.outage import Outage
from workflow_engine.services.slots import Slots
from workflow_engine.services.starts import PreparedStart, Starts
from workflow_engine.services.state_manager import Held, StateManager, is_waiting_for_slot
from workflow_engine.services.step_processor import StepProcessor
from workflow_engine.services.timer_service import TimerService
from workflow_engine.steps.registry import Handlers
from workflow_engine.store import ExecutionRow, IdempotencyRow, OnDone, Store, TransitionWrite

BURST_MAX = 1_000
"""Commands decided together: enough to coalesce, few enough to keep a transition short."""

RESIDENT_WAIT_S = 5.0
"""A running execution that does nothing but back off for longer than this leaves the memory."""

RECOVERY_PAGE = 500
"""Executions taken up at a time when the engine starts."""

LOADS_AT_ONCE = 16
"""Executions read from the store at a time: enough to keep its readers busy, few enough for the first to go on while
thousands still wait.
"""

SETTLE_S = 2.0
"""What a shutdown waits for the last commits."""

Reply = Callable[[Exception | None, Held | None], None]
"""Hears, on the loop, that a command is durable (None, and the execution as it stands then) or why it is not."""

Seen = TypeVar("Seen")

Look = Callable[[ExecutionRow, ExecutionState], Seen]
"""What to take from an execution at the moment of a commit; it must not keep what a later transition changes."""

Key = tuple[str, str]
"""Tenant and execution."""

Submit = Callable[[TransitionWrite, OnDone], None]
"""Where a transition goes to be committed."""

log = structlog.get_logger(__name__)


class Committed(msgspec.Struct, frozen=True, gc=False):
    """What listeners get of a committed transition."""

    row: ExecutionRow
    state: ExecutionState
    facts: list[AnyFact]
    first_sequence: int
    at: int
    progress_before: int


OnCommitted = Callable[[Committed], None]

OnDoubt = Callable[[ExecutionRow, ExecutionState], None]
"""Gets an execution as it was found after a commit of which nobody can say whether it happened: look again."""


class Receipt(NamedTuple):
    """What to keep under a request's `Idempotency-Key`, in the commit of the request's own effect."""

    route: str
    key: str
    body_hash: str
    render: Callable[[ExecutionRow, ExecutionState], tuple[int, bytes]]
    """The answer's status and body, of the state that the command leads to."""


class GroupReceipt(NamedTuple):
    """The same for a request that starts many executions, in their one commit."""

    route: str
    key: str
    body_hash: str
    render: Callable[[Sequence[Any]], tuple[int, bytes]]
    """The answer's status and body, of what `start_all` gives."""


class Letter(msgspec.Struct, frozen=True, gc=False):
    """A command in a mailbox, and who waits for what comes of it."""

    command: AnyCommand
    reply: Reply | None = None
    receipt: Receipt | None = None
    news_id: str | None = None
    """The row of the inbox that it came from."""


class Resident:
    """An execution with something to do."""

    __slots__ = ("held", "is_busy", "is_durable", "is_in_doubt", "key", "mailbox", "withdrawn")

    def __init__(self, key: Key, held: Held | None) -> None:
        self.key = key
        self.held = held
        self.is_durable = False
        """The store has it for certain."""
        self.is_in_doubt = False
        """A commit was answered by an error and may have landed all the same."""
        self.withdrawn: list[str] = []
        """The steps whose calls that commit was to end."""
        self.mailbox: list[Letter] = []
        self.is_busy = False


NOT_TWICE = "the process that made the call is gone, and it must not be made twice (delivery: at_most_once)"


class WorkflowExecutor:
    """Owns the executions of one process."""

    def __init__(
        self,
        store: Store,
        states: StateManager,
        starts: Starts,
        handlers: Handlers,
        *,
        concurrency: int,
        depth_max: int,
        on_committed: OnCommitted,
        on_doubt: OnDoubt,
    ) -> None:
        self._store = store
        self._states = states
        self._on_committed = on_committed
        self._on_doubt = on_doubt
        self._residents: dict[Key, Resident] = {}
        self._loads: set[asyncio.Task[None]] = set()
        self._loading = asyncio.Semaphore(LOADS_AT_ONCE)
        self._is_open = True
        self._parked: list[Resident] = []
        self.measures = ExecutionMeasures()
        self.processor = StepProcessor(handlers, concurrency=concurrency, on_outcome=self._report)
        self.outage = Outage(store, on_begin=self._on_outage, on_end=self._on_outage_over)
        self.stopping = asyncio.Event()
        """Set once the process is asked to end: whoever keeps a caller waiting answers now."""
        self.timers = TimerService(store, self._wake)
        self.inbox = Inbox(store, self._deliver)
        self.slots = Slots(store, self._grant)
        self.children = Children(store, states, starts, depth_max=depth_max, start=self.start, on_outcome=self._report)

    @property
    def residents(self) -> int:
        """Executions in memory."""
        return len(self._residents)

    def is_under_way(self, key: Key) -> bool:
        """Whether this process certainly has the execution, and its end, if it has one, is still to be announced."""
        resident = self._residents.get(key)
        return resident is not None and resident.held is not None and resident.is_durable

    async def open(self) -> None:
        """Take up what was outstanding when the last process ended."""
        await self.timers.start()
        after: Key | None = None
        while True:
            keys = await self._store.unfinished(after=after, limit=RECOVERY_PAGE)
            for key in keys:
                self.post(key, Recover())
            if len(keys) < RECOVERY_PAGE:
                break
            after = keys[-1]
        await self.inbox.deliver_all()

    def stop(self) -> None:
        """Begin no step and take no new execution any more. What runs goes on, and is recorded."""
        self.stopping.set()
        self.processor.stop()

    async def close(self, *, grace_s: float) -> None:
        """Stop, give running calls a grace period; what is not finished is taken up by the next process."""
        self.stop()
        await self.timers.close()
        await self.processor.close(grace_s=grace_s)
        await self._settle(min(grace_s, SETTLE_S))
        for service in (self.children, self.slots, self.inbox):
            await service.close()
        await self.outage.close()
        self._is_open = False
        for task in list(self._loads):
            task.cancel()
        await asyncio.gather(*self._loads, return_exceptions=True)
        for resident in list(self._residents.values()):
            _refuse(resident.mailbox, StoreUnavailable("the engine is shutting down"))
        self._residents.clear()

    async def _settle(self, timeout_s: float) -> None:
        """Let what the last calls reported become durable; an execution that spins does not hold the shutdown up."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self._is_busy and not self.outage.is_on and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.001)

    @property
    def _is_busy(self) -> bool:
        return any(resident.is_busy for resident in self._residents.values())

    # --- commands

    async def start(
        self, row: ExecutionRow, graph: Graph, command: Start | Fork, look: Look[Seen], receipt: Receipt | None = None
    ) -> Seen:
        """Make a new execution; gives what `look` sees of it once that is durable.

        Raises:
            AlreadyExists, StoreUnavailable.
        """
        self._require_starting()
        return await self.ask(self._take_in(row, graph).key, command, look, receipt)

    async def start_all(
        self, starts: Sequence[PreparedStart], look: Look[Seen], receipt: GroupReceipt | None = None
    ) -> list[Seen | WorkflowEngineError]:
        """Make new executions in one commit; gives of each what `look` sees of it, or why it was refused.

        Whose id is taken is refused, and the others are started. A receipt is kept if any is started.

        Raises:
            AlreadyExists: the receipt's key was used. StoreUnavailable: none was started, or nobody knows.
        """
        refused: dict[int, WorkflowEngineError] = {}
        while True:
            self._require_starting()
            results = await self._start_group(starts, refused, look, receipt)
            if not any(isinstance(result, GroupRefused) for result in results):
                return results
            # One was in the way of all; the others go again without it.
            refused = {
                place: result
                for place, result in enumerate(results)
                if isinstance(result, WorkflowEngineError) and not isinstance(result, GroupRefused)
            }

    async def _start_group(
        self,
        starts: Sequence[PreparedStart],
        refused: dict[int, WorkflowEngineError],
        look: Look[Seen],
        receipt: GroupReceipt | None,
    ) -> list[Seen | WorkflowEngineError]:
        """Start those that are not refused yet, in one commit: all of them, or none, as `GroupRefused` says."""
        loop = asyncio.get_running_loop()
        replies: list[asyncio.Future[Seen]] = [loop.create_future() for _ in starts]
        writes: list[tuple[TransitionWrite, OnDone]] = []
        for place, (start, reply) in enumerate(zip(starts, replies, strict=True)):
            try:
                if place in refused:
                    raise refused[place]
                resident = self._take_in(start.row, start.graph)
            except WorkflowEngineError as error:
                reply.set_exception(error)
                continue
            resident.is_busy = True
            letter = Letter(start.command, partial(_settle, reply, look))
            self._decide_safely(resident, [letter], lambda write, on_done: writes.append((write, on_done)))
        under_way = [reply for reply in replies if not reply.done()]
        if receipt is not None and writes:
            expected = [
                reply.exception() if reply.done() else self._look_at(start.row, look)
                for start, reply in zip(starts, replies, strict=True)
            ]
            answer = receipt.render(expected)
            writes[0][0].receipts = [IdempotencyRow(receipt.route, receipt.key, receipt.body_hash, *answer)]
        if writes:
            self._store.submit_group(writes)
        results = await asyncio.gather(*replies, return_exceptions=True)
        for reply in under_way:
            failure = reply.exception()
            if failure is not None and not isinstance(failure, GroupRefused) and not _is_id_taken(failure):
                raise failure
        return results  # type: ignore[return-value]  # nothing else is ever set

    def _look_at(self, row: ExecutionRow, look: Look[Seen]) -> Seen:
        held = self._residents[row.tenant_id, row.execution_id].held
        assert held is not None
        return look(held.row, held.working.state)

    def _require_starting(self) -> None:
        if self.stopping.is_set():
            raise DependencyUnavailable("the process is shutting down; try again in a moment", code="shutting_down")
        if self.outage.is_on:
            raise self.outage.error()

    def _take_in(self, row: ExecutionRow, graph: Graph) -> Resident:
        """Room in memory for a new execution; raises AlreadyExists, StoreUnavailable."""
        key = (row.tenant_id, row.execution_id)
        resident = self._residents.get(key)
        if resident is not None and resident.held is None:
            raise StoreUnavailable(f"whether the execution {row.execution_id} exists is being looked up; ask again")
        if resident is not None:
            raise AlreadyExists(f"the execution {row.execution_id} exists already")
        resident = self._residents[key] = Resident(key, self._states.new(row, graph))
        return resident

    async def ask(self, key: Key, command: AnyCommand, look: Look[Seen], receipt: Receipt | None = None) -> Seen:
        """Give a command; gives what `look` sees of the execution once what follows is durable.

        Raises:
            CommandRejected: the state does not allow it; `data["code"]` says why.
            NotFound, StoreUnavailable.
        """
        future: asyncio.Future[Seen] = asyncio.get_running_loop().create_future()
        self.post(key, command, partial(_settle, future, look), receipt)
        return await future

    def post(self, key: Key, command: AnyCommand, reply: Reply | None = None, receipt: Receipt | None = None) -> None:
        """Put a command into an execution's mailbox."""
        self._put(key, Letter(command, reply, receipt))

    def _put(self, key: Key, letter: Letter) -> None:
        if not self._is_open:
            _refuse([letter], StoreUnavailable("the engine is shutting down"))
            return
        if letter.reply is not None and self.outage.is_on:
            _refuse([letter], self.outage.error())
            return
        resident = self._residents.get(key)
        if resident is None:
            resident = self._residents[key] = Resident(key, None)
        resident.mailbox.append(letter)
        if resident.is_busy:
            return
        resident.is_busy = True
        # Not at once: what else arrives in this turn of the loop is decided together with it.
        asyncio.get_running_loop().call_soon(self._turn, resident)

    def _wake(self, tenant_id: str, execution_id: str) -> None:
        self.post((tenant_id, execution_id), FireTimers())

    def _grant(self, key: Key, command: GrantSlot) -> None:
        self.post(key, command)

    def _deliver(self, tenant_id: str, execution_id: str, news_id: str, command: AnyCommand) -> None:
        self._put((tenant_id, execution_id), Letter(command, news_id=news_id))

    def _report(self, call: StepCall, generation: int, outcome: Outcome) -> None:
        if isinstance(outcome, Completed):
            command: AnyCommand = CompleteStep(call.step_id, call.attempt, generation, outcome.output)
        else:
            command = FailStep(call.step_id, call.attempt, generation, outcome.error)
        self._put((call.tenant_id, call.execution_id), Letter(command))

    # --- transitions

    def _turn(self, resident: Resident) -> None:
        if not self._is_open:
            return
        if self.outage.is_on:
            self._parked.append(resident)
            return
        if resident.held is None:
            self._load(resident)
            return
        batch, resident.mailbox = resident.mailbox, []
        if len(batch) > BURST_MAX:
            batch, resident.mailbox = batch[:BURST_MAX], batch[BURST_MAX:]
        self._decide_safely(resident, batch, self._store.submit)

    def _decide_safely(self, resident: Resident, batch: list[Letter], submit: Submit) -> None:
        try:
            assert resident.held is not None
            self._decide(resident, resident.held, batch, submit)
        except Exception as error:  # noqa: BLE001 - a bug must stop this execution alone
            self._abandon(resident, batch, error)

    def _decide(self, resident: Resident, held: Held, batch: list[Letter], submit: Submit) -> None:
        state = held.working.state
        sequence_before, progress_before = state.sequence, state.progress
        now = max(self._store.now(), state.at)
        begun_s = perf_counter()
        decision = decide(held.working, [letter.command for letter in batch], now=now)
        decided_s = perf_counter()
        self.measures.decide_seconds.observe(decided_s - begun_s)
        if not decision.facts:
            has_called = self._perform(resident, held, decision)
            if any(isinstance(one, AskSlot) and is_waiting_for_slot(state, one) for one in decision.effects):
                self.slots.remind(resident.key)
            self.inbox.forget(*resident.key, _news_ids(batch))
            _answer(batch, decision, held)
            self._go_on(resident, held, decision, has_called=has_called)
            return
        write = self._states.write_of(held, decision, sequence_before)
        if [letter for letter in batch if letter.receipt is not None or letter.news_id is not None]:
            write.receipts = _receipts(held, batch, decision)
            write.news_removed = _news_ids(batch)
        committed = Committed(held.row, state, decision.facts, sequence_before + 1, now, progress_before)
        report = partial(self._on_written, resident, batch, decision, committed, write, decided_s)
        submit(write, report)

    def _on_written(
        self,
        resident: Resident,
        batch: list[Letter],
        decision: Decision,
        committed: Committed,
        write: TransitionWrite,
        decided_s: float,
        error: Exception | None,
    ) -> None:
        held = resident.held
        if held is None or not self._is_open:
            _refuse(batch, StoreUnavailable("the engine is shutting down"))
            return
        if error is not None:
            self._on_unwritten(resident, batch, decision, error)
            return
        resident.is_durable = True
        self._count(held, write, decided_s)
        has_called = self._perform(resident, held, decision)
        if write.news_put:
            self.inbox.deliver(resident.key[0], write.news_put)
        self._on_committed(committed)
        _answer(batch, decision, held)
        self._go_on(resident, held, decision, has_called=has_called)

    def _count(self, held: Held, write: TransitionWrite, decided_s: float) -> None:
        self.measures.commit_wait_seconds.observe(perf_counter() - decided_s)
        if held.working.state.number == 1:
            self.measures.started += 1
        if write.summary is not None and write.summary.status in TERMINAL:
            self.measures.finished[write.summary.status] += 1

    def _perform(self, resident: Resident, held: Held, decision: Decision) -> bool:
        """Do what follows; gives whether a call was made whose outcome will come back."""
        state = held.working.state
        has_called = False
        for effect in decision.effects:  # tasks of people and slots are rows, written with the transition
            if isinstance(effect, Dispatch):
                step = state.steps.get(effect.step)
                if step is not None and self._dispatch(held, step, is_repeat=effect.is_repeat):
                    has_called = True
            elif isinstance(effect, Withdraw):
                self._withdraw(resident.key, effect.step)
        self.timers.arm(resident.key, held.timer_at)
        return has_called

    def _withdraw(self, key: Key, step_id: str) -> None:
        self.processor.withdraw(*key, step_id)
        self.children.withdraw(*key, step_id)

    def _dispatch(self, held: Held, step: Step, *, is_repeat: bool) -> bool:
        state = held.working.state
        node = held.working.spec(step)
        call = StepCall(
            tenant_id=state.tenant_id,
            workflow_id=state.workflow_id,
            version=state.version,
            execution_id=state.execution_id,
            node_id=step.node,
            step_id=step.step_id,
            type=node.type,
            attempt=step.attempt,
            make_idempotency_key=partial(
                self._states.names.idempotency_key,
                state.tenant_id,
                state.execution_id,
                step.step_id,
                step.generation,
            ),
            input=step.input,
            timeout_s=step.timeout_s,
            heartbeat_s=node.heartbeat_s,
        )
        priority = node.priority if node.priority is not None else state.priority
        if node.type == "workflow":
            if not (is_repeat and step.child_pause is not None):  # a child that was heard of needs no start
                self.children.begin(ChildCall(call, step.generation, held.row, priority, is_repeat))
            return False
        if is_repeat and node.is_at_most_once and not self.processor.has(call):
            if not self.stopping.is_set():  # else the next process says so
                self._report(call, step.generation, Failed(StepError("worker_lost", NOT_TWICE)))
            return False
        self.processor.submit(call, generation=step.generation, priority=priority)
        return True

    def _go_on(self, resident: Resident, held: Held, decision: Decision, *, has_called: bool) -> None:
        """After a transition: the next one, or rest; whoever rests for long leaves the memory."""
        if decision.is_unfinished or resident.mailbox:
            asyncio.get_running_loop().call_soon(self._turn, resident)
            return
        resident.is_busy = False
        if not has_called and self._is_idle(held):
            del self._residents[resident.key]

    def _is_idle(self, held: Held) -> bool:
        working = held.working
        state = working.state
        if state.is_terminal or (state.status == PAUSED and not state.is_operator_paused):
            return True
        if working.counts[CALL]:
            for step in state.steps.values():
                if _is_called(working, step):
                    return False
        due_at = working.next_due_at()
        return state.status == PAUSED or due_at is None or due_at - state.at > RESIDENT_WAIT_S * MICROSECONDS

    # --- trouble

    def _on_unwritten(self, resident: Resident, batch: list[Letter], decision: Decision, error: Exception) -> None:
        """The state in memory is ahead of the log: throw it away; nothing that was reported by a step is lost."""
        resident.is_in_doubt = True
        resident.withdrawn += [effect.step for effect in decision.effects if isinstance(effect, Withdraw)]
        if isinstance(error, AlreadyExists | GroupRefused):
            self._refuse_repeated(resident, batch, error)
            return
        if isinstance(error, Fenced):
            resident.held = None
            resident.mailbox[:0] = batch
            self._load(resident)
            return
        if isinstance(error, StoreUnavailable):
            self._wait_for_store(resident, batch, error)
            return
        self._abandon(resident, batch, error)

    def _refuse_repeated(self, resident: Resident, batch: list[Letter], error: WorkflowEngineError) -> None:
        """The execution exists, or a request's key was used before: those who asked hear it, the others are decided
        again.
        """
        if any(isinstance(letter.command, Start | Fork) for letter in batch):
            del self._residents[resident.key]
            _refuse([*batch, *resident.mailbox], error)
            return
        _refuse([letter for letter in batch if letter.receipt is not None], error)
        resident.held = None
        resident.mailbox[:0] = [letter for letter in batch if letter.receipt is None]
        self._load(resident)

    def _wait_for_store(self, resident: Resident, batch: list[Letter], error: StoreUnavailable) -> None:
        """Callers who wait hear of it; what nobody waits for (results, timers) is decided again once writes work."""
        letters = [*batch, *resident.mailbox]
        self.outage.begin(error)
        # Also one whose start was not answered: it may be there all the same, and would be nobody's.
        resident.held = None
        resident.mailbox = [one for one in letters if one.reply is None and not isinstance(one.command, Recover)]
        self._parked.append(resident)
        _refuse(letters, error)

    def _on_outage(self) -> None:
        self.processor.hold()

    def _on_outage_over(self) -> None:
        parked, self._parked = self._parked, []
        for resident in parked:
            asyncio.get_running_loop().call_soon(self._turn, resident)
        self.processor.release()
        # A commit may have landed whose news and grants nobody was told.
        self.inbox.catch_up()
        self.slots.remind()

    def _abandon(self, resident: Resident, batch: Iterable[Letter], error: Exception) -> None:
        """A bug, or a transition that can't be stored: the execution fails and says so; others go on."""
        tenant_id, execution_id = resident.key
        log.error("execution.abandoned", tenant_id=tenant_id, execution_id=execution_id, exc_info=error)
        self._residents.pop(resident.key, None)
        is_ours = not isinstance(error, LimitExceeded)
        wrapped = InvariantViolated(f"{type(error).__name__}: {error}") if is_ours else error
        letters = [*batch, *resident.mailbox]
        _refuse(letters, wrapped)
        self.inbox.forget(tenant_id, execution_id, _news_ids(letters))
        if not any(isinstance(letter.command, Abort | Start | Fork) for letter in letters):
            self.post(resident.key, Abort(StepError("internal" if is_ours else "limit_exceeded", str(wrapped))))

    def _load(self, resident: Resident) -> None:
        task = asyncio.get_running_loop().create_task(self._load_and_turn(resident))
        self._loads.add(task)
        task.add_done_callback(self._loads.discard)

    async def _load_and_turn(self, resident: Resident) -> None:
        try:
            async with self._loading:
                resident.held = await self._states.load(*resident.key)
            resident.is_durable = True
        except NotFound as error:
            self._residents.pop(resident.key, None)
            _refuse(resident.mailbox, error)
            self.inbox.forget(*resident.key, _news_ids(resident.mailbox))
            return
        except StoreUnavailable as error:
            self._wait_for_store(resident, [], error)
            return
        except Exception as error:  # noqa: BLE001 - a log that does not fold must stop this execution alone
            self._abandon(resident, [], error)
            return
        if resident.is_in_doubt:
            resident.is_in_doubt = False
            for step_id in resident.withdrawn:
                if step_id not in resident.held.working.state.steps:
                    self._withdraw(resident.key, step_id)
            resident.withdrawn = []
            self._on_doubt(resident.held.row, resident.held.working.state)
        # Last: what is reported already must not be called for again.
        resident.mailbox.append(Letter(Recover()))
        self._turn(resident)


def _is_called(working: Working, step: Step) -> bool:
    """Whether a call of the step is under way, or a child that has something to do."""
    node = working.spec(step)
    if not node.is_io or step.status != "processing" or step.retry_at is not None:
        return False
    return node.type != "workflow" or step.child_pause is None


def _is_id_taken(error: BaseException) -> bool:
    """Whether a start was refused for its id, not for the `Idempotency-Key` of its request."""
    return isinstance(error, AlreadyExists) and "key" not in error.data


def _news_ids(letters: Iterable[Letter]) -> list[str]:
    return [letter.news_id for letter in letters if letter.news_id is not None]


def _settle(future: asyncio.Future[Seen], look: Look[Seen], error: Exception | None, held: Held | None) -> None:
    if future.done():
        return  # whoever asked was cancelled
    if held is None:
        future.set_exception(error or StoreUnavailable())
    else:
        future.set_result(look(held.row, held.working.state))


def _receipts(held: Held, batch: list[Letter], decision: Decision) -> list[IdempotencyRow]:
    """The answers to keep for the accepted commands of requests that carried an `Idempotency-Key`."""
    receipts = []
    for place, letter in enumerate(batch):
        if letter.receipt is not None and decision.rejections[place] is None:
            route, key, body_hash, render = letter.receipt
            receipts.append(IdempotencyRow(route, key, body_hash, *render(held.row, held.working.state)))
    return receipts


def _answer(batch: list[Letter], decision: Decision, held: Held) -> None:
    for place, letter in enumerate(batch):
        if letter.reply is None:
            continue
        rejection = decision.rejections[place]
        if rejection is not None:
            letter.reply(CommandRejected(rejection.message, code=rejection.code), None)
        else:
            letter.reply(None, held)


def _refuse(letters: Iterable[Letter], error: Exception) -> None:
    for letter in letters:
        if letter.reply is not None:
            letter.reply(error, None)
