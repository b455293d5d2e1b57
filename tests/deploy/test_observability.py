"""Alerts and dashboard as files; that what they read exists is asked of a running stack (tests/integration)."""

from __future__ import annotations

import json
import re
import runpy

import pytest
import yaml

from metrics_scheme import OBSERVABILITY, faults, samples, used
from ullage.settings import Settings


def test_the_dashboard_is_what_its_table_says():
    made = runpy.run_path(str(OBSERVABILITY.parents[1] / "scripts" / "dashboard.py"))
    written = json.loads((OBSERVABILITY / "dashboard.json").read_text())
    assert written == made["dashboard"]()
    assert len({panel["id"] for panel in written["panels"]}) == len(written["panels"])


def test_every_alert_says_how_bad_it_is_and_what_happened():
    [group] = yaml.safe_load((OBSERVABILITY / "alerts.yaml").read_text())["groups"]
    assert len(group["rules"]) >= 8
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_every_service_is_scraped_at_its_own_port():
    config = yaml.safe_load((OBSERVABILITY / "prometheus.yaml").read_text())
    [job] = config["scrape_configs"]
    assert job["metrics_path"] == "/v1/metrics"
    for target in job["static_configs"]:
        service = target["labels"]["service"]
        assert target["targets"] == [f"localhost:{Settings().port(service)}"]


@pytest.mark.parametrize(("line", "fault"), [
    ("# HELP requests x\n# TYPE requests counter\nrequests_total 1\n", "not ullage_ROOM"),
    ("# HELP ullage_http_ms x\n# TYPE ullage_http_ms gauge\nullage_http_ms 1\n", "times are in seconds"),
    ("# HELP ullage_http_x \n# TYPE ullage_http_x gauge\nullage_http_x 1\n", "no help"),
    ('# HELP ullage_http_x x\n# TYPE ullage_http_x gauge\nullage_http_x{Who="me"} 1\n', "label Who"),
])
def test_a_name_outside_the_scheme_is_found(line, fault):
    assert [said for said in faults(line) if fault in said]


def test_what_is_read_is_found_in_expressions():
    assert {"ullage_ready", "ullage_http_requests_total", "ullage_rag_stage_seconds_bucket"} <= used()
    assert all(re.fullmatch(r"ullage_[a-z0-9_]+", name) for name in used())
    assert samples("# HELP ullage_a_b x\n# TYPE ullage_a_b counter\nullage_a_b_total 1\n") == {"ullage_a_b_total"}
