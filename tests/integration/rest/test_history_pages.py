"""The history of one's calls, page by page."""

from typing import Any

from rest.ports import Interaction, InteractionPeer

HISTORY = "/api/v1/history/interactions"


def a_call(number: int, ended_at: int) -> Interaction:
    return Interaction(
        call_id=f"0192f0c1-2345-7abc-8def-{number:012}",
        intent="dating",
        role="controller",
        peer=InteractionPeer(first_name="Bob"),
        started_at=ended_at - 1_000,
        ended_at=ended_at,
        duration_ms=1_000,
        reason="hangup",
        connected=False,
    )


async def test_history_is_read_page_by_page(house: Any) -> None:
    """Newest first, calls of the same millisecond among them, each exactly once, one's own only."""
    data, stranger = await house.sign_up(), await house.sign_up()
    calls = [a_call(number, 1_793_016_000_000 + number // 3) for number in range(25)]
    house.history.of[data["user"]["id"]] = calls
    pages: list[dict[str, Any]] = []
    cursor = ""
    while len(pages) < 10:
        answer = await house.get(f"{HISTORY}?limit=10{cursor}", data["access_token"])
        assert answer.status == 200
        pages.append(await answer.json())
        if not pages[-1]["meta"]["has_more"]:
            break
        cursor = f"&cursor={pages[-1]['meta']['next_cursor']}"

    seen = [one["call_id"] for page in pages for one in page["data"]]
    assert [len(page["data"]) for page in pages] == [10, 10, 5]
    assert seen == [one.call_id for one in reversed(calls)]
    assert pages[-1]["meta"] == {"next_cursor": None, "has_more": False}
    assert set(pages[0]["data"][0]) == {
        "call_id",
        "intent",
        "role",
        "peer",
        "started_at",
        "ended_at",
        "duration_ms",
        "reason",
        "connected",
        "connection_id",
        "feedback",
    }
    theirs = await house.get(f"{HISTORY}?limit=10{cursor}", stranger["access_token"])
    assert (await theirs.json())["data"] == []


async def test_a_page_that_is_exactly_full_is_the_last(house: Any) -> None:
    """Nobody is sent for an empty page."""
    data = await house.sign_up()
    house.history.of[data["user"]["id"]] = [a_call(number, 1_793_016_000_000) for number in range(20)]

    body = await (await house.get(HISTORY, data["access_token"])).json()
    assert len(body["data"]) == 20
    assert body["meta"] == {"next_cursor": None, "has_more": False}


UNFIT_QUERIES = [
    ("limit=0", "limit"),
    ("limit=101", "limit"),
    ("limit=ten", "limit"),
    ("limit=1.5", "limit"),
    ("limit=", "limit"),
    ("limit=1&limit=2", "limit"),
    ("cursor=", "cursor"),
    ("cursor=nonsense", "cursor"),
    ("cursor=" + "A" * 300, "cursor"),
    ("cursor=%00", "cursor"),
    ("cursor=%ff%fe", "cursor"),
]


async def test_a_query_that_does_not_fit_is_named(house: Any) -> None:
    """Never an error of ours."""
    token = (await house.sign_up())["access_token"]
    for query, field in UNFIT_QUERIES:
        answer = await house.get(f"{HISTORY}?{query}", token)

        assert answer.status == 400, query
        assert (await answer.json())["error"]["details"]["field"] == field
