"""Outputs that a state does not hold, since its definition read them nowhere, as the log has them."""

from workflow_engine.engine.graph import Graph
from workflow_engine.engine.migration import OutputReader, Outputs, missing_outputs
from workflow_engine.models.event import decode_facts
from workflow_engine.models.execution import ExecutionState
from workflow_engine.store import Store


async def recorded_outputs(
    store: Store, state: ExecutionState, before: Graph, after: Graph, nodes: dict[str, str]
) -> Outputs:
    """What another version of a definition reads of a state's past, and the version before it did not keep.

    Args:
        nodes: new node ids by old ones, where they differ.
    """
    wanted = missing_outputs(state, before, after, nodes)
    reader = OutputReader(wanted)
    sequence = 0
    while wanted and sequence < state.sequence:
        rows = await store.log(state.tenant_id, state.execution_id, after_sequence=sequence)
        for row in rows:
            if row.first_sequence <= state.sequence:
                reader.feed(decode_facts(row.events))
        if not rows:
            break
        sequence = rows[-1].last_sequence
    return reader.outputs
