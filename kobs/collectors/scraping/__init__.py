"""Scraping: targets are found, relabelled, asked in time for their metrics, and what they answer is shipped.

A configuration file in Prometheus' own form arrives (`configuration`), discovery finds groups of addresses
(`discovery`), relabelling makes targets of them (`relabelling`, `targets`), a loop for each asks it (`loops`, `http`)
and turns its text into columns with stale markers for what is gone (`scraping`). What a Prometheus 3 does, this does;
docs/scraping.md tells the differences.
"""
