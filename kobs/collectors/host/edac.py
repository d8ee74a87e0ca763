"""Memory errors, as the memory controllers count them: corrected ones, and those that could not be.

Source: Linux `Documentation/driver-api/edac.rst`, `Documentation/ABI/testing/sysfs-devices-edac`; node_exporter 1.12
(names).
"""

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import Roots, names, number, some_number, some_text

_KINDS = (("ce", "correctable"), ("ue", "uncorrectable"))


def collect_edac(roots: Roots) -> list[Point]:
    """Return the points of all memory controllers; none where the machine's memory has no error correction."""
    folder = f"{roots.sys}/devices/system/edac/mc"
    points = []
    for controller in names(folder, r"mc\d+"):
        path = f"{folder}/{controller}"
        place = {"controller": controller.removeprefix("mc")}
        for short, kind in _KINDS:
            row = f"node_edac_csrow_{kind}_errors_total"
            # Errors of which the controller does not know the row have one of their own.
            nowhere = float(number(f"{path}/{short}_noinfo_count"))
            points += [
                Point(f"node_edac_{kind}_errors_total", float(number(f"{path}/{short}_count")), labelled(**place)),
                Point(row, nowhere, labelled(**place, csrow="unknown")),
            ]
        for csrow in names(path, r"csrow\d+"):
            points += _row_points(f"{path}/{csrow}", {**place, "csrow": csrow.removeprefix("csrow")})
    return points


def _row_points(path: str, place: dict[str, str]) -> list[Point]:
    points = [
        Point(f"node_edac_csrow_{kind}_errors_total", float(number(f"{path}/{short}_count")), labelled(**place))
        for short, kind in _KINDS
    ]
    for file in names(path, r"ch\d+_ce_count"):
        channel = file.removeprefix("ch").removesuffix("_ce_count")
        label = _module(some_text(f"{path}/ch{channel}_dimm_label"))
        for short, kind in _KINDS:
            count = some_number(f"{path}/ch{channel}_{short}_count")
            if count is not None:
                labels = labelled(**place, channel=channel, dimm_label=label)
                points.append(Point(f"node_edac_channel_{kind}_errors_total", float(count), labels))
    return points


def _module(label: str | None) -> str:
    """Return the name of a memory module, such as mc0_csrow0_channel1 for mc#0csrow#0channel#1."""
    if label is None:
        return "unknown"
    return label.replace("#", "").replace("csrow", "_csrow").replace("channel", "_channel")
