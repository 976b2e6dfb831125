"""The SDP gate at its limits: the last that passes and the first that does not, and what refusals say."""

import pytest

from base.errors import ErrorCode
from signaling.sdp import (
    MAX_BYTES,
    MAX_LINES,
    MAX_SECTIONS,
    Allowance,
    SdpRefused,
    check_answer,
    judge,
    parse,
)
from tests.fixtures.sdp import VOICE, audio, description, section, video

NOTHING = Allowance()


def refusal(sdp: str, allowance: Allowance = NOTHING) -> SdpRefused | None:
    """What the gate raises; None where it lets pass."""
    try:
        judge(parse(sdp), allowance)
    except SdpRefused as refused:
        return refused
    return None


def test_the_limits_are_those_of_the_design() -> None:
    """Clients are told of them."""
    assert (MAX_BYTES, MAX_LINES, MAX_SECTIONS) == (16_384, 500, 8)


def test_a_description_of_exactly_the_longest_passes() -> None:
    """A byte more is too large, whatever else is wrong with it."""
    room = MAX_BYTES - len(VOICE) - len("a=x:\r\n")

    assert refusal(VOICE + f"a=x:{'y' * room}\r\n") is None
    longer = refusal(VOICE + f"a=x:{'y' * (room + 1)}\r\n")
    assert longer is not None
    assert longer.code is ErrorCode.PAYLOAD_TOO_LARGE


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_a_description_of_exactly_the_most_lines_passes(end: str) -> None:
    """One more does not, nor one that does not end."""
    voice = VOICE.replace("\r\n", end)
    longest = voice + f"a=x{end}" * (MAX_LINES - voice.count("\n"))

    assert longest.count("\n") == 500
    assert refusal(longest) is None
    for more in ("a=x" + end, "a=x"):
        refused = refusal(longest + more)
        assert refused is not None
        assert refused.code is ErrorCode.SDP_INVALID
    assert "500 lines" in str(refusal(longest + "a=x" + end))


def test_a_description_of_exactly_the_most_sections_passes() -> None:
    """One more does not, and none neither."""
    others = [video("inactive", mid=str(number)) for number in range(1, MAX_SECTIONS)]

    assert refusal(description(audio(), *others)) is None
    assert "sections" in str(refusal(description(audio(), *others, video("inactive", mid="8"))))
    assert "sections" in str(refusal(description()))


@pytest.mark.parametrize("code", range(0x20, 0x7F))
def test_all_printable_letters_pass(code: int) -> None:
    """In a value."""
    assert refusal(VOICE + f"a=x:{chr(code)}\r\n") is None


@pytest.mark.parametrize(
    "code",
    [
        *(code for code in range(0x20) if code != 0x0A),
        0x7F,
        0x80,
        0x85,
        0xA0,
        0xFF,
        0x2028,
        0x2029,
        0xFEFF,
        0x1F600,
    ],
)
def test_no_other_letter_does(code: int) -> None:
    """One of them is enough, and where it stands is the same."""
    for sdp in (VOICE + f"a=x:{chr(code)}y\r\n", f"{chr(code)}{VOICE}", f"{VOICE}{chr(code)}"):
        refused = refusal(sdp)
        assert refused is not None
        assert refused.code is ErrorCode.SDP_INVALID


@pytest.mark.parametrize("begin", ["v=0 ", "v=1", "v=00", "V=0", "x=0"])
def test_a_description_begins_with_its_version(begin: str) -> None:
    """The only one there is."""
    assert "begins with v=0" in str(refusal(VOICE.replace("v=0", begin, 1)))


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("nonsense", 2),
        ("A=x", 2),
        ("a", 2),
        ("", 2),
        ("=x", 2),
        ("a x", 2),
        ("ab=x", 2),
        ("1=x", 2),
        ("a=\\x", 2),
    ],
)
def test_a_refusal_names_the_line_that_is_malformed(line: str, number: int) -> None:
    """So that whoever writes a client finds it."""
    refused = refusal(VOICE.replace("v=0\r\n", f"v=0\r\n{line}\r\n"))

    assert f"line {number} " in str(refused)
    last = refusal(VOICE + "x")
    assert f"line {VOICE.count(chr(10)) + 1} " in str(last)


@pytest.mark.parametrize("name", ["x", "X", "0", "rtp-map", "x.y", "x_y", "!#$%&'*+-.^_`{|}~"])
def test_the_name_of_an_attribute_is_a_token(name: str) -> None:
    """Alone or with a value."""
    assert refusal(VOICE + f"a={name}\r\n") is None
    assert refusal(VOICE + f"a={name}:\r\n") is None
    assert refusal(VOICE + f"a={name}: : =x\r\n") is None


