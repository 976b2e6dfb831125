"""Descriptions where addresses are hidden: no line that can hold one is left as it was, and they still fit."""

import pytest

from base.errors import ErrorCode
from signaling.candidates import Outcome
from signaling.sdp import SdpRefused, parse
from tests.fixtures.sdp import VOICE, audio, description
from tests.unit.signaling.gate.hiding import CAPTURED, OPEN, hide, with_line


@pytest.mark.parametrize("name", sorted(CAPTURED))
def test_of_a_browsers_description_only_addresses_are_lost(name: str) -> None:
    """All else passes as it is: no attribute that browsers use is unknown."""
    before = CAPTURED[name].split("\r\n")
    kept = [line for line in before if not line.startswith(("o=", "c=", "m=", "a=candidate:", "a=rtcp:"))]

    passing = hide(CAPTURED[name])

    after = passing.sdp.split("\r\n")
    assert [
        line for line in after if not line.startswith(("o=", "c=", "m=", "a=candidate:", "a=rtcp:"))
    ] == kept
    assert passing.left_out == 0
    assert {line for line in after if line.startswith("c=")} == {"c=IN IP4 0.0.0.0"}
    assert {line for line in after if line.startswith("a=rtcp:")} <= {"a=rtcp:9 IN IP4 0.0.0.0"}
    assert {line.split(" ")[1] for line in after if line.startswith("m=")} <= {"0", "9"}
    assert len(passing.candidates) == sum(line.startswith("a=candidate:") for line in before)
    assert hide(passing.sdp).sdp == passing.sdp


@pytest.mark.parametrize("name", sorted(CAPTURED))
def test_where_addresses_are_not_hidden_a_description_passes_as_it_is(name: str) -> None:
    """Its candidates are only counted."""
    passing = hide(CAPTURED[name], OPEN)

    assert passing.sdp == CAPTURED[name]
    assert passing.candidates == (Outcome.PASSED,) * CAPTURED[name].count("a=candidate:")
    assert passing.left_out == 0


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("c=IN IP4 203.0.113.9", "c=IN IP4 0.0.0.0"),
        ("c=IN IP6 fe80::9", "c=IN IP4 0.0.0.0"),
        ("c=IN IP4 canary.local", "c=IN IP4 0.0.0.0"),
        ("a=rtcp:40000 IN IP4 203.0.113.9", "a=rtcp:9 IN IP4 0.0.0.0"),
        ("a=rtcp:40000", "a=rtcp:9 IN IP4 0.0.0.0"),
        ("o=me 4711 12 IN IP4 203.0.113.9", "o=- 4711 12 IN IP4 0.0.0.0"),
        ("o=me@canary.local 4711 12 IN IP6 fe80::9", "o=- 4711 12 IN IP4 0.0.0.0"),
        ("o=203.0.113.9", "o=- 0 0 IN IP4 0.0.0.0"),
        ("o=me 4711 12", "o=- 0 0 IN IP4 0.0.0.0"),
        ("o=- 203.0.113.9 1 IN IP4 0.0.0.0", "o=- 0 0 IN IP4 0.0.0.0"),
        ("c=IN IP4 0x0x0x0", "c=IN IP4 0.0.0.0"),
        ("a=rtcp:9 IN IP4 0x0x0x0", "a=rtcp:9 IN IP4 0.0.0.0"),
        ("o=- 4711 203.0.113.9 IN IP4 0.0.0.0", "o=- 0 0 IN IP4 0.0.0.0"),
        (f"o=- {'1' * 21} 1 IN IP4 0.0.0.0", "o=- 0 0 IN IP4 0.0.0.0"),
        (f"o=- 1 {'1' * 21} IN IP4 0.0.0.0", "o=- 0 0 IN IP4 0.0.0.0"),
        ("s=203.0.113.9", "s=-"),
        ("s=", "s=-"),
        ("t=203.0.113.9", "t=0 0"),
        ("t=0 203.0.113.9", "t=0 0"),
        ("t=203.0.113.9 0", "t=0 0"),
        (f"t={'1' * 21} 0", "t=0 0"),
        (f"t=0 {'1' * 21}", "t=0 0"),
        ("t=1 2", "t=1 2"),
        ("c=IN IP4 0.0.0.0.203.0.113.9", "c=IN IP4 0.0.0.0"),
        ("a=rtcp:9 IN IP4 0.0.0.0 203.0.113.9", "a=rtcp:9 IN IP4 0.0.0.0"),
    ],
)
def test_lines_that_have_to_be_there_say_nothing(line: str, instead: str) -> None:
    """What a browser needs of them is kept: the number and version of the session."""
    sdp = with_line(line)

    passing = hide(sdp)

    assert passing.sdp.split("\r\n")[-2] == instead
    assert passing.left_out == 0


