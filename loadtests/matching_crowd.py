"""People for the benchmarks of matching: 43 ages, 8 languages, 4 regions, ranges at random, 40 exclusions each."""

import random

from base.ids import DeviceId, NodeId, SessionId, TicketId, UserId
from base.policy import Gender
from matchmaker.ticket import Ticket, Wants

LANGUAGES = ("de", "en", "es", "fr", "it", "pl", "ru", "tr")
REGIONS = ("asia", "eu", "sa", "us")
YOUNGEST, OLDEST = 18, 60
EXCLUSIONS = 40

_OPPOSITE = {Gender.FEMALE: Gender.MALE, Gender.MALE: Gender.FEMALE}


class People:
    """Makes tickets, each of somebody new; the same seed makes the same people."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._made = 0

    def ticket(self, side: Gender, queued_at: int) -> Ticket:
        """Somebody who speaks one language, wants a partner who does, of an age range, half of them of own region."""
        chance = self._random
        self._made += 1
        youngest, oldest = sorted((chance.randint(YOUNGEST, OLDEST), chance.randint(YOUNGEST, OLDEST)))
        languages = frozenset((chance.choice(LANGUAGES),))
        region = chance.choice(REGIONS)
        return Ticket(
            ticket_id=TicketId(f"ticket-{self._made:08}"),
            intent="dating",
            user_id=self._user(self._made),
            device_id=DeviceId("device"),
            session_id=SessionId("session"),
            node_id=NodeId("node"),
            queued_at=queued_at,
            side=side,
            first_name="Sam",
            age=chance.randint(YOUNGEST, OLDEST),
            languages=languages,
            region=region,
            verified=chance.random() < 0.5,
            wants=Wants(
                sides=frozenset((_OPPOSITE[side],)),
                age_min=youngest,
                age_max=oldest,
                languages=languages,
                regions=frozenset((region,)) if chance.random() < 0.5 else frozenset(),
            ),
            exclusions=frozenset(self._user(chance.randrange(2_000_000)) for _ in range(EXCLUSIONS)),
        )

    def _user(self, number: int) -> UserId:
        return UserId(f"user-{number:08}")
