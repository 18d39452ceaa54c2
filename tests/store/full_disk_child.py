"""A process whose files may not grow past a limit: a full disk, then a free one. Exits with 0 if all is well."""

import asyncio
import resource
import signal
import sys

from store_writes import first, later, outcomes

from workflow_engine.models.errors import StoreUnavailable
from workflow_engine.store import Store

FILE_BYTES_MAX = 512 * 1024


async def main(url: str) -> None:
    store = await Store.open(url)
    await outcomes(store, [first(f"e{position}") for position in range(20)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, resource.RLIM_INFINITY))
    done = dict.fromkeys(range(20), 1)
    while True:
        results = await outcomes(store, [later(f"e{one}", done[one] + 1, events=bytes(20_000)) for one in done])
        if any(results):
            break
        done = {one: number + 1 for one, number in done.items()}
    assert all(isinstance(error, StoreUnavailable) for error in results), results
    for position, number in done.items():
        assert (await store.execution("acme", f"e{position}")).transition == number
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    results = await outcomes(store, [later(f"e{one}", number + 1) for one, number in done.items()])
    assert results == [None] * 20, results
    await store.close()


if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    asyncio.run(main(sys.argv[1]))
