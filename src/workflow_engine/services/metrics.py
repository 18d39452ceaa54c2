"""The engine's metrics for Prometheus: what the services count, read when a scrape asks. No label holds a tenant or id.

`docs/operation.md` lists every name; a test holds the two together.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from workflow_engine import __version__
from workflow_engine.models.histogram import Histogram
from workflow_engine.services.engine_services import EngineServices
from workflow_engine.services.measures import RequestMeasures

PREFIX: Final = "workflow_engine"


class Metrics:
    """The metrics of one engine behind one HTTP door, in a registry of their own."""

    def __init__(self, services: EngineServices, requests: RequestMeasures) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_EngineCollector(services, requests))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the format that an `Accept` header prefers, and its media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class _EngineCollector(Collector):
    def __init__(self, services: EngineServices, requests: RequestMeasures) -> None:
        self._services = services
        self._requests = requests

    def collect(self) -> Iterator[Metric]:
        """Every metric, as it stands."""
        yield _gauge("build_info", "Always 1; the label names the release.", {(__version__,): 1}, "version")
        yield from self._executions()
        yield from self._steps()
        yield from self._store()
        yield from self._live()
        yield from self._door()

    def _executions(self) -> Iterator[Metric]:
        executor = self._services.executor
        measures, timers = executor.measures, executor.timers
        yield _counter("executions_started", "Executions started.", measures.started)
        finished = {(status,): count for status, count in sorted(measures.finished.items())}
        yield _counter("executions_finished", "Executions ended, by status.", finished, "status")
        yield _gauge("executions_resident", "Executions in memory.", executor.residents)
        decide = measures.decide_seconds
        yield _histogram("decide_seconds", "The decision of one transition.", decide)
        wait = measures.commit_wait_seconds
        yield _histogram("commit_wait_seconds", "From a transition's decision to its durability.", wait)
        lag = timers.measures.lag_seconds
        yield _histogram("timer_lag_seconds", "How late timers fired.", lag)
        slots = executor.slots.measures.wait_seconds
        yield _histogram("limit_wait_seconds", "How long a step waited for a slot of its limit.", slots)
        yield _gauge("timers_armed", "Timers due within the next minute.", timers.armed)
        yield _counter("executions_removed", "Executions deleted by retention.", self._services.retention.removed)

    def _steps(self) -> Iterator[Metric]:
        processor = self._services.executor.processor
        measures = processor.measures
        yield _gauge("steps_running", "Calls of I/O steps under way.", processor.running)
        yield _gauge("steps_queued", "Calls of I/O steps that wait for a slot.", processor.queued)
        wait = measures.queue_wait_seconds
        yield _histogram("step_queue_wait_seconds", "How long a call waited for its slot.", wait)
        durations = {(node_type,): one for node_type, one in sorted(measures.duration_seconds.items())}
        yield _histogram("step_duration_seconds", "How long one attempt of an I/O step took.", durations, "type")
        outcomes = dict(sorted(measures.outcomes.items()))
        yield _counter("steps", "Attempts of I/O steps, by how they ended.", outcomes, "type", "outcome")
        kept = processor.threads_kept
        yield _gauge("threads_kept", "Threads held by functions that were given up but have not returned.", kept)

    def _store(self) -> Iterator[Metric]:
        store = self._services.store
        commits = store.commits
        yield _histogram("commit_seconds", "One database transaction with its sync.", commits.seconds)
        yield _histogram("commit_group_size", "Writes that shared one transaction.", commits.group_sizes)
        failures = {(code,): count for code, count in sorted(commits.failures.items())}
        yield _counter("commit_failures", "Database transactions that failed, by code.", failures, "code")
        yield _gauge("store_queue_writes", "Writes that wait for the database.", store.queued)
        yield _gauge("store_queue_bytes", "Bytes of these writes.", store.queued_bytes)
        yield _gauge("store_wal_bytes", "Size of the write-ahead log.", store.wal_bytes())
        yield _gauge("store_file_bytes", "Size of the database file.", store.file_bytes())
        outage = self._services.executor.outage.is_on
        yield _gauge("store_outage", "1 while the database takes no writes.", int(outage))

    def _live(self) -> Iterator[Metric]:
        live = self._services.live
        streams = live.streams
        yield _gauge("live_streams", "WebSockets and event streams that are open.", streams.open_count)
        yield _counter("live_streams_opened", "Live streams opened.", streams.opened_total)
        yield _counter("live_streams_refused", "Live streams over their tenant's limit.", streams.refused_total)
        help_ = "Live streams closed because their reader took nothing any more."
        yield _counter("live_streams_slow", help_, streams.slow_closed_total)
        yield _gauge("live_topics", "Executions, workflows and tenants that are followed.", live.topics)
        yield _counter("live_events_published", "Events rendered for followers.", live.published_total)
        yield _counter("live_events_sent", "Events sent over live streams.", streams.events_sent_total)
        yield _gauge("live_held_bytes", "Live events held for readers.", live.held_bytes)

    def _door(self) -> Iterator[Metric]:
        requests = self._requests
        durations = {(*key[:2], str(key[2])): one for key, one in sorted(requests.seconds.items())}
        help_ = "HTTP requests, by the route's pattern."
        yield _histogram("http_request_seconds", help_, durations, "method", "route", "status")
        yield _gauge("http_requests_in_progress", "HTTP requests under way.", requests.in_progress)
        yield _gauge("http_connections", "Connections that are open, WebSockets included.", len(requests.connections))
        refused = {(reason,): count for reason, count in sorted(requests.refused.items())}
        yield _counter("http_connections_refused", "Connections closed without a whole request.", refused, "reason")
        stopping = self._services.executor.stopping.is_set()
        yield _gauge("stopping", "1 once the process was asked to end.", int(stopping))


def _counter(name: str, help_: str, values: Mapping[Any, float] | float, *labels: str) -> Metric:
    return _filled(CounterMetricFamily(f"{PREFIX}_{name}", help_, labels=labels), values)


def _gauge(name: str, help_: str, values: Mapping[Any, float] | float, *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(f"{PREFIX}_{name}", help_, labels=labels), values)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[Any, float] | float) -> Metric:
    for key, value in (values if isinstance(values, Mapping) else {(): values}).items():
        family.add_metric(key, value)
    return family


def _histogram(name: str, help_: str, values: Mapping[Any, Histogram] | Histogram, *labels: str) -> Metric:
    family = HistogramMetricFamily(f"{PREFIX}_{name}", help_, labels=labels)
    for key, histogram in (values if isinstance(values, Mapping) else {(): values}).items():
        bounds = [*map(str, histogram.bounds), "+Inf"]
        family.add_metric(key, list(zip(bounds, histogram.cumulative(), strict=True)), histogram.sum)
    return family