@pytest.mark.parametrize(
    "line",
    [
        "i=at 203.0.113.9",
        "u=http://canary.local/",
        "e=me@canary.local",
        "p=+49 30 123456",
        "k=clear:203.0.113.9",
        "z=0 0",
        "r=0 0 0",
        "b=X-YZ:203.0.113.9",
        "b=AS:203.0.113.9",
        "b=AS:1.2.3.4",
        "b=TIAS:fe80::1",
        "b=AS.1:1",
        "b=AS.1",
        "b=ASx1",
        "a=ptimex",
        "a=ptime",
        "a=groupx:1.2.3.4",
        "a=midst",
        "a=fingerprints:1.2.3.4",
        "a=rtcpx:1 IN IP4 203.0.113.9",
        "a=candidates:1.2.3.4",
        "a=candidatex",
        "a=extmap:1/send urn:3gpp:x",
        "a=extmap:123456 urn:3gpp:x",
        "a=extmap:1 urn:3gpp",
        "a=extmap:1 urn:3gpp:x:y:z:w",
        "a=extmap:1 ftp://www.webrtc.org/x",
        "a=extmap:1 http://wwwxwebrtc.org/",
        "a=extmap:1 http://www.webrtc-org/",
        "a=extmap:1 http://tools.ietfxorg/",
        "a=extmap:1 http://www.webrtc.org:1/",
        "a=ssrc:12345678901 cname:x",
        "a=ssrc:x cname:y",
        "a=ssrc:1 cname.y",
        "a=extmap:1.2.3 urn:3gpp:x",
        "a=extmap:1.sendonly urn:3gpp:x",
        "a=extmap:1/1.2.3.45 urn:3gpp:x",
        "a=extmap:1 urn.3gpp:x",
        "a=extmap:1 http://www.webrtc.orgx/",
        "a=extmap:1 urn:ietf.params:x",
        "a=extmap:1 http.//www.ietf.org/",
        "a=extmap:1 http:./www.ietf.org/",
        "a=extmap:1 http:/.www.ietf.org/",
        "a=extmap:1 http://wwwxietf.org/",
        "a=extmap:1 http://www.ietfxorg/",
        "a=extmap:1 http://toolsxietf.org/",
        "a=extmap:1 http://aomediacodecxgithub.io/",
        "a=extmap:1 http://aomediacodec.githubxio/",
        "a=ssrc:1 cnamex:y",
        "b=AS:12345678901",
        "b=AS:1 1.2.3.4",
        "v=0 1.2.3.4",
        "x=203.0.113.9",
        "v=1",
        "a=remote-candidates:1 203.0.113.9 40000",
        "a=x-address:203.0.113.9",
        "a=x-address:3405803785",
        "a=new-in-some-browser",
        "a=candidate",
        "a=CANDIDATE:1 1 udp 1 203.0.113.9 9 typ host",
        "a=Rtcp:1 IN IP4 203.0.113.9",
        "a=rtcp-mux:203.0.113.9",
        "a=end-of-candidates:203.0.113.9",
        "a=tool:203.0.113.9",
        "a=source-filter:incl IN IP4 * 203.0.113.9",
        "a=alt:1 1 203.0.113.9 9",
        "a=identity:eyJpZHAiOnsiZG9tYWluIjoiY2FuYXJ5In19",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x",
        "a=ssrc:1 cname:me@203.0.113.9",
        "a=ssrc:1 cname:fd00::bad",
        "a=ssrc:1 fmtp:x",
        "a=ssrc:203.0.113.9 cname:x",
        "a=msid:203.0.113.9 x",
        "a=fmtp:96 host=canary.local",
        "a=rtpmap:96 203.0.113.9/90000",
        "a=rtcp-xr:203.0.113.9",
        "a=extmap:1 http://canary.local/x",
        "a=extmap:1 http://www.webrtc.org.canary.local/x",
        "a=extmap:1 http://www.webrtc.org/203.0.113.9",
        "a=extmap:1 urn:ietf:params:fd00::bad",
        "a=extmap:1 urn:ietf:params:2001:db8:0:0:0:0:0:1",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid 203.0.113.9",
        "a=extmap:1/203.0.113.9 urn:3gpp:video-orientation",
    ],
)
@pytest.mark.parametrize("where", ["section", "session"])
def test_lines_that_need_not_be_there_are_left_out(line: str, where: str) -> None:
    """They can hold an address, or nobody knows whether they do; left out they are missed by nobody."""
    passing = hide(with_line(line, where=where))

    assert passing.left_out == 1
    assert passing.sdp == hide(with_line("a=ice-lite", where=where)).sdp.replace("a=ice-lite\r\n", "")


@pytest.mark.parametrize(
    ("port", "instead"), [(40_000, 9), (9, 9), (65_535, 9), (1, 9), (90, 9), (9000, 9), (0, 0)]
)
def test_ports_say_only_whether_a_section_is_rejected(port: int, instead: int) -> None:
    """The formats stay."""
    lines = ["a=mid:1", "a=inactive"]
    before = with_line("\r\n".join([f"m=video {port} UDP/TLS/RTP/SAVPF 96 97", *lines]))

    after = hide(before).sdp

    assert after.endswith("\r\n".join([f"\r\nm=video {instead} UDP/TLS/RTP/SAVPF 96 97", *lines, ""]))
    assert parse(after) == parse(before)


