"""The live streams that are open, whatever door they came through: counted, bounded per tenant, ended together."""

from collections.abc import Callable

from workflow_engine.models.errors import LimitExceeded, StoreUnavailable


class Stream:
    """One open stream. `leave` it when it is over."""

    __slots__ = ("_streams", "on_drain", "tenant_id")

    def __init__(self, streams: "Streams", tenant_id: str, on_drain: Callable[[], None]) -> None:
        self._streams = streams
        self.tenant_id = tenant_id
        self.on_drain = on_drain

    def leave(self) -> None:
        """The stream is over. Safe to call twice."""
        self._streams.remove(self)


class Streams:
    """All open streams of this process. The attributes are for metrics; those in `_total` only rise."""

    def __init__(self) -> None:
        self._by_tenant: dict[str, set[Stream]] = {}
        self.is_draining = False
        self.open_count = 0
        self.opened_total = 0
        self.refused_total = 0
        """Over the limit of their tenant."""
        self.events_sent_total = 0
        self.slow_closed_total = 0
        """Streams that were closed because they took nothing any more."""

    def open(self, tenant_id: str, on_drain: Callable[[], None], *, tenant_max: int) -> Stream:
        """Let a stream in.

        Args:
            on_drain: called, once, when the process is about to end; it ends the stream without waiting.

        Raises:
            LimitExceeded: the tenant has `tenant_max` of them. StoreUnavailable: the process is about to end.
        """
        if self.is_draining:
            raise StoreUnavailable("the server is about to stop; connect again")
        streams = self._by_tenant.setdefault(tenant_id, set())
        if len(streams) >= tenant_max:
            self.refused_total += 1
            raise LimitExceeded(f"the tenant has {tenant_max} live streams open", code="too_many_streams")
        stream = Stream(self, tenant_id, on_drain)
        streams.add(stream)
        self.open_count += 1
        self.opened_total += 1
        return stream

    def remove(self, stream: Stream) -> None:
        """The stream is over."""
        streams = self._by_tenant.get(stream.tenant_id, set())
        if stream in streams:
            streams.remove(stream)
            self.open_count -= 1
            if not streams:
                del self._by_tenant[stream.tenant_id]

    def drain(self) -> None:
        """Let nobody in any more and end all that are open."""
        self.is_draining = True
        for streams in list(self._by_tenant.values()):
            for stream in list(streams):
                stream.on_drain()
