"""docs/insight.md, the alerts and the dashboard name exactly the metrics that there are."""

import json
import re
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mgmt.catalog import open_catalog
from mgmt.services.metrics import metrics
from tests.populated import populate

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "insight.md").read_text("utf-8")
ALERTS = (DOCS / "monitoring" / "alerts.yml").read_text("utf-8")
DASHBOARD = json.loads((DOCS / "monitoring" / "dashboard.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of each metric."""
    url = f"sqlite:///{tmp_path_factory.mktemp('metrics')}/catalog.db"
    populate(url, 400)
    with closing(open_catalog(url)) as catalog:
        text = metrics(catalog)
    return {
        sample.name: set(sample.labels) for family in text_string_to_metric_families(text) for sample in family.samples
    }


def named(expression: str) -> set[str]:
    return set(re.findall(r"\bmgmt_\w+", expression))


def expressions() -> list[str]:
    """What is asked of Prometheus."""
    alerts = re.findall(r"expr: (.*?)\n +(?:for|labels):", ALERTS, re.DOTALL)
    return alerts + [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_the_page_lists_each_metric_and_its_labels(labels: dict[str, set[str]]) -> None:
    rows = re.findall(r"^\| `(mgmt_\w+)` \| (.*?) ?\| ", PAGE, re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", cell)) for name, cell in rows} == labels


def test_alerts_and_dashboard_name_metrics_and_labels_that_exist(labels: dict[str, set[str]]) -> None:
    assert len(expressions()) > 15
    for each in expressions():
        assert named(each) <= labels.keys(), each
        for name, matchers in re.findall(r"\b(mgmt_\w+)\{(.*?)\}", each):
            assert set(re.findall(r'(\w+)(?:=|!=|=~|!~)"', matchers)) <= labels[name], each
    assert set.union(*map(named, expressions())) == labels.keys()


def test_each_alert_says_what_to_type() -> None:
    alerts = ALERTS.count("- alert:")
    assert alerts == len(re.findall(r"^ +summary: .+", ALERTS, re.MULTILINE))
    assert alerts == len(re.findall(r'^ +description: "mgmt .+"$', ALERTS, re.MULTILINE))
