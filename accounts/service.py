"""Getting in and out: registration, login, refresh, logout.

Decides the order of things (guard, hash, store, tell) and what each failure tells a stranger: as little as possible.
Time and randomness come from the injected `IdFactory`.
"""

import hashlib
from dataclasses import dataclass

import structlog

from accounts import rules
from accounts.metrics import AccountMetrics
from accounts.model import (
    Credentials,
    Device,
    Identity,
    NewFamily,
    NewToken,
    Registration,
    RevokeReason,
    Role,
    SignIn,
    User,
)
from accounts.passwords import Passwords
from accounts.ports import AccountStore, LoginGuard, NotRotated, RevocationLog, Rotated, RotationRefusal
from accounts.tokens import (
    REFRESH_BYTES,
    REFRESH_S,
    TokenIssuer,
    Unauthenticated,
    refresh_token,
    refresh_token_hash,
)
from base.errors import ErrorCode, MinuetError, Unavailable
from base.ids import IdFactory

log = structlog.get_logger(__name__)


class EmailTaken(MinuetError):
    """There is an account with this address."""

    code = ErrorCode.CONFLICT


class Banned(MinuetError):
    """The account is banned; told only to who knows its password or holds its token."""

    code = ErrorCode.BANNED


class TooManyAttempts(MinuetError):
    """The next attempt to sign in comes too early."""

    code = ErrorCode.RATE_LIMITED


