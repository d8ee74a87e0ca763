"""What a query has cost, as `stats` asks for it: seconds of its parts, and samples."""

import orjson

from kobs.query.metrics import Statistics


def statistics_json(cost: Statistics) -> bytes:
    """Return a query's cost. Prometheus tells samples by step only with a feature of its own, and so it is here."""
    return orjson.dumps(
        {
            "timings": {
                "evalTotalTime": cost.evaluation_seconds + cost.sort_seconds,
                "resultSortTime": cost.sort_seconds,
                "queryPreparationTime": cost.preparation_seconds,
                "innerEvalTime": cost.evaluation_seconds,
                "execQueueTime": cost.queue_seconds,
                "execTotalTime": cost.total_seconds,
            },
            "samples": {"totalQueryableSamples": cost.samples, "peakSamples": cost.peak_samples},
        }
    )
