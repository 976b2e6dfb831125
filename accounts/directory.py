"""Who a user is to matching and calls: read when a session starts and when a queue is joined."""

from collections.abc import Callable

from accounts.model import Person
from accounts.ports import AccountStore
from accounts.service import Banned, NoSuchAccount


class Directory:
    """Looks people up."""

    def __init__(self, store: AccountStore, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms

    async def person(self, user_id: str) -> Person:
        """The person as of today.

        Raises:
            NoSuchAccount: there is none, or not any more.
            Banned: they may not take part.
            Unavailable: the database is away.
        """
        user = await self._store.user(user_id)
        if user is None:
            raise NoSuchAccount
        if user.banned_at is not None:
            raise Banned
        return Person(
            user_id=user.id,
            first_name=user.first_name,
            gender=user.gender,
            age=user.age(self._now_ms()),
            languages=user.languages,
            region=user.region,
            verified=user.email_verified_at is not None,
            role=user.role,
        )
