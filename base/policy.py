"""The policy of an intent: who meets whom, for how long, and who decides.

Pure values with their defaults and bounds; read from `[intents.<name>]` of the configuration. Durations are
seconds.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
ZeroOrSeconds = Annotated[float, msgspec.Meta(ge=0, le=2_592_000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000)]
Some = Annotated[int, msgspec.Meta(ge=1, le=1_000)]
Bytes = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)]
UpToADay = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Head = Annotated[float, msgspec.Meta(ge=0, le=120)]


class Gender(StrEnum):
    """Registered once; matching sides and call roles hang on it."""

    FEMALE = "female"
    MALE = "male"
    OTHER = "other"


class Control(StrEnum):
    """Who decides about video and staying in touch."""

    FEMALE = "female"  # the only woman of a pair decides; any other pair is mutual
    MUTUAL = "mutual"  # both must want it


class Pairing(StrEnum):
    """Which sides meet unless a person's preferences say more."""

    DATING = "dating"  # women and men meet each other; `other` names whom to meet
    ANYONE = "anyone"


class IpPrivacy(StrEnum):
    """Whether the two learn each other's network addresses."""

    RELAY = "relay"  # neither does: media goes over the TURN servers, and no other address is passed on
    OFF = "off"  # media takes the straightest way


class IntentPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All rules of one intent. Defaults are those of a three-minute call."""

    control: Control = Control.FEMALE
    pairing: Pairing = Pairing.ANYONE
    data_channels: bool = False
    ip_privacy: IpPrivacy | None = None
    """Unset, the server decides at its start: `relay` where it has TURN servers, else `off`."""

    call_seconds: Seconds = 180
    proposed_s: Seconds = 10
    connecting_s: Seconds = 20
    reconnecting_s: Seconds = 15
    deciding_s: Seconds = 30
    decide_after_s: ZeroOrSeconds = 30
    """A call that was live for this long is decided about when somebody hangs up."""

    video_request_s: Seconds = 20
    video_cooldown_s: ZeroOrSeconds = 60
    max_video_requests: Count = 2
    revoke_window_s: Seconds = 5
    extend_request_s: Seconds = 15
    max_extensions: Count = 2
    negotiation_s: Seconds = 10

    max_offers: Some = 6
    """Offers of one participant in `offers_s`; more are `rate_limited`."""
    offers_s: Seconds = 30
    reserved_offers: Some = 2
    """As many more in that time may take video out of the call."""
    max_candidates: Count = 40
    """ICE candidates of one participant in one negotiation."""
    signaling_bytes: Bytes = 262_144
    """Descriptions and candidates of one participant in one call; over it the call ends."""
    reserved_signaling_bytes: Bytes = 32_768
    """As much more for descriptions that take video out of the call."""

    widen_after_s: tuple[ZeroOrSeconds, ...] = (0, 10, 20, 40)
    """When a ticket's preferences for age, language and region relax by one tier each."""
    widen_age_years: tuple[Count, ...] = (0, 3, 6, 100)
    """By how many years the wanted age range grows at each tier."""
    widen_round_trip_ms: tuple[Count, ...] = (0, 100)
    """How far from a wanted region a partner may be at each tier; from the last tier but one on, anywhere."""
    round_trip_ms: dict[str, dict[str, Count]] = {}
    """Milliseconds between regions, each pair in either direction; what is not listed counts as far."""
    max_wait_s: ZeroOrSeconds = 40
    """Whoever has waited for so long is served in order of waiting, whoever would fit better."""
    priority_s: dict[str, Head] = {}
    """By role, or `verified`: as many seconds as if waited already. The highest that applies counts."""
    recent_partner_s: ZeroOrSeconds = 600
    """For how long two people who talked are not paired again."""
    recent_penalty_s: UpToADay = 86_400
    """For how long after that they are paired only where nobody else fits as well."""
    decline_pause_s: tuple[ZeroOrSeconds, ...] = (0, 0, 15, 60, 180, 600)
    """For how long somebody may not queue after declining once, twice, ... without a call in between."""
    decline_counts_s: UpToADay = 3_600
    """For how long a decline is remembered."""
    paused_s: Seconds = 15
    """For how long the ticket of a detached person keeps its place."""
    away_s: Seconds = 300
    """For how long the ticket of a person who is here, but away, keeps its place."""

    @property
    def hides_addresses(self) -> bool:
        """Whether nothing but relayed candidates may reach the other side."""
        return self.ip_privacy is IpPrivacy.RELAY


def default_intents() -> dict[str, IntentPolicy]:
    """The intents of a server whose configuration names none."""
    return {
        "dating": IntentPolicy(control=Control.FEMALE, pairing=Pairing.DATING),
        "friends": IntentPolicy(control=Control.MUTUAL, pairing=Pairing.ANYONE),
    }


def age_on(birth_date: tuple[int, int, int], today: tuple[int, int, int]) -> int:
    """Full years between two dates, each `(year, month, day)`."""
    return today[0] - birth_date[0] - (today[1:] < birth_date[1:])
