"""The `call`, `video`, `connect` and `safety` families: everything between match and goodbye.

Each message carries `call_id`, both ways.
"""

from typing import Annotated, ClassVar, Literal

import msgspec

from safety.records import NOTE_LENGTH, ReportCategory
from signaling.protocol.messages.family import (
    AboutSomebody,
    ClientMessage,
    NegotiationNumber,
    ServerMessage,
    UnixMs,
    Uuid,
)

SeatName = Literal["a", "b"]
RoleName = Literal["controller", "guest", "mutual"]
Of = Literal["self", "peer"]
IceTransportPolicy = Literal["all", "relay"]
"""Whose offer a negotiation number belongs to, seen from whoever reads or writes the message."""

# The gate refuses more than 16 kB with its own code; this only bounds what is decoded.
Sdp = Annotated[str, msgspec.Meta(min_length=1, max_length=60_000)]


class IceCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """One trickled candidate (RFC 8840): the attribute without `a=`, its section's mid, its ufrag."""

    candidate: Annotated[str, msgspec.Meta(max_length=1024)]
    mid: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    ufrag: Annotated[str, msgspec.Meta(max_length=256)] | None = None


class CallAccept(ClientMessage, frozen=True, kw_only=True):
    """Takes the proposed call."""

    TYPE: ClassVar[str] = "call.accept"
    call_id: Uuid


class CallDecline(ClientMessage, frozen=True, kw_only=True):
    """Refuses the proposed call."""

    TYPE: ClassVar[str] = "call.decline"
    call_id: Uuid


class CallOffer(ClientMessage, frozen=True, kw_only=True):
    """An SDP offer (RFC 8829); `negotiation` rises with each offer of this sender."""

    TYPE: ClassVar[Literal["call.offer"]] = "call.offer"
    RELAYED: ClassVar[bool] = True
    call_id: Uuid
    negotiation: NegotiationNumber
    sdp: Sdp


class CallAnswer(ClientMessage, frozen=True, kw_only=True):
    """The SDP answer to the peer's offer of that number."""

    TYPE: ClassVar[Literal["call.answer"]] = "call.answer"
    RELAYED: ClassVar[bool] = True
    call_id: Uuid
    negotiation: NegotiationNumber
    of: Of = "peer"
    sdp: Sdp


class CallCandidates(ClientMessage, frozen=True, kw_only=True):
    """Trickled ICE candidates (RFC 8838) of the sender's side of a negotiation."""

    TYPE: ClassVar[Literal["call.candidates"]] = "call.candidates"
    RELAYED: ClassVar[bool] = True
    call_id: Uuid
    negotiation: NegotiationNumber
    of: Of = "self"
    candidates: Annotated[list[IceCandidate], msgspec.Meta(max_length=40)] = []
    complete: bool = False


class MediaStats(msgspec.Struct, frozen=True, kw_only=True):
    """Quality as the client measures it; all optional."""

    rtt_ms: Annotated[float, msgspec.Meta(ge=0, le=600_000)] | None = None
    jitter_ms: Annotated[float, msgspec.Meta(ge=0, le=600_000)] | None = None
    packets_lost: Annotated[int, msgspec.Meta(ge=0)] | None = None
    packets_received: Annotated[int, msgspec.Meta(ge=0)] | None = None
    setup_ms: Annotated[float, msgspec.Meta(ge=0, le=600_000)] | None = None


class CallMedia(ClientMessage, frozen=True, kw_only=True):
    """What the sender's media does. `connected` of both sides starts the clock."""

    TYPE: ClassVar[str] = "call.media"
    call_id: Uuid
    state: Literal["connected", "disconnected", "failed"]
    stats: MediaStats | None = None


class CallIceServersRequest(ClientMessage, frozen=True, kw_only=True):
    """Asks for fresh ICE servers before an ICE restart; answered in `ok`."""

    TYPE: ClassVar[str] = "call.ice_servers"
    call_id: Uuid


class CallExtend(ClientMessage, frozen=True, kw_only=True):
    """Asks the peer for more time."""

    TYPE: ClassVar[str] = "call.extend"
    call_id: Uuid


class CallExtendReply(ClientMessage, frozen=True, kw_only=True):
    """Answers the peer's wish for more time."""

    TYPE: ClassVar[str] = "call.extend.reply"
    call_id: Uuid
    accept: bool


class CallHangup(ClientMessage, frozen=True, kw_only=True):
    """Leaves the call."""

    TYPE: ClassVar[str] = "call.hangup"
    call_id: Uuid
    reason: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class VideoRequest(ClientMessage, frozen=True, kw_only=True):
    """Asks to open video (guest, or either in a mutual call)."""

    TYPE: ClassVar[str] = "video.request"
    call_id: Uuid


class VideoApprove(ClientMessage, frozen=True, kw_only=True):
    """Opens video: `both` ways, or only `receive` (the approver sees, and is not seen)."""

    TYPE: ClassVar[str] = "video.approve"
    call_id: Uuid
    direction: Literal["both", "receive"] = "both"


class VideoDeny(ClientMessage, frozen=True, kw_only=True):
    """Refuses the pending request."""

    TYPE: ClassVar[str] = "video.deny"
    call_id: Uuid


class VideoRevoke(ClientMessage, frozen=True, kw_only=True):
    """Takes video back at once, for both directions."""

    TYPE: ClassVar[str] = "video.revoke"
    call_id: Uuid


class ConnectRequest(ClientMessage, frozen=True, kw_only=True):
    """Wants to stay in touch."""

    TYPE: ClassVar[str] = "connect.request"
    call_id: Uuid


class ConnectPass(ClientMessage, frozen=True, kw_only=True):
    """Does not want to stay in touch."""

    TYPE: ClassVar[str] = "connect.pass"
    call_id: Uuid


