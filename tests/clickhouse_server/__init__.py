"""A ClickHouse HTTP server over the embedded engine, so that tests reach a store by HTTP without a server at hand.

It speaks what clickhouse-connect's ordinary client sends: statements and data in the body, settings and parameters in
the URL or a form, compressed both ways, sessions. It listens on loopback and knows no users. It lacks external tables,
ClickHouse's own block compression, streaming answers and progress; a query id is sent back and may run only once at a
time, but the engine gives its own to `system.processes`.
"""
