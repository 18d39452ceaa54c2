"""From host names to the addresses that an `http` node may be connected to."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from aiohttp.abc import AbstractResolver, ResolveResult

from workflow_engine.steps.addresses import AddressRules
from workflow_engine.steps.threads import ThreadPool, ThreadsClosed, ThreadsExhausted

THREADS = 16
THREADS_MAX = 64
"""With those that a name service which hangs keeps."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host name and a port to addresses as text; raises OSError when there are none."""


class VettingResolver(AbstractResolver):
    """Gives the HTTP client only addresses that passed the rules; it connects to these and asks nobody else."""

    def __init__(self, rules: AddressRules, resolve: Resolve, *, timeout_s: float) -> None:
        self._rules = rules
        self._resolve = resolve
        self._timeout_s = timeout_s

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await self._resolve(host, port)
        except TimeoutError:
            raise OSError(None, f"no answer from the name service within {self._timeout_s:g} s") from None
        return [_resolved(host, port, address) for address in self._rules.vetted(host, addresses)]

    async def close(self) -> None:
        """Nothing is held: whoever gave `resolve` closes what is behind it."""


def _resolved(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=family,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


class SystemNames:
    """Resolves names by the system, on threads of its own: a name service that hangs can't hold up anything else."""

    def __init__(self) -> None:
        self._threads = ThreadPool("names", threads=THREADS, threads_max=THREADS_MAX)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses: list[str] = await self._threads.run("getaddrinfo", lambda: _addresses(host, port))
        except ThreadsClosed:
            raise OSError(None, "this process is shutting down") from None
        except ThreadsExhausted:
            raise OSError(None, "the name service does not answer, and no thread is left to ask it") from None
        return addresses

    def close(self) -> None:
        self._threads.close()


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
