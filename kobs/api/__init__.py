"""The HTTP application: FastAPI over query and ingest. It knows no SQL and no storage."""
