"""Questions to the store: searching, following and accounting for what it holds. Knows nothing of HTTP."""
