"""The SDP gate: what passes while only voice is allowed, and what video permission changes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import ErrorCode
from signaling.sdp import Allowance, SdpRefused, judge, parse
from tests.fixtures.sdp import VOICE, audio, description, section, video

NOTHING = Allowance()
DATA = section("application", "2", "a=sctp-port:5000")
ALLOWANCES = [Allowance(send_video=a, receive_video=b) for a in (False, True) for b in (False, True)]


def verdict(sdp: str, allowance: Allowance = NOTHING) -> ErrorCode | None:
    """The code with which the gate refuses; None where it lets pass."""
    try:
        judge(parse(sdp), allowance)
    except SdpRefused as refused:
        return refused.code
    return None


@pytest.mark.parametrize(
    "sdp",
    [
        VOICE,
        VOICE.replace("\r\n", "\n"),
        description(audio(), video("inactive")),
        description(audio(), video(port=0), bundle=["0"]),
        description(audio("a1")),
        description(audio(), video("inactive", port=65_535)),
        description(audio(), video() + "a=inactive\r\n"),
        description(audio(), video("inactive") + "a=inactivex\r\na=x-sendrecv\r\na=sendrecvx:1\r\n"),
    ],
    ids=[
        "voice",
        "LF lines",
        "video inactive",
        "video rejected",
        "named mid",
        "highest port",
        "the last direction is inactive",
        "attributes that only begin like a direction",
    ],
)
def test_voice_passes(sdp: str) -> None:
    """One live audio section, everything else off."""
    assert verdict(sdp) is None


@pytest.mark.parametrize(
    ("sdp", "code"),
    [
        (description(audio(), video()), "video_not_allowed"),
        (description(audio(), video("recvonly")), "video_not_allowed"),
        (description(audio(), video("sendonly")), "video_not_allowed"),
        # Port 0 with bundle-only is a live section (RFC 9143).
        (description(audio(), video(port=0) + "a=bundle-only\r\n"), "video_not_allowed"),
        # The last direction counts, a missing one means sendrecv.
        (description(audio(), video("inactive") + "a=sendrecv\r\n"), "video_not_allowed"),
        (description(audio(), section("video", "1")), "video_not_allowed"),
        # A direction at session level counts for nothing.
        (
            description(audio(), section("video", "1")).replace("t=0 0\r\n", "t=0 0\r\na=inactive\r\n"),
            "video_not_allowed",
        ),
        (description(audio(), DATA), "media_kind_forbidden"),
        (description(audio(), section("text", "1")), "media_kind_forbidden"),
        (description(audio(), audio("1")), "sdp_invalid"),
        (description(audio(direction="inactive")), "sdp_invalid"),
        (description(video("inactive")), "sdp_invalid"),
        (description(audio(), video("inactive", mid="0")), "sdp_invalid"),
        (description(audio(), bundle=["0", "9"]), "sdp_invalid"),
        (description(audio(), bundle=["0", "0"]), "sdp_invalid"),
        (description(section("audio", "0").replace("a=mid:0\r\n", "")), "sdp_invalid"),
        ("", "sdp_invalid"),
        ("hello", "sdp_invalid"),
        (VOICE.replace("m=audio", "m=audio "), "sdp_invalid"),
        (VOICE + "a=\u2028m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "sdp_invalid"),
        (VOICE + "a=x\rm=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "sdp_invalid"),
        (VOICE + "a=x\x0bm=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "sdp_invalid"),
        (VOICE + "a=x\x00\r\n", "sdp_invalid"),
        (VOICE + "a=x\u00e9\r\n", "sdp_invalid"),
        # Spellings that one browser takes for something and another does not: Chromium reads `a=sendrecv:x`,
        # `a=bundle-only x` and a port of `00` as live, Firefox `a=SENDRECV` and `a=:sendrecv`.
        (description(audio(), video("inactive") + "a=sendrecv:x\r\n"), "sdp_invalid"),
        (description(audio(), video("inactive") + "a=sendrecv:\r\n"), "sdp_invalid"),
        (description(audio(), video("inactive") + "a=sendonly x\r\n"), "sdp_invalid"),
        (description(audio(), video("inactive") + "a=recvonly \r\n"), "sdp_invalid"),
        (description(audio(), video("inactive") + "a=SENDRECV\r\n"), "sdp_invalid"),
        (description(audio(), video("inactive") + "a=Recvonly\r\n"), "sdp_invalid"),
        (description(audio(), video("inactive") + "a=:sendrecv\r\n"), "sdp_invalid"),
        (description(audio(), video("inactive") + "a= sendrecv\r\n"), "sdp_invalid"),
        (description(audio(), video("inactive") + "a=\r\n"), "sdp_invalid"),
        (description(audio(), video("inactive") + "a=inactive:x\r\n"), "sdp_invalid"),
        (description(audio(), video(port=0) + "a=bundle-only:x\r\n"), "sdp_invalid"),
        (description(audio(), video(port=0) + "a=bundle-only x\r\n"), "sdp_invalid"),
        (description(audio(), video(port=0) + "a=Bundle-Only\r\n"), "sdp_invalid"),
        (description(audio(), video(port=0)).replace("m=video 0", "m=video 00"), "sdp_invalid"),
        (description(audio(), video(port=0)).replace("m=video 0", "m=video 0/2"), "sdp_invalid"),
        (description(audio(), video("inactive", port=65_536)), "sdp_invalid"),
        (description(audio(), video("inactive")).replace("m=video", "m=VIDEO"), "sdp_invalid"),
        (description(audio(), video("inactive") + "a=MID:7\r\n"), "sdp_invalid"),
        (description(audio(), video("inactive") + "a=mid:7\r\n"), "sdp_invalid"),
        (description(audio(), video("inactive")).replace("a=mid:1", "a=mid:1 "), "sdp_invalid"),
        # A line that does not end is read by some and not by others.
        (description(audio(), section("video", "1")) + "a=inactive", "sdp_invalid"),
        (VOICE + "a=ice-ufrag:abc\r\n", "sdp_invalid"),
        (VOICE + "a=ice-ufrag:abcd\r\na=ice-ufrag:abcd\r\n", "sdp_invalid"),
        (VOICE.replace("t=0 0\r\n", "t=0 0\r\na=ice-ufrag:a b c d\r\n"), "sdp_invalid"),
        (VOICE.replace("t=0 0\r\n", "t=0 0\r\na=ice-ufrag:abcd\r\na=ice-ufrag:efgh\r\n"), "sdp_invalid"),
        (VOICE + " m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "sdp_invalid"),
        (VOICE + "a=x\r\n" * 500, "sdp_invalid"),
        (VOICE + "a=" + "x" * 16_384 + "\r\n", "payload_too_large"),
        (description(audio(), *(video("inactive", mid=str(n)) for n in range(1, 9))), "sdp_invalid"),
    ],
)
def test_what_may_not_pass_is_refused_with_its_code(sdp: str, code: str) -> None:
    """Each rule has its code; clients roll back by it."""
    assert verdict(sdp) == code


@pytest.mark.parametrize("allowance", ALLOWANCES)
@pytest.mark.parametrize("direction", ["sendrecv", "sendonly", "recvonly", "inactive"])
def test_video_passes_only_in_the_directions_that_are_allowed(direction: str, allowance: Allowance) -> None:
    """Sending needs the sender's permission, inviting needs the peer's."""
    sends, receives = direction in ("sendrecv", "sendonly"), direction in ("sendrecv", "recvonly")
    legal = (not sends or allowance.send_video) and (not receives or allowance.receive_video)

    assert (verdict(description(audio(), video(direction)), allowance) is None) is legal


def test_one_video_at_most_even_when_allowed() -> None:
    """A second camera, or a screen, is not what was agreed to."""
    two = description(audio(), video(), video(mid="2"))

    assert verdict(two, Allowance(send_video=True, receive_video=True)) == "media_kind_forbidden"


def test_data_channels_pass_where_the_policy_allows_them() -> None:
    """Off by default."""
    assert verdict(description(audio(), DATA), Allowance(data_channels=True)) is None


def test_sections_know_the_credentials_that_their_candidates_have_to_name() -> None:
    """A section's own ufrag before the session's."""
    own = description(audio() + "a=ice-ufrag:own1\r\n", video("inactive"))

    sections = parse(own.replace("t=0 0\r\n", "t=0 0\r\na=ice-ufrag:all/+\r\n")).sections

    assert [part.ufrag for part in sections] == ["own1", "all/+"]
    assert [part.ufrag for part in parse(own).sections] == ["own1", None]


@st.composite
def mangled(draw: st.DrawFn) -> str:
    """An honest description with lines removed, doubled, moved and damaged."""
    lines = description(audio(), video("inactive"), video("sendrecv", "2"), DATA).split("\r\n")
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[draw(st.integers(0, len(lines) - 1))])
            case 2:
                lines[at] = draw(st.text(max_size=20))
            case 3:
                lines.insert(
                    at, draw(st.sampled_from(["a=inactive", "a=sendrecv", "a=bundle-only", "a=mid:0"]))
                )
            case _:
                lines[at] = lines[at].replace(draw(st.sampled_from(list("m=a0 "))), "")
        lines = lines or [""]
    return draw(st.sampled_from(["\r\n", "\n"])).join(lines)


@given(mangled(), st.sampled_from(ALLOWANCES))
@settings(max_examples=400, deadline=None)
def test_nothing_but_the_gates_own_error_and_never_live_video_without_permission(
    sdp: str, allowance: Allowance
) -> None:
    """Whatever is done to a description: it is refused, or has no video beyond what is allowed."""
    if verdict(sdp, allowance) is None:
        for part in parse(sdp).sections:
            if part.live and part.kind == "video":
                assert allowance.send_video or part.direction not in ("sendrecv", "sendonly")
                assert allowance.receive_video or part.direction not in ("sendrecv", "recvonly")
