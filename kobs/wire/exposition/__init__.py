"""Expositions: the text that a target answers a scrape with, in Prometheus' text format 0.0.4 or OpenMetrics 1.0.

Arrive: pieces of a body, cut anywhere. Leave: columns of values by the number of their series, and what is said of
metric names. `parsing` is what a scrape uses and takes what Prometheus 3 takes; `strict` finds every breach of the
OpenMetrics specification. Exemplars are read over and left out. Native histograms exist in the protobuf format only,
which is not negotiated.
"""
