"""The application: every endpoint of a server over the parts that answer them."""

from dataclasses import dataclass

from fastapi import FastAPI

import kobs
from kobs.api import errors, ledger, logs, prometheus, remote_write, ship, status
from kobs.api.prometheus import federation
from kobs.api.prometheus.router import PrometheusParts
from kobs.api.security import Security
from kobs.api.ship import FrameIngest
from kobs.config import ServerSettings
from kobs.ingest.logs import LogIngest
from kobs.ingest.remote_write import RemoteWriteIngest
from kobs.query.federation import Federation
from kobs.query.ledger import Ledger
from kobs.query.logs import LogSearch
from kobs.query.status import StatusReader
from kobs.query.tail import TailPoller
from kobs.query.verify import Verify


@dataclass(frozen=True, slots=True)
class Services:
    """What answers requests. `log_ingest.run()` and `tail.run()` must run beside the application."""

    settings: ServerSettings
    log_ingest: LogIngest
    log_search: LogSearch
    tail: TailPoller
    ledger: Ledger
    status: StatusReader
    verify: Verify
    metrics_ingest: FrameIngest | None = None
    remote_write: RemoteWriteIngest | None = None
    prometheus: PrometheusParts | None = None
    """None for a server without metrics."""
    federation: Federation | None = None
    targets_ingest: FrameIngest | None = None


def create_app(services: Services) -> FastAPI:
    """Return the application, guarded by its middleware."""
    # no schema and no pages about it: they would load scripts from elsewhere, and parameters are checked by hand
    app = FastAPI(title="kobs", version=kobs.__version__, openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(Security, settings=services.settings)
    errors.install(app)
    for part in (logs, ship, status, ledger):
        app.include_router(part.router(services))
    if services.prometheus is not None:
        app.include_router(prometheus.router(services.prometheus))
    if services.federation is not None:
        app.include_router(federation.router(services.federation))
    if services.remote_write is not None:
        app.include_router(remote_write.router(services.remote_write, services.settings))
    return app
