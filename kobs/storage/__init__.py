"""The only door to ClickHouse: schema, insert, select, retention.

Rows arrive as Arrow tables and leave as Arrow tables. Every read of data takes a Scope and is narrowed by it here, so
that no layer above can forget to. An insert that has returned is in the store; one that raised may be in it or not.
"""
