import asyncio

import pytest

from workflow_engine.models.errors import AlreadyExists, NotFound
from workflow_engine.store import Store
from workflow_engine.store.publishing import Expected


async def publish(store: Store, content: str, expected: Expected, tenant_id: str = "acme") -> tuple[int, bool]:
    return await store.publish(
        tenant_id,
        "orders",
        name="Orders",
        labels={"team": "red"},
        content_hash=f"hash of {content}",
        definition=content.encode(),
        expected=expected,
    )


async def test_versions_count_up_and_keep_their_bytes(store: Store) -> None:
    assert await publish(store, "one", "new") == (1, True)
    assert await publish(store, "two", "existing") == (2, True)
    assert await publish(store, "one", "any") == (3, True)
    assert (await store.definition("acme", "orders", 1)).definition == b"one"
    latest = await store.definition("acme", "orders", None)
    assert (latest.workflow_id, latest.version, latest.content_hash) == ("orders", 3, "hash of one")
    assert latest.created_at > 0


async def test_the_latest_content_again_makes_no_new_version(store: Store) -> None:
    assert await publish(store, "one", "any") == (1, True)
    assert await publish(store, "one", "existing") == (1, False)
    assert await publish(store, "one", "any") == (1, False)


async def test_a_wrong_expectation_is_refused(store: Store) -> None:
    with pytest.raises(NotFound):
        await publish(store, "one", "existing")
    await publish(store, "one", "new")
    with pytest.raises(AlreadyExists):
        await publish(store, "two", "new")
    assert (await store.definition("acme", "orders", None)).version == 1


async def test_workflows_of_tenants_are_apart(store: Store) -> None:
    await publish(store, "one", "new")
    assert await publish(store, "other", "new", tenant_id="other") == (1, True)
    for version in (None, 2):
        with pytest.raises(NotFound):
            await store.definition("third", "orders", version)
    with pytest.raises(NotFound, match="version 2"):
        await store.definition("acme", "orders", 2)


async def test_concurrent_publishers_get_versions_of_their_own(store: Store) -> None:
    results = await asyncio.gather(*(publish(store, f"content {position}", "any") for position in range(20)))
    assert sorted(version for version, _ in results) == list(range(1, 21))
