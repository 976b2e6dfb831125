"""The stages of a call whose descriptions `capture.py` keeps, as aiortc makes them.

The same stories as `stages.js` tells in a browser, as far as aiortc can tell them: it gathers before it describes, so
that each description is complete, and it knows no rollback, ICE restart or simulcast.
"""

from collections.abc import Awaitable, Callable

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpCodecCapability,
    RTCRtpTransceiver,
)
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from aiortc.rtcrtpreceiver import RTCRtpReceiver

DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")

Prepare = Callable[[], Awaitable[None]]
Answer = Callable[[str], Awaitable[str]]
"""Another implementation's answer to an offer."""


class Stories:
    """Peers that are told to talk, and what they said by name."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self._open: list[RTCPeerConnection] = []

    def peer(self, policy: RTCBundlePolicy = RTCBundlePolicy.BALANCED) -> RTCPeerConnection:
        # Without a configuration aiortc would ask a STUN server on the internet.
        pc = RTCPeerConnection(RTCConfiguration([], bundlePolicy=policy))
        self._open.append(pc)
        return pc

    def pair(self, *, video: bool = False) -> tuple[RTCPeerConnection, RTCPeerConnection]:
        a, b = self.peer(), self.peer()
        for pc in (a, b):
            pc.addTrack(AudioStreamTrack())
            if video:
                pc.addTrack(VideoStreamTrack())
        return a, b

    def keep(self, name: str, sdp: str) -> None:
        assert name not in self.kept, name
        self.kept[name] = sdp

    async def negotiate(
        self, a: RTCPeerConnection, b: RTCPeerConnection, name: str, before_answer: Prepare | None = None
    ) -> None:
        """Offer and answer between two peers, kept as `<name>-offer` and `<name>-answer`."""
        await a.setLocalDescription(await a.createOffer())
        self.keep(f"{name}-offer", a.localDescription.sdp)
        await b.setRemoteDescription(a.localDescription)
        if before_answer is not None:
            await before_answer()
        await b.setLocalDescription(await b.createAnswer())
        self.keep(f"{name}-answer", b.localDescription.sdp)
        await a.setRemoteDescription(b.localDescription)

    async def close(self) -> None:
        while self._open:
            await self._open.pop().close()


async def capture(answer: Answer) -> dict[str, str]:
    """Tells every story once; `answer` is what a browser says to an offer. Returns the descriptions by name."""
    stories = Stories()
    for tell in (_voice, _data, _video, _answers, _directions, _recycled, _policies, _codecs, _crowds):
        try:
            await tell(stories)
        finally:
            await stories.close()
    for name in ("voice", "voice-data", "video"):
        stories.keep(f"{name}-answer-of-chromium", await answer(stories.kept[f"{name}-offer"]))
    return stories.kept


def _shown(pc: RTCPeerConnection) -> RTCRtpTransceiver:
    return next(each for each in pc.getTransceivers() if each.kind == "video")


async def _voice(stories: Stories) -> None:
    a, b = stories.pair()
    before_gathering = await a.createOffer()
    stories.keep("voice-before-gathering-offer", before_gathering.sdp)
    await stories.negotiate(a, b, "voice")
    await stories.negotiate(b, a, "voice-again")


async def _data(stories: Stories) -> None:
    a, b = stories.pair()
    a.createDataChannel("chat")
    await stories.negotiate(a, b, "voice-data")
    c = stories.peer()
    c.createDataChannel("chat")
    stories.keep("data-only-offer", (await c.createOffer()).sdp)


async def _video(stories: Stories) -> None:
    a, b = stories.pair(video=True)
    await stories.negotiate(a, b, "video")
    _shown(a).direction = "recvonly"
    await stories.negotiate(a, b, "video-half-revoked")
    _shown(a).direction = "inactive"
    await stories.negotiate(a, b, "video-revoked")
    await stories.negotiate(b, a, "video-asked-again")
    _shown(a).direction = "sendrecv"
    await stories.negotiate(a, b, "video-allowed-again")


async def _answers(stories: Stories) -> None:
    for direction in ("sendonly", "recvonly", "inactive"):
        a, b = stories.pair(video=True)

        async def turn(b: RTCPeerConnection = b, direction: str = direction) -> None:
            _shown(b).direction = direction

        await stories.negotiate(a, b, f"video-for-{direction}", turn)


async def _directions(stories: Stories) -> None:
    for direction in DIRECTIONS:
        pc = stories.peer()
        pc.addTransceiver("audio", direction)
        stories.keep(f"trackless-voice-{direction}-offer", (await pc.createOffer()).sdp)
        pc = stories.peer()
        pc.addTrack(AudioStreamTrack())
        pc.addTransceiver("video", direction)
        stories.keep(f"voice-and-video-{direction}-offer", (await pc.createOffer()).sdp)


async def _recycled(stories: Stories) -> None:
    a, b = stories.pair(video=True)
    await stories.negotiate(a, b, "video-to-be-stopped")
    await _shown(a).stop()
    await stories.negotiate(a, b, "video-stopped")


async def _policies(stories: Stories) -> None:
    for policy in (RTCBundlePolicy.MAX_BUNDLE, RTCBundlePolicy.MAX_COMPAT):
        pc = stories.peer(policy)
        pc.addTrack(AudioStreamTrack())
        pc.addTransceiver("video", "inactive")
        pc.createDataChannel("chat")
        await pc.setLocalDescription(await pc.createOffer())
        stories.keep(f"voice-inactive-data-{policy.value}-offer", pc.localDescription.sdp)


async def _codecs(stories: Stories) -> None:
    def codecs(kind: str, *names: str) -> list[RTCRtpCodecCapability]:
        known = RTCRtpReceiver.getCapabilities(kind)
        assert known is not None
        return [each for each in known.codecs if each.name.lower() in names]

    for kind, name in (("audio", "pcmu"), ("video", "vp8"), ("video", "h264")):
        pc = stories.peer()
        if kind == "video":
            pc.addTrack(AudioStreamTrack())
        pc.addTransceiver(kind).setCodecPreferences(codecs(kind, name))
        stories.keep(f"{kind}-{name}-only-offer", (await pc.createOffer()).sdp)


async def _crowds(stories: Stories) -> None:
    pc = stories.peer()
    pc.addTrack(AudioStreamTrack())
    for _ in range(3):
        pc.addTransceiver("video", "inactive")
    stories.keep("three-inactive-videos-offer", (await pc.createOffer()).sdp)
    pc = stories.peer()
    pc.addTrack(VideoStreamTrack())
    stories.keep("video-only-offer", (await pc.createOffer()).sdp)
