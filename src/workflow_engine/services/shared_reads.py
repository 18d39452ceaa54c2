"""Reads that many callers share, so that a thousand starts of one workflow cost one look at it and not a thousand."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SharedReads(Generic[Key, Value]):
    """At most one read of a key at a time. Whoever asks gets what a read gave that began after the question, so nobody
    sees an older state than by reading alone.
    """

    def __init__(self, read: Callable[[Key], Awaitable[Value]]) -> None:
        self._read = read
        self._asking: dict[Key, list[asyncio.Future[Value]]] = {}
        self._reading: dict[Key, asyncio.Task[None]] = {}

    async def get(self, key: Key) -> Value:
        """The value of a key; raises what its read raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Value] = loop.create_future()
        asking = self._asking.get(key)
        if asking is not None:
            asking.append(answer)
        else:
            self._asking[key] = [answer]
            if key not in self._reading:
                self._reading[key] = loop.create_task(self._serve(key))
        return await answer

    async def _serve(self, key: Key) -> None:
        """Read for those who have asked, then for those who asked meanwhile, until nobody is left."""
        try:
            while (asking := self._asking.pop(key, None)) is not None:
                try:
                    value = await self._read(key)
                except Exception as error:  # noqa: BLE001 - it is the callers' to handle
                    for answer in asking:
                        if not answer.done():
                            answer.set_exception(error)
                else:
                    for answer in asking:
                        if not answer.done():
                            answer.set_result(value)
        finally:
            del self._reading[key]
