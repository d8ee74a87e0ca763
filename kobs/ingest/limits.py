"""Why an item is dropped: the closed list under which drops are counted."""

import enum


class Reason(enum.StrEnum):
    """Reasons of `kobs_discarded_total`."""

    MALFORMED_FRAME = "malformed_frame"
    WRONG_CHECKSUM = "wrong_checksum"
    FRAME_TOO_LARGE = "frame_too_large"
    BODY_TOO_LARGE = "body_too_large"
    LINE_TOO_LONG = "line_too_long"
    """The end of a log line beyond `server.max_line_bytes`; counted in bytes cut off."""
    EXPIRED_ON_ARRIVAL = "expired_on_arrival"
    MALFORMED_ENTRY = "malformed_entry"
    """A journal record that is no record."""
    LABELS_TOO_MANY = "labels_too_many"
    LABEL_NAME_INVALID = "label_name_invalid"
    LABEL_TOO_LONG = "label_too_long"
    LABELS_NOT_SORTED = "labels_not_sorted"
    """Labels out of order, or a label twice."""
    LABELS_NOT_UTF8 = "labels_not_utf8"
    ID_COLLISION = "id_collision"
    """Another series has the same id of 64 bits; the later one is refused."""
    TIME_OUT_OF_RANGE = "time_out_of_range"
    UNKNOWN_SERIES = "unknown_series"
    TOO_MANY_SAMPLES = "too_many_samples"
