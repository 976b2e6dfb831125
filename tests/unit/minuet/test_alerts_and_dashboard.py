"""Alerts and the dashboard ask for what is served, and lead to a section that says what to do."""

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from base.errors import CloseCode, ErrorCode
from minuet.reference.metrics import GROUPS, LABELS, Described, metrics_of
from tests.fixtures.promql import Kind, NotPromql, Query, Selector, parse
from tests.fixtures.tools import find_tool

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "minuet.json"

# What Prometheus adds to a target; `worker` is the supervisor's word for whose sample it is.
OF_A_TARGET = {"instance", "job", "worker"}
OF_OTHERS = {
    "up",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
}
SERIES: dict[str, Described] = {
    name: metric for group in GROUPS for metric in metrics_of(group) for name in metric.series
}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """All panels, those in folded rows too."""
    board = orjson.loads(DASHBOARD.read_bytes())
    return [one for panel in board["panels"] for one in (panel, *panel.get("panels", ()))]


def plain(expression: str) -> str:
    """What Grafana makes of its variables, in the form of something that could stand there."""
    return re.sub(r"\$__\w+", "5m", expression).replace("$instance", ".*").replace("$intent", ".*")


def headings(page: str) -> set[str]:
    """The anchors of a page, as they are made from its headings where it is shown."""
    found = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def labels_of(selector: Selector) -> set[str]:
    metric = SERIES.get(selector.name)
    own = set(metric.labels) if metric is not None else set()
    return own | OF_A_TARGET | ({"le"} if selector.name.endswith("_bucket") else set())


def complaints(query: Query) -> Iterator[str]:
    """What an expression asks for that is not there."""
    for selector in query.selectors:
        if selector.name not in SERIES and selector.name not in OF_OTHERS:
            yield f"no metric {selector.name}"
            continue
        for label, operator, value in selector.matchers:
            if label not in labels_of(selector):
                yield f"{selector.name} has no label {label}"
            elif label not in OF_A_TARGET:
                yield from _strangers(selector.name, label, operator, value)
    for labels, below in query.groupings:
        for label in labels:
            if not any(label in labels_of(selector) for selector in below):
                yield f"nothing has the label {label}: {[selector.name for selector in below]}"


def _strangers(name: str, label: str, operator: str, value: str) -> Iterator[str]:
    """Values that the label cannot have, where those are known."""
    metric = SERIES.get(name)
    if metric is None or label == "le":
        return
    text = LABELS.get((metric.name, label), "")
    said = [*metric.labels[label], *re.findall(r"`([^`]+)`", text)]
    is_closed = text in ("", ", ".join(f"`{one}`" for one in said))
    if "errors.md" in text:
        said += [*ErrorCode, *(str(int(code)) for code in CloseCode)]
        is_closed = True
    wanted = value.split("|") if "~" in operator else [value]
    if is_closed and value != ".*":
        yield from (f"{name} has no {label} {one!r}" for one in wanted if one not in said)