class NoSuchAccount(MinuetError):
    """The account does not exist, or not any more."""

    code = ErrorCode.NOT_FOUND


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a client gets when it signs in or refreshes. Times are Unix milliseconds."""

    user: User
    access_token: str
    expires_at: int
    refresh_token: str
    refresh_expires_at: int


@dataclass(frozen=True, slots=True)
class AccountPorts:
    """Where accounts are kept and who is told about them."""

    store: AccountStore
    revocations: RevocationLog
    guard: LoginGuard
    passwords: Passwords


class Accounts:
    """The way in and out."""

    def __init__(
        self,
        ports: AccountPorts,
        issuer: TokenIssuer,
        ids: IdFactory,
        metrics: AccountMetrics,
        *,
        refresh_s: int = REFRESH_S,
    ) -> None:
        self._store = ports.store
        self._revocations = ports.revocations
        self._guard = ports.guard
        self._passwords = ports.passwords
        self._issuer = issuer
        self._ids = ids
        self._metrics = metrics
        self._refresh_ms = refresh_s * 1000

    async def register(self, entered: Registration, device: Device) -> SignedIn:
        """Make an account and sign in.

        Raises:
            InvalidField: a field does not fit, or the person is under 18.
            EmailTaken: there is such an account.
            Unavailable: try again.
        """
        now_ms = self._ids.now_ms()
        data = rules.registration(entered, now_ms)
        # Before the address is looked for, so that both outcomes take the same time.
        password_hash = await self._passwords.hash(data.password)
        user = User(
            id=self._ids.new(),
            email=data.email,
            email_verified_at=None,
            role=Role.USER,
            first_name=data.first_name,
            gender=data.gender,
            birth_date=data.birth_date,
            languages=data.languages,
            region=data.region,
            locale=data.locale,
            terms_version=data.terms_version,
            privacy_version=data.privacy_version,
            created_at=now_ms,
            updated_at=now_ms,
        )
        token, family = self._new_family(user.id, device, now_ms)
        if not await self._store.register(user, password_hash, family):
            self._metrics.registrations.labels("taken").inc()
            raise EmailTaken("This e-mail address cannot be used.")
        self._metrics.registrations.labels("registered").inc()
        return self._signed_in(user, family.id, token, family.token)

    async def login(self, email: str, password: str, address: str, device: Device) -> SignedIn:
        """Sign in. The same answer after the same work, whether or not there is such an account.

        Raises:
            Unauthenticated: address and password do not match.
            TooManyAttempts: with the time to wait.
            Banned: they match, but the account is banned.
            Unavailable: try again.
        """
        found_by = rules.login_email(email)
        account = account_key(found_by)
        early_ms = await self._guard.attempt(account, address)
        if early_ms:
            self._metrics.logins.labels("delayed").inc()
            raise TooManyAttempts(retry_after_ms=early_ms)
        text = rules.password_text(password)
        credentials = await self._store.credentials(found_by)
        fits = await self._passwords.verify(credentials.password_hash if credentials else None, text)
        if credentials is None or not fits:
            self._metrics.logins.labels("failed").inc()
            raise Unauthenticated("E-mail and password do not match.")
        user = credentials.user
        await self._guard.succeeded(account, address)
        if user.banned_at is not None:
            self._metrics.logins.labels("banned").inc()
            raise Banned
        await self._renew_hash(credentials, text)
        now_ms = self._ids.now_ms()
        token, family = self._new_family(user.id, device, now_ms)
        await self._store.start_family(family)
        self._metrics.logins.labels("signed_in").inc()
        return self._signed_in(user, family.id, token, family.token)

    async def refresh(self, token: str) -> SignedIn:
        """Exchange a refresh token for its successor and a new access token.

        Raises:
            Unauthenticated: it is unknown, used, revoked or past its time; the message does not say which.
            Banned: the account is banned.
            Unavailable: try again with the same token.
        """
        now_ms = self._ids.now_ms()
        successor, stored = self._new_token(now_ms)
        outcome = await self._store.rotate(refresh_token_hash(token), stored, now_ms)
        match outcome:
            case Rotated(user, family_id):
                self._metrics.refreshes.labels("rotated").inc()
                return self._signed_in(user, family_id, successor, stored)
            case NotRotated():
                self._metrics.refreshes.labels(outcome.reason.value).inc()
                if outcome.reason is RotationRefusal.BANNED:
                    raise Banned
                if outcome.reason is RotationRefusal.REUSED:
                    await self._tell_reuse(outcome, now_ms)
                raise Unauthenticated("The refresh token is not valid.")

    async def logout(self, identity: Identity) -> None:
        """End the sign-in that the request came from: its refresh token, its access tokens, its sockets.

        Raises:
            Unavailable: try again; what was ended stays ended.
        """
        now_ms = self._ids.now_ms()
        await self._store.revoke_family(identity.family_id, RevokeReason.LOGOUT, now_ms)
        await self._revocations.revoke_family(
            identity.user_id, identity.family_id, now_ms, RevokeReason.LOGOUT
        )

    async def logout_all(self, identity: Identity) -> None:
        """End all sign-ins of the user.

        Raises:
            Unavailable: try again; what was ended stays ended.
        """
        await self._revoke_all(identity.user_id, RevokeReason.LOGOUT_ALL)

    async def me(self, identity: Identity) -> User:
        """The account that a request is from.

        Raises:
            NoSuchAccount: it was deleted since.
            Unavailable: try again.
        """
        user = await self._store.user(identity.user_id)
        if user is None:
            raise NoSuchAccount
        return user

    async def sign_ins(self, identity: Identity) -> list[SignIn]:
        """Where the user is signed in, most recently used first."""
        return await self._store.sign_ins(identity.user_id, self._ids.now_ms())

    async def appoint(self, email: str, role: Role) -> User:
        """Give an account a role; it has to sign in again, since its tokens name the old one.

        Raises:
            NoSuchAccount: nobody has this address.
            Unavailable: try again.
        """
        user = await self._store.set_role(rules.login_email(email), role, self._ids.now_ms())
        if user is None:
            raise NoSuchAccount(f"There is no account {email}.")
        await self._revoke_all(user.id, RevokeReason.LOGOUT_ALL)
        log.info("role_changed", user_id=user.id, role=role.value)
        return user

    async def _renew_hash(self, credentials: Credentials, password: str) -> None:
        if not self._passwords.needs_rehash(credentials.password_hash):
            return
        try:
            new_hash = await self._passwords.hash(password)
        except Unavailable:
            # Busy: it can wait for another day, the person at the door should not.
            return
        await self._store.set_password_hash(credentials.user.id, credentials.password_hash, new_hash)

    async def _revoke_all(self, user_id: str, reason: RevokeReason) -> None:
        # One past now: a token of this very millisecond is of before.
        before_ms = self._ids.now_ms() + 1
        await self._store.revoke_all(user_id, reason, before_ms)
        await self._revocations.revoke_user(user_id, before_ms, reason)

    async def _tell_reuse(self, outcome: NotRotated, now_ms: int) -> None:
        log.warning("refresh_token_reused", user_id=outcome.user_id, family_id=outcome.family_id)
        if outcome.user_id is None or outcome.family_id is None:
            return
        try:
            await self._revocations.revoke_family(
                outcome.user_id, outcome.family_id, now_ms, RevokeReason.REUSE
            )
        except Unavailable:
            # The family is revoked in the database already; its last access token runs out by itself.
            log.warning("revocation_not_told", family_id=outcome.family_id)

    def _new_family(self, user_id: str, device: Device, now_ms: int) -> tuple[str, NewFamily]:
        token, stored = self._new_token(now_ms)
        return token, NewFamily(id=self._ids.new(), user_id=user_id, device=device, token=stored)

    def _new_token(self, now_ms: int) -> tuple[str, NewToken]:
        token = refresh_token(self._ids.random_bytes(REFRESH_BYTES))
        stored = NewToken(
            token_hash=refresh_token_hash(token), issued_at=now_ms, expires_at=now_ms + self._refresh_ms
        )
        return token, stored

    def _signed_in(self, user: User, family_id: str, token: str, stored: NewToken) -> SignedIn:
        access = self._issuer.issue(user, family_id, self._ids.new(), self._ids.now_ms())
        return SignedIn(user, access.token, access.expires_at, token, stored.expires_at)


def account_key(email: str) -> str:
    """How an account is named where attempts are counted: no address stands in Redis."""
    return hashlib.sha256(email.encode()).hexdigest()[:32]