@pytest.mark.parametrize(
    "line",
    [
        *("b=AS:64", "b=TIAS:64000", "t=1 2", "v=0", "s=-"),
        *("a=sctpmap:5000 webrtc-datachannel 256", "a=sctp-port:5000", "a=max-message-size:262144"),
        *("a=tls-id:abc", "a=setup:active", "a=ice-pwd:a+/b", "a=ice-options:trickle renomination"),
        *("a=simulcast:send h;l", "a=rid:h send pt=96;max-width=1280", "a=packetization:96 raw"),
        *("a=ptime:20", "a=maxptime:60", "a=x-google-flag:conference", "a=rtcp-xr:rcvr-rtt=all 2"),
        *(
            "a=rtpmap:96 VP8/90000",
            "a=rtcp-fb:* nack pli",
            "a=fmtp:96 x=1;y=Z0IA,aM48gA==",
            "a=ssrc-group:FID 1 2",
        ),
        *("a=msid:- {a-b}", "a=msid-semantic: WMS *", "a=group:LS 0"),
        *("a=ssrc:1 cname:{a-b}", "a=ssrc:1 msid:x y", "a=ssrc:1 mslabel:x", "a=ssrc:4294967295 label:x"),
        *("a=sendrecv", "a=sendonly", "a=recvonly", "a=rtcp-mux", "a=rtcp-mux-only", "a=rtcp-rsize"),
        *("a=extmap-allow-mixed", "a=ice-lite", "a=end-of-candidates", "a=bundle-only"),
        *("a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on", "a=extmap:14/sendonly urn:3gpp:x"),
        *("a=extmap:1 http://tools.ietf.org/html/x-07", "a=extmap:65535 https://www.ietf.org/id/x-01"),
        *("a=extmap:1 http://www.webrtc.org/experiments/x", "a=extmap:1 https://aomediacodec.github.io/x/#y"),
        "a=fingerprint:sha-256 " + ":".join(["0a"] * 16),
        "a=fingerprint:sha-512 " + ":".join(["FF"] * 64),
    ],
)
def test_lines_without_room_for_an_address_pass(line: str) -> None:
    """As they are."""
    sdp = with_line(line)

    assert hide(sdp).sdp.endswith(f"\r\n{line}\r\n")


@pytest.mark.parametrize(
    ("sdp", "name"),
    [
        (description(audio("203.0.113.9")), "group"),
        (description(audio("a.local")).replace("a=group:BUNDLE a.local\r\n", ""), "mid"),
        (description(audio(), bundle=["0"]) + "a=ice-pwd:203.0.113.9\r\n", "ice-pwd"),
        (VOICE + "a=fingerprint:sha-256 203.0.113.9\r\n", "fingerprint"),
        (VOICE + "a=fingerprint:x fd00::bad\r\n", "fingerprint"),
        (VOICE + "a=fingerprint:x 20:01:0d:b8:00:00:00:01\r\n", "fingerprint"),
        (VOICE + f"a=fingerprint:x {':'.join(['0a'] * 15)}\r\n", "fingerprint"),
        (VOICE + f"a=fingerprint:x {':'.join(['0a'] * 65)}\r\n", "fingerprint"),
        (VOICE + f"a=fingerprint:x {':'.join(['0g'] * 16)}\r\n", "fingerprint"),
        (VOICE + f"a=fingerprint:1.2.3.4 {':'.join(['0a'] * 16)}\r\n", "fingerprint"),
        (VOICE + f"a=fingerprint:x .a:{':'.join(['0a'] * 15)}\r\n", "fingerprint"),
        (VOICE + f"a=fingerprint:x 0a:{':'.join(['.a'] * 15)}\r\n", "fingerprint"),
        (VOICE + f"a=fingerprint:x 0a0a:{':'.join(['0a'] * 15)}\r\n", "fingerprint"),
        (VOICE + f"a=fingerprint:x {':'.join(['0a0a'] * 16)}\r\n", "fingerprint"),
        (VOICE + f"a=fingerprint:x{'y' * 16} {':'.join(['0a'] * 16)}\r\n", "fingerprint"),
        (VOICE + "a=group:LS canary.local\r\n", "group"),
    ],
)
def test_an_address_where_nothing_can_be_left_out_is_refused(sdp: str, name: str) -> None:
    """Without its mid or its keys the description would be another."""
    with pytest.raises(SdpRefused) as caught:
        hide(sdp)

    assert caught.value.code is ErrorCode.SDP_INVALID
    assert caught.value.message.startswith(f"a {name} of this form")
    assert hide(sdp, OPEN).sdp == sdp


def test_line_ends_stay_as_they_are() -> None:
    """Also of lines that are rewritten."""
    passing = hide(CAPTURED["firefox_offer"].replace("\r\n", "\n"))

    assert "\r" not in passing.sdp
    assert passing.sdp == hide(CAPTURED["firefox_offer"]).sdp.replace("\r\n", "\n")