class SafetyBlock(AboutSomebody, ClientMessage, frozen=True, kw_only=True):
    """Never meet or hear of this person again; ends call and connection. Legal in every state, also afterwards."""

    TYPE: ClassVar[str] = "safety.block"


class SafetyReport(AboutSomebody, ClientMessage, frozen=True, kw_only=True):
    """Tells the moderators. Legal in every state, also afterwards."""

    TYPE: ClassVar[str] = "safety.report"
    category: ReportCategory
    note: Annotated[str, msgspec.Meta(max_length=NOTE_LENGTH)] = ""


class PeerView(msgspec.Struct, frozen=True, kw_only=True):
    """What a stranger may know: never an id that outlives the call."""

    first_name: str
    age: int
    languages: list[str]
    verified: bool


class SeatFlags(msgspec.Struct, frozen=True, kw_only=True):
    """A yes or no for each seat."""

    a: bool = False
    b: bool = False


class PendingView(msgspec.Struct, frozen=True, kw_only=True):
    """An open request: which seat asked, until when it stands."""

    by: SeatName
    until_at: UnixMs


class PendingViews(msgspec.Struct, frozen=True, kw_only=True):
    """The open requests of a call."""

    video: PendingView | None = None
    extend: PendingView | None = None


class CallState(ServerMessage, frozen=True, kw_only=True):
    """The call as one seat sees it; the same view as in the snapshot."""

    TYPE: ClassVar[str] = "call.state"
    call_id: Uuid
    intent: str
    version: int
    state: Literal["proposed", "connecting", "live", "reconnecting", "deciding", "ended"]
    role: RoleName
    seat: SeatName
    offerer: bool
    peer: PeerView
    peer_attached: bool
    video_allowed: SeatFlags
    pending: PendingViews
    connected: bool
    """Whether the two stay in touch."""
    server_now: UnixMs
    ends_at: UnixMs | None
    """The clock, once live."""
    deadline_at: UnixMs | None
    """When the state's own timer fires; none in `ended`."""
    extensions_left: int
    ice_transport_policy: IceTransportPolicy = "all"
    """For the peer connection. With `relay` no other candidates reach the peer."""


class CallOfferRelayed(ServerMessage, frozen=True, kw_only=True):
    """The peer's offer."""

    TYPE: ClassVar[str] = "call.offer"
    call_id: Uuid
    negotiation: int
    sdp: str


class CallAnswerRelayed(ServerMessage, frozen=True, kw_only=True):
    """The peer's answer to your offer of that number."""

    TYPE: ClassVar[str] = "call.answer"
    call_id: Uuid
    negotiation: int
    of: Of
    sdp: str


class CallCandidatesRelayed(ServerMessage, frozen=True, kw_only=True):
    """The peer's candidates; `of` is already turned to the reader's side."""

    TYPE: ClassVar[str] = "call.candidates"
    call_id: Uuid
    negotiation: int
    of: Of
    candidates: list[IceCandidate]
    complete: bool


class CallNegotiationFailed(ServerMessage, frozen=True, kw_only=True):
    """A negotiation was refused or ran out: roll back."""

    TYPE: ClassVar[str] = "call.negotiation_failed"
    call_id: Uuid
    negotiation: int
    of: Of
    code: str


class CallReset(ServerMessage, frozen=True, kw_only=True):
    """Build a new peer connection; seat `a` offers."""

    TYPE: ClassVar[str] = "call.reset"
    call_id: Uuid


class IceServer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An `RTCIceServer`."""

    urls: list[str]
    username: str | None = None
    credential: str | None = None


class CallIceServers(ServerMessage, frozen=True, kw_only=True):
    """The ICE servers of this call."""

    TYPE: ClassVar[str] = "call.ice_servers"
    call_id: Uuid
    ice_servers: list[IceServer]
    expires_at: UnixMs | None = None


class CallExtendRequested(ServerMessage, frozen=True, kw_only=True):
    """The peer asks for more time."""

    TYPE: ClassVar[str] = "call.extend.requested"
    call_id: Uuid
    until_at: UnixMs


class CallEnded(ServerMessage, frozen=True, kw_only=True):
    """The call is over for the reader."""

    TYPE: ClassVar[str] = "call.ended"
    call_id: Uuid
    reason: str
    duration_ms: int
    requeued: bool


class VideoRequested(ServerMessage, frozen=True, kw_only=True):
    """The peer asks for video."""

    TYPE: ClassVar[str] = "video.requested"
    call_id: Uuid
    until_at: UnixMs


class VideoAllowed(ServerMessage, frozen=True, kw_only=True):
    """Video is open for whom it says."""

    TYPE: ClassVar[str] = "video.allowed"
    call_id: Uuid
    video_allowed: SeatFlags


class VideoDenied(ServerMessage, frozen=True, kw_only=True):
    """The request was refused or ran out."""

    TYPE: ClassVar[str] = "video.denied"
    call_id: Uuid
    reason: Literal["denied", "timeout"]


class VideoRevoked(ServerMessage, frozen=True, kw_only=True):
    """Video, or one direction of it, was taken back."""

    TYPE: ClassVar[str] = "video.revoked"
    call_id: Uuid
    video_allowed: SeatFlags


class ConnectPrompt(ServerMessage, frozen=True, kw_only=True):
    """Decide whether to stay in touch."""

    TYPE: ClassVar[str] = "connect.prompt"
    call_id: Uuid
    expires_at: UnixMs


class ConnectionMade(ServerMessage, frozen=True, kw_only=True):
    """The two stay in touch: their chat is open. On all devices of both; may come again under the same ids."""

    TYPE: ClassVar[str] = "connection.made"
    call_id: Uuid
    connection_id: Uuid
    peer: PeerView
