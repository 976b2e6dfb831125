"""People with a real WebRTC stack: aiortc beside a client of the hub, each speaking a tone of its own.

her = VoicePeer(client, speaks_hz=400, hears_hz=700)
await her.take_call(call_id, offers=True); await her.connected(); await her.ear.hears()
"""

import asyncio
import math
from array import array
from collections.abc import Sequence
from fractions import Fraction

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import candidate_from_sdp
from av import AudioFrame

from loadtests.swarm.client import Client, Message

RATE = 48_000
FRAME = 960
FRAME_S = FRAME / RATE
LOUD = 500.0
CONNECT_S = 60.0


class Tone(MediaStreamTrack):
    """A microphone that hears one pure tone: a multiple of 50 Hz, so that every 20 ms are alike."""

    kind = "audio"

    def __init__(self, hertz: int) -> None:
        super().__init__()
        turn = 2 * math.pi * hertz / RATE
        self._samples = array("h", (round(8_000 * math.sin(turn * n)) for n in range(FRAME))).tobytes()
        self._begun_at: float | None = None
        self._frames = 0

    async def recv(self) -> AudioFrame:
        now = asyncio.get_running_loop().time()
        if self._begun_at is None:
            self._begun_at = now
        await asyncio.sleep(self._begun_at + self._frames * FRAME_S - now)
        frame = AudioFrame(format="s16", layout="mono", samples=FRAME)
        frame.planes[0].update(self._samples)
        frame.sample_rate = RATE
        frame.pts = self._frames * FRAME
        frame.time_base = Fraction(1, RATE)
        self._frames += 1
        return frame


class Ear:
    """Counts the decoded frames of a track whose energy lies at one frequency."""

    def __init__(self, hertz: int) -> None:
        # Every fourth sample is plenty for tones far below 6 kHz.
        self._turn = 2 * math.pi * hertz * 4 / RATE
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self.frames = 0
        self.clear_frames = 0

    def listen(self, track: MediaStreamTrack) -> None:
        self._task = asyncio.create_task(self._listen(track))

    async def hears(self, frames: int = 25, timeout_s: float = CONNECT_S) -> None:
        """Returns once that many more frames with the tone were heard. Raises: TimeoutError."""
        wanted = self.clear_frames + frames
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: self.clear_frames >= wanted)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame = await track.recv()
                assert isinstance(frame, AudioFrame)
                samples = array("h", bytes(frame.planes[0]))[: frame.samples * len(frame.layout.channels)]
                async with self._changed:
                    self.frames += 1
                    self.clear_frames += self._is_tone(samples[:: 4 * len(frame.layout.channels)])
                    self._changed.notify_all()
        except MediaStreamError:
            return  # the peer has gone

    def _is_tone(self, samples: Sequence[int]) -> bool:
        """Whether the frame is loud, and most of what it holds is our tone (Goertzel's algorithm)."""
        energy = sum(sample * sample for sample in samples)
        if energy < LOUD * LOUD * len(samples):
            return False
        factor = 2 * math.cos(self._turn)
        last = before = 0.0
        for sample in samples:
            last, before = sample + factor * last - before, last
        power = last * last + before * before - factor * last * before
        return 2 * power / len(samples) > 0.8 * energy


class VoicePeer:
    """One side of a call: what the SDK does in a browser, with aiortc below it."""

    def __init__(self, client: Client, *, speaks_hz: int, hears_hz: int, trickles: bool = False) -> None:
        self.client = client
        self.ear = Ear(hears_hz)
        self._trickles = trickles
        self._tone = Tone(speaks_hz)
        # Without a configuration aiortc would ask a STUN server on the internet.
        self.pc = RTCPeerConnection(RTCConfiguration([]))
        self._connected = asyncio.Event()
        self._trickled: asyncio.Task[None] | None = None
        self.candidates_received = 0
        self.pc.on("track", self.ear.listen)
        self.pc.on("connectionstatechange", self._state_changed)

    async def take_call(self, call_id: str, *, offers: bool) -> None:
        """Accepts, and exchanges descriptions and candidates with the other side through the hub."""
        call: Message = {"call_id": call_id}
        await self.client.request("call.accept", call)
        await self.client.wait_for("call.ice_servers", **call)
        self.pc.addTrack(self._tone)
        self._trickled = asyncio.create_task(self._take_candidates(call_id))
        if offers:
            await self.pc.setLocalDescription(await self.pc.createOffer())
            await self._describe(call_id, "call.offer", {"negotiation": 1})
            answer = await self.client.wait_for("call.answer", **call)
            await self.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        else:
            offer = await self.client.wait_for("call.offer", **call)
            await self.pc.setRemoteDescription(RTCSessionDescription(offer["sdp"], "offer"))
            await self.pc.setLocalDescription(await self.pc.createAnswer())
            await self._describe(call_id, "call.answer", {"negotiation": offer["negotiation"], "of": "peer"})

    async def connected(self) -> None:
        """Returns once ICE and DTLS are through. Raises: TimeoutError."""
        async with asyncio.timeout(CONNECT_S):
            await self._connected.wait()

    async def close(self) -> None:
        if self._trickled is not None:
            self._trickled.cancel()
            await asyncio.gather(self._trickled, return_exceptions=True)
        await self.ear.close()
        await self.pc.close()

    async def _describe(self, call_id: str, type_: str, negotiation: dict[str, object]) -> None:
        sdp = self.pc.localDescription.sdp
        if not self._trickles:
            await self.client.request(type_, {"call_id": call_id, **negotiation, "sdp": sdp})
            return
        lines = sdp.splitlines()
        kept = [line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
        found = [line[2:] for line in lines if line.startswith("a=candidate:")]
        mid = next(line[6:] for line in lines if line.startswith("a=mid:"))
        bare = "".join(f"{line}\r\n" for line in kept)
        await self.client.request(type_, {"call_id": call_id, **negotiation, "sdp": bare})
        batch = {
            "call_id": call_id,
            "of": "self",
            **negotiation,
            "candidates": [{"candidate": candidate, "mid": mid} for candidate in found],
            "complete": True,
        }
        await self.client.request("call.candidates", batch)

    async def _take_candidates(self, call_id: str) -> None:
        while True:
            batch = await self.client.wait_for("call.candidates", timeout_s=600, call_id=call_id)
            for item in batch["candidates"]:
                candidate = candidate_from_sdp(item["candidate"].partition(":")[2])
                candidate.sdpMid = item["mid"]
                await self.pc.addIceCandidate(candidate)
                self.candidates_received += 1
            if batch["complete"]:
                await self.pc.addIceCandidate(None)

    def _state_changed(self) -> None:
        if self.pc.connectionState == "connected":
            self._connected.set()