@pytest.mark.parametrize("letter", list(' "(),/;<=>?@[\\]'))
def test_other_letters_are_no_part_of_a_name(letter: str) -> None:
    """RFC 8866: separators. At its begin, within or at its end."""
    for name in (f"{letter}x", f"x{letter}x", f"x{letter}"):
        assert refusal(VOICE + f"a={name}\r\n") is not None
        assert refusal(VOICE + f"a={name}:y\r\n") is not None


@pytest.mark.parametrize(
    "line",
    [
        "m=audio",
        "m=audio 9",
        "m=audio 9 RTP",
        "m=audio  9 RTP 96",
        "m=audio 9  RTP 96",
        "m=audio 9 RTP  96",
        "m=audio 9 RTP 96 ",
        "m=audio 9 RTP 96.",
        "m=audio 9 RTP:X 96",
        "m=audio x RTP 96",
        "m=audio 123456 RTP 96",
        f"m=audio {'1' * 5000} RTP 96",
        "m=audio -1 RTP 96",
        "m=audio 09 RTP 96",
        "m=audio2 9 RTP 96",
        "m= 9 RTP 96",
        "m=",
    ],
)
def test_a_media_line_has_one_form(line: str) -> None:
    """Kind, port, protocol, formats, one space between."""
    refused = refusal(description(audio(), f"{line}\r\na=mid:1\r\na=inactive\r\n", bundle=["0"]))

    assert "malformed m= line" in str(refused)


@pytest.mark.parametrize("mid", ["0", "x" * 32, "!#$%&'*+-.^_`{|}~", "aZ9"])
def test_a_mid_is_a_token_of_at_most_32_letters(mid: str) -> None:
    """RFC 9143 and RFC 8866."""
    assert refusal(description(audio(mid))) is None
    for wrong in (f"{mid}{'x' * 32}", f"{mid} ", f" {mid}", "", f"{mid}/", f"{mid}:"):
        assert "one well-formed mid" in str(refusal(description(audio(wrong), bundle=[])))


@pytest.mark.parametrize("mid", ["0", "1"])
def test_two_sections_never_share_a_mid(mid: str) -> None:
    """Also where one is rejected."""
    other = section("text", "0", port=0).replace("a=mid:0", f"a=mid:{mid}")

    assert (refusal(description(audio(), other, bundle=["0"])) is None) is (mid == "1")


@pytest.mark.parametrize(
    ("group", "passes"),
    [
        ("BUNDLE 0", True),
        ("BUNDLE 0 1", True),
        ("BUNDLE 1 0", True),
        ("BUNDLE", True),
        ("BUNDLE 0 0", False),
        ("BUNDLE 0 2", False),
        ("BUNDLE  0", False),
        ("BUNDLE 0 ", False),
        ("LS 0 9", True),
    ],
)
def test_a_bundle_names_sections_that_are_there_each_once(group: str, passes: bool) -> None:
    """Other groups are not the gate's."""
    sdp = description(audio(), video("inactive")).replace("BUNDLE 0 1", group)

    assert (refusal(sdp) is None) is passes


@pytest.mark.parametrize(
    "line", ["a=inactive", "a=x:a=inactive", "a=x:y a=inactive", "b=a=inactive", "a=inactivea=inactive"]
)
def test_a_direction_stands_at_the_begin_of_its_line(line: str) -> None:
    """Within another line it is none, and video without a direction flows."""
    sdp = description(audio(), section("video", "1", line))

    assert (refusal(sdp) is None) is (line == "a=inactive")


@pytest.mark.parametrize(
    "line",
    [
        *(
            "a=x:a=group:BUNDLE 7",
            "a=groupx:BUNDLE 7",
            "a=group.BUNDLE:7",
            "a=group:BUNDLX 7",
            "a=group:bundle 7",
        ),
        *("a=x:a=ice-ufrag:x", "a=ice-ufragx:x", "a=ice-ufrag.x:x", "a=x:a=mid:7 a=mid:7"),
    ],
)
def test_what_only_looks_like_a_rule_is_none(line: str) -> None:
    """Neither in the session's part nor in a section's."""
    sections = parse(VOICE.replace("t=0 0\r\n", f"t=0 0\r\n{line}\r\n") + f"{line}\r\n").sections

    assert [(part.mid, part.ufrag) for part in sections] == [("0", None)]