def expressions() -> Iterable[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", target["expr"]


@pytest.mark.parametrize(("where", "expression"), [pytest.param(*one, id=one[0]) for one in expressions()])
def test_an_expression_is_well_formed_and_asks_for_what_is_served(where: str, expression: str) -> None:
    """A name that is misspelt would be silent for ever, just when it should not be."""
    query = parse(plain(expression))

    assert query.kind is Kind.VECTOR
    assert query.selectors
    assert list(complaints(query)) == []


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_where_it_says_what_to_do(rule: dict[str, Any]) -> None:
    """Whoever it wakes reads these two lines first."""
    page, _, anchor = rule["annotations"]["runbook"].partition("#")

    assert re.fullmatch(r"Minuet[A-Z]\w+", rule["alert"])
    assert rule["labels"] in ({"severity": "page"}, {"severity": "warn"})
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert set(rule["annotations"]) == {"summary", "runbook"}
    assert rule["annotations"]["summary"].endswith(".")
    assert page == "docs/operations.md"
    assert anchor in headings(page)
    # What fires by its own comparison: an expression without one would fire whenever anything is there.
    assert re.search(r"[<>=]|absent\(", rule["expr"])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_names_only_labels_that_its_result_has(rule: dict[str, Any]) -> None:
    """Else the line reads "is not ready:", and nobody knows who."""
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    query = parse(rule["expr"])
    outermost = next((labels for labels, below in reversed(query.groupings) if below), None)

    if outermost is None:
        assert named <= set.intersection(*(labels_of(selector) for selector in query.selectors))
    else:
        assert named <= set(outermost)


def test_no_two_alerts_have_one_name() -> None:
    """They could not be silenced apart."""
    names = [rule["alert"] for rule in rules()]

    assert len(names) == len(set(names))


def test_every_alert_has_its_line_in_the_runbook() -> None:
    """Whoever has only the name finds the section by it, and no section names an alert that is gone."""
    text = (ROOT / "docs" / "operations.md").read_text()

    assert set(re.findall(r"`(Minuet[A-Z]\w+)`", text)) == {rule["alert"] for rule in rules()}


def test_the_dashboard_has_a_row_for_each_part_and_no_two_panels_in_one_place() -> None:
    """Ids are what links lead to; panels that overlap push each other about."""
    board = orjson.loads(DASHBOARD.read_bytes())
    rows = [panel["title"] for panel in panels() if panel["type"] == "row"]
    ids = [panel["id"] for panel in panels()]
    taken = [
        (x, y)
        for panel in panels()
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert rows == [
        "Presence",
        "Matching",
        "Calls and consent",
        "Relay latency",
        "Chat",
        "Stores",
        "Nodes",
    ]
    assert len(ids) == len(set(ids))
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    assert board["uid"] == "minuet"


def test_each_panel_says_what_it_shows_and_in_what_unit() -> None:
    """And takes its numbers from the source that the reader has chosen."""
    for panel in panels():
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["legendFormat"], panel["title"]


def test_the_variables_of_the_dashboard_ask_for_labels_that_are_there() -> None:
    """`label_values(metric, label)`."""
    variables = orjson.loads(DASHBOARD.read_bytes())["templating"]["list"]
    queries = [one["query"]["query"] for one in variables if one["type"] == "query"]

    assert {one["name"] for one in variables} == {"datasource", "instance", "intent"}
    for query in queries:
        found = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
        assert found is not None, query
        assert found[2] in labels_of(Selector(found[1], ()))
        assert found[1] in SERIES


@pytest.mark.parametrize(
    "wrong",
    [
        "rate(minuet_ws_connections)",
        "rate(minuet_ws_connections[5m]",
        "minuet_ws_connections[5m]",
        "sum by instance (minuet_ws_connections)",
        "sum(rate(minuet_ws_connections[5m])) >",
        "histogram_quantile(sum(minuet_ws_connections), 0.9)",
        "frequency(minuet_ws_connections[5m])",
        "minuet_ws_connections{state=idle}",
        'minuet_ws_connections{state="idle"',
        "1 > 2",
        "minuet_ws_connections and 1",
        "rate(sum(minuet_ws_connections)[5m])",
        "minuet_ws_connections minuet_calls",
        "",
    ],
)
def test_what_prometheus_would_not_take_is_refused(wrong: str) -> None:
    """Else the test above proves nothing."""
    with pytest.raises(NotPromql):
        parse(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        "minuet_ws_conections",
        'minuet_sessions{stat="idle"}',
        'minuet_sessions{state="idel"}',
        'minuet_call_end_total{reason=~"declined|no_anser"}',
        "sum by (sate) (minuet_sessions)",
        'minuet_ws_closed_total{code="4099"}',
    ],
)
def test_what_nobody_serves_is_found(wrong: str) -> None:
    """Names, labels and values."""
    assert len(list(complaints(parse(wrong)))) == 1


def test_the_guides_name_only_metrics_that_there_are() -> None:
    """With the labels that stand behind them."""
    wrong, named = [], set()
    for page in sorted((ROOT / "docs").glob("*.md")):
        for name, inner in re.findall(r"`(minuet_\w+)(?:\{([^}`]*)\})?`", page.read_text()):
            named.add(name)
            metric = SERIES.get(name) or SERIES.get(f"{name}_count")
            labels = [part.partition("=")[0] for part in inner.split(",") if part]
            if metric is None or not set(labels) <= set(metric.labels):
                wrong.append((page.name, name, inner))

    assert len(named) > 100
    assert wrong == []


def test_rules_fire_when_they_should_and_not_else() -> None:
    """By Prometheus' own tool."""
    done = subprocess.run(
        [find_tool("promtool"), "test", "rules", "alerts_test.yml"],
        cwd=ROOT / "tests" / "fixtures" / "prometheus",
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
