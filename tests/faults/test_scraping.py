"""`kobs up` with a scrape configuration, as a process: from a target to a query's answer, over a crash of it all."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.collectors.scraping.places import Request, serving
from tests.faults.processes import Program
from tests.parts import recorded
from tests.ports import free_port

SECONDS = 60


class Kobs:
    """A running `kobs up`."""

    def __init__(self, folder: Path, *, configuration: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        (folder / "scrape.yaml").write_text(configuration)
        arguments = ["kobs", "up", "--data", str(folder / "data"), "--listen", f"127.0.0.1:{port}"]
        arguments += ["--node", "n1", "--scrape-config", str(folder / "scrape.yaml")]
        settings = {
            "KOBS_AGENT__FILES": "[]",
            "KOBS_AGENT__JOURNAL": "",
            "KOBS_AGENT__POD_LOGS": "",
            "KOBS_AGENT__LISTEN": f"127.0.0.1:{free_port()}",
            "KOBS_AGENT__OWN_METRICS_SECONDS": "1",
        }
        self.program = Program("up", arguments, settings=settings, folder=folder)

    def query(self, query: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, trust_env=False).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def until(self, is_true: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            assert not self.program.has_failed(), self.program.end_of_output()
            try:
                if is_true():
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"it did not come about: {self.program.end_of_output()}")

    def value(self, query: str) -> float | None:
        found = self.query(query)
        return float(found[0]["value"][1]) if found else None


def test_what_a_target_shows_is_answered_by_a_query(tmp_path: Path) -> None:
    shown = {"broken": False}

    def flapping(request: Request) -> None:
        if shown["broken"]:
            request.answer(b"no", status=500)
        else:
            request.answer(b'# TYPE orders_total counter\norders_total{shop="a"} 7\n')

    exposition = (recorded("kubelet-cadvisor") / "k8s-1.34" / "kube-scheduler.prom").read_bytes()
    with serving({"/metrics": flapping, "/scheduler": exposition}) as place:
        configuration = f"""
global: {{scrape_interval: 1s, external_labels: {{dc: x}}}}
scrape_configs:
- {{job_name: shop, static_configs: [{{targets: ["{place.address}"]}}]}}
- job_name: scheduler
  scrape_interval: 3s
  metrics_path: /scheduler
  static_configs: [{{targets: ["{place.address}"]}}]
"""
        kobs = Kobs(tmp_path, configuration=configuration)
        kobs.program.start()
        try:
            kobs.until(lambda: kobs.value('count({job="scheduler"})') == 1628 + 5)
            kobs.until(lambda: kobs.value('orders_total{dc="x",job="shop",shop="a"}') == 7)
            kobs.until(lambda: kobs.value('kobs_build_info{job="kobs",instance="n1",role="agent"}') == 1)
            (labels,) = [each["metric"] for each in kobs.query("orders_total")]
            assert labels == {
                "__name__": "orders_total", "dc": "x", "instance": place.address, "job": "shop", "shop": "a",
            }  # fmt: skip

            shown["broken"] = True
            kobs.until(lambda: kobs.value('up{job="shop"}') == 0)
            kobs.until(lambda: kobs.query("orders_total") == [])
            kobs.until(lambda: health(kobs) == {"shop": "down", "scheduler": "up", "kobs-agent": "up"})
            shown["broken"] = False

            kobs.program.kill()
            kobs.program.start()
            kobs.until(lambda: kobs.value("orders_total") == 7)
            kobs.until(lambda: set(health(kobs).values()) == {"up"})
        finally:
            kobs.program.close()


def health(kobs: Kobs) -> dict[str, str]:
    data = httpx.get(f"{kobs.url}/api/v1/targets", trust_env=False).json()["data"]
    return {target["scrapePool"]: target["health"] for target in data["activeTargets"]}
