"""Annotations of a query: what Prometheus warns of and tells beside its answer, with the place in the text.

Source: Prometheus 3, `util/annotations` (wording), `promql/engine.go` and `promql/functions.go` (when).
"""

from dataclasses import dataclass, field

from kobs.query.promql.values import Annotations
from kobs.query.promql.wording import line_and_column, quoted, shortest

_COUNTER_SUFFIXES = ("_total", "_sum", "_count", "_bucket")
_MONOTONICITY = (
    "input to histogram_quantile needed to be fixed for monotonicity "
    "(see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
)


@dataclass(frozen=True, slots=True)
class Notes:
    """Collects the annotations of one query; `query` is its text. Places are characters of the text."""

    query: str
    annotations: Annotations = field(default_factory=Annotations)

    def invalid_quantile(self, quantile: float, *, at: int) -> None:
        """Warn of a quantile outside of 0 to 1."""
        self._warn(f"quantile value should be between 0 and 1, got {shortest(quantile)}", at)

    def invalid_ratio(self, ratio: float, taken: float, *, at: int) -> None:
        """Warn of a ratio outside of -1 to 1."""
        said = f"ratio value should be between -1 and 1, got {shortest(ratio)}, capping to {shortest(taken)}"
        self._warn(said, at)

    def bad_bucket_label(self, value: str, *, at: int) -> None:
        """Warn of a bucket without a number as its bound."""
        self._warn(f'bucket label "le" is missing or has a malformed value of {quoted(value)}', at)

    def forced_monotonicity(self, *, at: int) -> None:
        """Tell that buckets of a histogram did not grow with their bounds."""
        self._tell(_MONOTONICITY, at)

    def possible_non_counter(self, metric: str, *, at: int) -> None:
        """Tell that a rate is that of a metric whose name is no counter's; nothing if it is one's."""
        if metric and not metric.endswith(_COUNTER_SUFFIXES):
            said = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "
            self._tell(said + quoted(metric), at)

    def _warn(self, said: str, at: int) -> None:
        self.annotations.warnings[f"PromQL warning: {said} ({line_and_column(self.query, at)})"] = None

    def _tell(self, said: str, at: int) -> None:
        self.annotations.infos[f"PromQL info: {said} ({line_and_column(self.query, at)})"] = None
