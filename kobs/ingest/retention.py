"""Lets logs and samples go when their time is over: once at start, then every hour; one server is enough."""

import asyncio
import time
from collections.abc import Callable

from kobs import telemetry
from kobs.config import StorageSettings
from kobs.errors import KobsError
from kobs.model.scope import Scope
from kobs.storage import retention
from kobs.storage.clickhouse import Store

_EVERY_SECONDS = 3600.0
_LEDGER_DAYS = 90
"""The ledger's summary outlives the rows by this."""

log = telemetry.get_logger(__name__)
_dropped = telemetry.counter("kobs_ingest_log_partitions_expired_total", "Partitions of logs whose time was over.")
_dropped_samples = telemetry.counter(
    "kobs_ingest_sample_partitions_expired_total", "Partitions of samples and series whose time was over."
)


class Retention:
    """Drops expired partitions."""

    def __init__(
        self, store: Store, settings: StorageSettings, *, scope: Scope, now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._scope = scope
        self._now = now
        classes = [settings.keep_days, *(rule.days for rule in settings.keep)]
        self._ledger_days = max(classes) + _LEDGER_DAYS
        self._metrics_keep_days = settings.metrics_keep_days

    async def run(self) -> None:
        """Look for expired partitions every hour, until cancelled."""
        while True:
            try:
                await self._store.run(self.expire_now)
                await self._store.run(self.expire_samples_now)
            except KobsError as error:
                log.warning("What expired could not be dropped; it is tried again in an hour.", error=error)
            await asyncio.sleep(_EVERY_SECONDS)

    def expire_now(self) -> int:
        """Drop the logs that have expired, and return how many partitions that were."""
        now = self._now()
        today = int(now // 86_400)
        partitions = retention.find_expired(self._store, self._scope, today=today)
        for partition in partitions:
            retention.expire(self._store, partition)
            _dropped.inc()
        retention.expire_ledger(self._store, before_ms=int((now - self._ledger_days * 86_400) * 1000))
        if partitions:
            log.info("Logs whose time was over were dropped.", partitions=len(partitions))
        return len(partitions)

    def expire_samples_now(self) -> int:
        """Drop the samples and series that have expired, and return how many partitions that were."""
        now = self._now()
        retention.expire_sample_losses(self._store, before_ms=int((now - self._ledger_days * 86_400) * 1000))
        if self._metrics_keep_days == 0:
            return 0
        partitions = retention.find_expired_samples(
            self._store, self._scope, today=int(now // 86_400), keep_days=self._metrics_keep_days
        )
        for table, partition in partitions:
            retention.expire_samples(self._store, table, partition)
            _dropped_samples.inc()
        if partitions:
            log.info("Samples whose time was over were dropped.", partitions=len(partitions))
        return len(partitions)
