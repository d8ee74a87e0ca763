"""Bytes between processes: how they are framed, and how those of a log become entries. Knows no storage, no HTTP."""
