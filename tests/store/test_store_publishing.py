import asyncio

import pytest

from workflow_engine.models.errors import AlreadyExists, NotFound
from workflow_engine.store import Publishing, Store
from workflow_engine.store.publishing import Expected


async def publish(store: Store, content: str, expected: Expected, tenant_id: str = "acme") -> tuple[int, bool]:
    published = await store.publish(
        tenant_id,
        "orders",
        name="Orders",
        labels={"team": "red"},
        content_hash=f"hash of {content}",
        definition=content.encode(),
        expected=expected,
    )
    return published.version, published.is_new


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


async def put(store: Store, workflow_id: str, labels: dict[str, str], definition: bytes = b"{}") -> Publishing:
    return await store.publish(
        "acme",
        workflow_id,
        name=workflow_id,
        labels=labels,
        content_hash=str(hash(definition)),
        definition=definition,
        expected="any",
    )


async def test_publishing_says_when_the_version_was_made(store: Store) -> None:
    first = await put(store, "w", {})
    again = await put(store, "w", {})
    assert (again.version, again.is_new, again.created_at) == (1, False, first.created_at)
    assert first.created_at == (await store.definition("acme", "w", 1)).created_at


async def test_an_archived_workflow_stays_readable_and_is_not_listed(store: Store) -> None:
    await put(store, "w", {})
    await store.archive("acme", "w")
    await store.archive("acme", "w")
    assert (await store.workflow("acme", "w")).archived is True
    assert await store.workflows("acme") == []
    assert (await store.definition("acme", "w", None)).version == 1
    await put(store, "w", {})
    assert (await store.workflow("acme", "w")).archived is False
    with pytest.raises(NotFound):
        await store.archive("other", "w")


async def test_workflows_are_listed_by_id_with_their_latest_definition_and_by_label(store: Store) -> None:
    for number in range(4):
        await put(store, f"w{number}", {"team": "red" if number % 2 else 'b"lue', "n": str(number)}, b"%d" % number)
    await put(store, "w1", {"team": "red"}, b"second")

    async def listed(labels: dict[str, str], after: str = "") -> list[tuple[str, bytes]]:
        rows = await store.workflows("acme", labels=labels, after=after)
        return [(row.workflow.workflow_id, row.definition.definition) for row in rows]

    assert await listed({}) == [("w0", b"0"), ("w1", b"second"), ("w2", b"2"), ("w3", b"3")]
    assert await listed({"team": "red"}) == [("w1", b"second"), ("w3", b"3")]
    assert await listed({"team": 'b"lue', "n": "2"}) == [("w2", b"2")]
    assert await listed({"team": "re"}) == []
    assert await listed({}, after="w2") == [("w3", b"3")]
    assert await store.workflows("other") == []


async def test_pages_of_definitions_end_early_where_they_are_large(store: Store) -> None:
    for number in range(4):
        await put(store, f"w{number}", {}, b"%d" % number + b"x" * (3 << 20))
        await put(store, "many", {}, b"%d" % number + b"y" * (3 << 20))
    assert len(await store.workflows("acme", limit=500)) == 3
    assert [row.version for row in await store.versions("acme", "many")] == [4, 3, 2]