def test_there_is_one_bundle_at_most() -> None:
    """Two could name what the other does not."""
    sdp = description(audio(), video("inactive"), bundle=["0"])

    assert refusal(sdp) is None
    twice = sdp.replace("a=group:BUNDLE 0\r\n", "a=group:BUNDLE 0\r\na=group:BUNDLE 1\r\n")
    assert "more than one BUNDLE" in str(refusal(twice))


def test_sections_that_are_off_need_no_mid() -> None:
    """Live ones do."""
    off = video(port=0).replace("a=mid:1\r\n", "")

    assert refusal(description(audio(), off)) is None
    bare = description(audio().replace("a=mid:0\r\n", "")).replace("a=group:BUNDLE \r\n", "")
    assert "no mid" in str(refusal(bare))


@pytest.mark.parametrize("kind", ["application", "text", "message", "image", "audiovideo", "videoo"])
def test_other_media_pass_only_where_they_are_off(kind: str) -> None:
    """Rejected, that is: Chromium opens the data channels of a section that is only inactive."""
    assert refusal(description(audio(), section(kind, "1", port=0))) is None
    assert refusal(description(audio(), section(kind, "1", "a=inactive", port=0))) is None
    for live in (
        section(kind, "1"),
        section(kind, "1", "a=bundle-only", port=0),
        section(kind, "1", "a=recvonly"),
        section(kind, "1", "a=inactive"),
    ):
        refused = refusal(description(audio(), live))
        assert refused is not None
        assert refused.code is ErrorCode.MEDIA_KIND_FORBIDDEN
        with_data = refusal(description(audio(), live), Allowance(data_channels=True))
        assert (with_data is None) is (kind == "application")


def test_data_channels_allow_no_video() -> None:
    """Each permission is its own."""
    refused = refusal(description(audio(), video()), Allowance(data_channels=True))

    assert refused is not None
    assert refused.code is ErrorCode.VIDEO_NOT_ALLOWED


@pytest.mark.parametrize("direction", ["sendrecv", "sendonly", "recvonly"])
def test_voice_may_flow_in_any_direction(direction: str) -> None:
    """One live section of it, no fewer and no more."""
    assert refusal(description(audio(direction=direction))) is None
    assert "not 2" in str(refusal(description(audio(direction=direction), audio("1"))))
    assert "not 0" in str(refusal(description(audio(direction="inactive"))))
    assert refusal(description(audio(direction=direction), audio("1", "inactive"))) is None


@pytest.mark.parametrize(
    ("sdp", "live"),
    [
        (VOICE, False),
        (description(audio(), video()), True),
        (description(audio(), video("recvonly")), True),
        (description(audio(), video("inactive")), False),
        (description(audio(), video(port=0)), False),
        (description(audio(), section("application", "1")), False),
        (description(audio(), section("wideo", "1")), False),
    ],
)
def test_a_description_knows_whether_video_flows(sdp: str, live: bool) -> None:
    """What the window after a revocation asks."""
    assert parse(sdp).has_live_video is live


def mismatch(offer: str, answer: str) -> bool:
    try:
        check_answer(parse(offer), parse(answer))
    except SdpRefused as refused:
        assert refused.code is ErrorCode.ANSWER_MISMATCH
        return True
    return False


def test_an_answer_has_the_sections_of_its_offer() -> None:
    """In number, kind and mid; directions and ports may differ."""
    offer = description(audio(), video("sendrecv", mid="m"))
    less, more = description(audio()), description(audio(), video(mid="m"), video("inactive", mid="n"))

    assert not mismatch(offer, description(audio(), video(mid="m")))
    assert not mismatch(description(audio("voice")), description(audio("".join(["vo", "ice"]))))
    assert not mismatch(offer, description(audio(), video("inactive", mid="m")))
    assert not mismatch(offer, description(audio(), video(mid="m", port=0)))
    assert mismatch(offer, less)
    assert mismatch(offer, more)
    for mid in ("a", "z", "M"):
        assert mismatch(offer, description(audio(), video(mid=mid)))
    for kind in ("audio", "wideo", "application"):
        assert mismatch(offer, description(audio(), section(kind, "m")))
    assert mismatch(
        offer, description(audio(), video(mid="m", port=0).replace("a=mid:m\r\n", ""), bundle=["0"])
    )
    assert mismatch(offer, description(video(mid="0"), audio("m")))
