"""The gate and the browser agree: what passes as voice never becomes video, by replay of the corpus in Chromium.

Each description is applied by an eager peer, who has a microphone and a camera at hand and takes whatever it is let
have, in two states that a peer can be in (see `replay.js`). What flows is what the browser says it has negotiated.
"""

import pytest

from tests.corpus.cases import ACCEPTED, Case, cases
from tests.corpus.judging import hidden
from tests.e2e.replay import Description, Outcome, Outcomes, replay
from tests.fixtures.tools import find_tool

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

HIDDEN = "-hidden"


def ids(case: Case) -> str:
    return case.id


VOICE_ONLY = [case for case in cases().values() if case.verdicts["voice"] == ACCEPTED]
APPLIED = [case for case in VOICE_ONLY if case.chromium_refuses is None]
REFUSED = [case for case in cases().values() if case.chromium_refuses is not None]
WITH_PERMISSION = [
    case
    for case in cases().values()
    if case.verdicts["voice"] != ACCEPTED
    and ACCEPTED in case.verdicts.values()
    and case.chromium_refuses is None
]
WITH_VIDEO = [
    case
    for case in WITH_PERMISSION
    if case.verdicts["voice"] == "video_not_allowed" and case.idle_in_chromium is None
]
ONE_WAY = [
    case for case in WITH_VIDEO if ACCEPTED in (case.verdicts.get("send"), case.verdicts.get("receive"))
]
WITH_DATA = [
    case
    for case in WITH_PERMISSION
    if case.verdicts.get("data") == ACCEPTED and case.idle_in_chromium is None
]
MALFORMED_AND_LIVE = [case for case in cases().values() if case.live_in_chromium]


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    """What came of every case of the corpus, by id; of those that may pass also with their addresses hidden."""
    program = find_tool("chromium")
    wanted: list[Description] = []
    for case in cases().values():
        wanted.append({"id": case.id, "kind": case.kind, "sdp": case.sdp, "offer": case.offer})
        if ACCEPTED in case.verdicts.values():
            offer = None if case.offer is None else hidden(case.offer)
            wanted.append(
                {"id": case.id + HIDDEN, "kind": case.kind, "sdp": hidden(case.sdp), "offer": offer}
            )
    return replay(program, wanted)


def applied(case: Case, outcomes: Outcomes) -> list[Outcome]:
    """The outcomes of the states in which the browser took the description. There has to be one."""
    taken = [outcome for outcome in outcomes[case.id] if outcome["refused"] is None]
    assert taken, [outcome["refused"] for outcome in outcomes[case.id]]
    return taken


@pytest.mark.parametrize("case", APPLIED, ids=ids)
def test_what_passes_as_voice_is_voice_and_nothing_else(case: Case, outcomes: Outcomes) -> None:
    """No video track, no video direction, no data channel; and a voice, or the replay would have shown nothing."""
    for outcome in applied(case, outcomes):
        assert outcome["video"] == [], case.why
        assert "video" not in outcome["tracks"], case.why
        assert outcome["data"] is False, case.why
        assert len(outcome["audio"]) == 1, case.why


@pytest.mark.parametrize("case", [*APPLIED, *WITH_PERMISSION], ids=ids)
def test_hiding_addresses_changes_nothing_else(case: Case, outcomes: Outcomes) -> None:
    """What the address filter leaves of a description is applied like the whole, with the same media."""
    for whole, rest in zip(outcomes[case.id], outcomes[case.id + HIDDEN], strict=True):
        assert (whole["refused"] is None) is (rest["refused"] is None), (case.why, rest["refused"])
        if whole["refused"] is None:
            assert rest == whole, case.why


@pytest.mark.parametrize("case", WITH_VIDEO, ids=ids)
def test_what_needs_permission_is_live_video(case: Case, outcomes: Outcomes) -> None:
    """The converse: the replay sees video where there is some, and the gate refuses nothing that is harmless."""
    for outcome in applied(case, outcomes):
        assert len(outcome["video"]) == 1, case.why
        if case.kind == "offer":
            # Who is only watched gets no track of the other. Before an answer there was one, or was not, already.
            assert ("video" in outcome["tracks"]) is (outcome["video"] != ["sendonly"]), case.why


@pytest.mark.parametrize("case", ONE_WAY, ids=ids)
def test_permission_for_one_direction_gives_that_direction_only(case: Case, outcomes: Outcomes) -> None:
    """Seen from who applies it: what only shows can only be watched, what only watches can only be shown to."""
    allowed = "recvonly" if case.verdicts.get("send") == ACCEPTED else "sendonly"

    for outcome in applied(case, outcomes):
        assert set(outcome["video"]) <= {allowed}, case.why


@pytest.mark.parametrize("case", WITH_DATA, ids=ids)
def test_what_needs_permission_for_data_opens_a_data_channel(case: Case, outcomes: Outcomes) -> None:
    """The converse for data channels, which know no direction."""
    for outcome in applied(case, outcomes):
        assert outcome["data"] is True, case.why
        assert outcome["video"] == [], case.why


@pytest.mark.parametrize("case", MALFORMED_AND_LIVE, ids=ids)
def test_strictness_is_no_pedantry(case: Case, outcomes: Outcomes) -> None:
    """What the gate refuses as malformed, whatever is allowed, and Chromium takes for live video all the same."""
    assert set(case.verdicts.values()) == {"sdp_invalid"}
    assert any(outcome["video"] for outcome in applied(case, outcomes)), case.why


@pytest.mark.parametrize("case", REFUSED, ids=ids)
def test_what_the_browser_is_said_to_refuse_it_refuses(case: Case, outcomes: Outcomes) -> None:
    """An excuse that no longer holds has to go, so that the case is replayed again."""
    assert all(outcome["refused"] for outcome in outcomes[case.id]), case.chromium_refuses


def test_the_replay_covers_the_corpus() -> None:
    """Few cases may be excused, and each group has some to show."""
    assert len(APPLIED) >= 100
    assert len(WITH_VIDEO) >= 50
    assert len(ONE_WAY) >= 20
    assert len(WITH_DATA) >= 5
    assert len(MALFORMED_AND_LIVE) >= 10
    assert len(REFUSED) <= len(cases()) // 20
