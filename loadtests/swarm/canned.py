"""Session descriptions and candidates for clients without media: of the shape and size that browsers make.

Voice always, video where a direction for it is given. `mid`s and kinds of an answer are those of its offer, so that
the SDP gate lets it pass as it lets a browser's.
"""

from typing import Any, Final

Message = dict[str, Any]

_HEAD: Final = (
    "v=0",
    "o=- 4611731400430051336 2 IN IP4 127.0.0.1",
    "s=-",
    "t=0 0",
)
_TRANSPORT: Final = (
    "c=IN IP4 0.0.0.0",
    "a=rtcp:9 IN IP4 0.0.0.0",
    "a=ice-ufrag:4ZcD",
    "a=ice-pwd:2/1muCWoOi3uLifh0NuRHlAX",
    "a=ice-options:trickle",
    "a=fingerprint:sha-256 75:74:5A:A6:A4:E5:52:F4:A7:67:4C:01:C7:EE:91:3F:21:3D:A2:E3:53:7B:6F:30:86:F2:30:AA:65:FB:04:24",
    "a=setup:actpass",
)
_EXTENSIONS: Final = (
    "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
)
_AUDIO: Final = (
    "a=rtcp-mux",
    "a=rtcp-rsize",
    "a=rtpmap:111 opus/48000/2",
    "a=rtcp-fb:111 transport-cc",
    "a=fmtp:111 minptime=10;useinbandfec=1",
    "a=rtpmap:63 red/48000/2",
    "a=fmtp:63 111/111",
    "a=rtpmap:9 G722/8000",
    "a=rtpmap:0 PCMU/8000",
    "a=rtpmap:8 PCMA/8000",
    "a=rtpmap:13 CN/8000",
    "a=rtpmap:110 telephone-event/48000",
    "a=rtpmap:126 telephone-event/8000",
    "a=ssrc:1732462119 cname:pJ1ZbBxgb2Jrc1lE",
)
_VIDEO: Final = tuple(
    line
    for payload, codec in ((96, "VP8"), (98, "VP9"), (102, "H264"), (45, "AV1"))
    for line in (
        f"a=rtpmap:{payload} {codec}/90000",
        f"a=rtcp-fb:{payload} goog-remb",
        f"a=rtcp-fb:{payload} transport-cc",
        f"a=rtcp-fb:{payload} ccm fir",
        f"a=rtcp-fb:{payload} nack pli",
    )
)


def describe(video: str | None = None, *, padding: str = "") -> str:
    """A description with voice; `video` is the direction of its video section, None for no such section."""
    mids = "0" if video is None else "0 1"
    lines = [*_HEAD, f"a=group:BUNDLE {mids}", "a=extmap-allow-mixed"]
    lines += ["m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126", *_TRANSPORT, "a=mid:0"]
    lines += [*_EXTENSIONS, "a=sendrecv", *_AUDIO]
    if padding:
        lines.append(f"a=x-padding:{padding}")
    if video is not None:
        lines += ["m=video 9 UDP/TLS/RTP/SAVPF 96 98 102 45", *_TRANSPORT, "a=mid:1"]
        lines += [*_EXTENSIONS, f"a={video}", "a=rtcp-mux", "a=rtcp-rsize", *_VIDEO]
    return "\r\n".join(lines) + "\r\n"


def has_video(sdp: str) -> bool:
    """Whether a description of ours has a video section."""
    return "\r\nm=video" in sdp


def direction(*, sends: bool, receives: bool) -> str:
    """The direction of a section, as SDP names it."""
    if sends:
        return "sendrecv" if receives else "sendonly"
    return "recvonly" if receives else "inactive"


def candidate(number: int = 0, seat: str = "a") -> Message:
    """A server-reflexive candidate as a browser trickles it, another for each number and seat.

    Its address is of the range that is for documentation.
    """
    host = 77 if seat == "a" else 78
    line = f"candidate:{8421 + number} 1 udp 1677729535 203.0.113.{host} {46154 + number} typ srflx raddr 0.0.0.0 rport 0"
    return {"candidate": line, "mid": "0", "ufrag": "4ZcD"}
