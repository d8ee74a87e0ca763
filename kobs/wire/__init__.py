"""Bytes between processes: how they are framed, and how the bytes of a log become entries. Knows no storage, no HTTP."""
