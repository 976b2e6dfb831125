"""Who there is: accounts written straight into PostgreSQL, and the intents that the people's scripts are made for.

Every name is given once, so that what the two of a call are shown of each other says whom they met.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from loadtests.hub.accounts import settle

CALL_S: Final = {"dating": 6.0, "friends": 4.0}
"""How long a call runs, by intent."""
DECLINE_PAUSE_S: Final = (0.6, 1.2)
"""For how long somebody who declined may not queue: the first time, and after each further one in a row."""

_SHORT: Final = f"""
proposed_s = 5.0
connecting_s = 8.0
reconnecting_s = 8.0
deciding_s = 4.0
decide_after_s = 1.0
video_request_s = 2.0
video_cooldown_s = 0.5
revoke_window_s = 3.0
extend_request_s = 2.0
negotiation_s = 5.0
max_offers = 40
offers_s = 5.0
recent_partner_s = 0.0
recent_penalty_s = 0.0
decline_pause_s = {list(DECLINE_PAUSE_S)}
"""

CONFIG: Final = f"""
# Everything short, so that many calls fit into a run; nobody waits because of whom they met before.
[intents.dating]
call_seconds = {CALL_S["dating"]}
{_SHORT}
[intents.friends]
control = "mutual"
call_seconds = {CALL_S["friends"]}
{_SHORT}
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can sign in."""

    user_id: str
    token: str
    first_name: str
    gender: str


@dataclass(slots=True)
class World:
    """The people, and where hubs are to be found: base addresses (`http://...`), which may change at any time."""

    people: Sequence[Account]
    addresses: list[str]


@dataclass(frozen=True, slots=True)
class Habits:
    """What the people are like. Shares are from 0 to 1, times in seconds."""

    codec_json: float = 0.5
    friends: float = 0.3
    """Share of joins for `friends`; the others are for `dating`."""
    declines: float = 0.06
    never_answers: float = 0.02
    hangs_up: float = 0.35
    asks_video: float = 0.5
    approves: float = 0.7
    revokes: float = 0.4
    extends: float = 0.3
    connects: float = 0.5
    blocks: float = 0.02
    patience_s: tuple[float, float] = (4.0, 15.0)
    """How long somebody waits before leaving the queue, drawn evenly."""
    rests_s: tuple[float, float] = (0.1, 1.5)
    """Between two things that somebody does."""
    cuts_every_s: float = 0.0
    """How often, on the average, each person's own network is cut; 0: never."""
    reloads: float = 0.02
    """Share of what people do between calls that is beginning a new session without a word."""
    leaves: float = 0.03
    """Share that is ending the session, and coming again."""
    goes_away: float = 0.05
    chats: float = 0.3
    idles: float = 0.0
    """Share of the people who hold a session and do nothing with it."""


async def settle_people(database_url: str, secret: str, number: int) -> list[Account]:
    """Writes accounts, women and men by turns, and signs a token of a day for each."""
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        settled = await settle(connection, secret, number, lambda index: f"Person {index}")
    finally:
        await connection.close()
    return [Account(user.id, token, user.first_name, user.gender) for user, token in settled]
