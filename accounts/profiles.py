"""What people tell about themselves, and how they change it."""

from accounts import rules
from accounts.model import ProfileChange, User
from accounts.ports import AccountStore
from accounts.service import NoSuchAccount
from base.ids import IdFactory


class Profiles:
    """A user's own profile."""

    def __init__(self, store: AccountStore, ids: IdFactory) -> None:
        self._store = store
        self._ids = ids

    async def get(self, user_id: str) -> User:
        """The profile.

        Raises:
            NoSuchAccount: it was deleted.
            Unavailable: try again.
        """
        user = await self._store.user(user_id)
        if user is None:
            raise NoSuchAccount
        return user

    async def put(self, user_id: str, change: ProfileChange) -> User:
        """Replace what may be changed; the profile after it.

        Raises:
            InvalidField: a field does not fit.
            NoSuchAccount: it was deleted.
            Unavailable: try again.
        """
        user = await self._store.change_profile(user_id, rules.profile(change), self._ids.now_ms())
        if user is None:
            raise NoSuchAccount
        return user
