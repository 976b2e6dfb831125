"""What is answered before the middlewares is counted and logged as they would."""

from http import HTTPStatus

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from rest.metrics import RestMetrics
from rest.middleware import request_counter


def test_a_status_is_a_number_in_the_log_and_in_the_metrics() -> None:
    """Whether it was given as one or by its name."""
    registry = CollectorRegistry()
    answered = request_counter(RestMetrics(registry), "/v1/ws", "GET")
    with capture_logs() as lines:
        for status in (HTTPStatus.SWITCHING_PROTOCOLS, 101):
            answered(status)

    assert [repr(line["status"]) for line in lines] == ["101", "101"]
    labels = {"route": "/v1/ws", "method": "GET", "status": "101"}
    assert registry.get_sample_value("minuet_http_requests_total", labels) == 2
