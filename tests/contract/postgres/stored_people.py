"""People, sign-ins and refresh tokens to store."""

import os
from dataclasses import replace
from datetime import date
from typing import Any

from accounts.model import Device, NewFamily, NewToken, Role, User
from base.ids import uuid7
from base.policy import Gender

NOW = 1_793_016_000_123
DAY = 86_400_000
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"


def new_id() -> str:
    return uuid7(NOW, os.urandom(10))


def a_user(**changes: Any) -> User:
    user = User(
        id=new_id(),
        email="Ada@example.org",
        email_verified_at=None,
        role=Role.USER,
        first_name="Ada",
        gender=Gender.FEMALE,
        birth_date=date(1990, 5, 17),
        languages=("en", "pt"),
        region="eu-west",
        locale="en-GB",
        terms_version="2026-10",
        privacy_version=None,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(user, **changes)


def a_token(now_ms: int = NOW, lives_ms: int = 30 * DAY) -> NewToken:
    return NewToken(token_hash=os.urandom(32), issued_at=now_ms, expires_at=now_ms + lives_ms)


def a_family(user_id: str, **changes: Any) -> NewFamily:
    family = NewFamily(id=new_id(), user_id=user_id, device=Device("phone-1", "Phone"), token=a_token())
    return replace(family, **changes)
