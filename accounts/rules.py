"""What may be registered: the form of each field, and who is old enough.

Pure. Each function returns the value as it is stored, or raises `InvalidField` with the field's name. Whoever
enters a new field anywhere goes through here, so that the database holds one form only.
"""

import re
import unicodedata
from collections.abc import Iterable
from datetime import date

from accounts.common_passwords import COMMON_PASSWORDS
from accounts.model import ProfileChange, Registration, age_at
from base.errors import ErrorCode, MinuetError

ADULT = 18
OLDEST = 120
EMAIL_LENGTH = 254
PASSWORD_LENGTH = (8, 128)
NAME_LENGTH = 40
MAX_LANGUAGES = 8

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = re.compile(rf"(?=.{{1,64}}\Z){_ATOM}(?:\.{_ATOM})*")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label is a name: addresses in brackets and bare hosts belong to nobody we can write to.
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?=[a-z0-9-]*[a-z]){_LABEL}")
_LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:-[A-Za-z0-9]{1,8})*")
_LOCALE = re.compile(r"(?=.{2,35}\Z)[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*")
_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
# Persian and Indic names are spelt with these; other invisible characters are refused.
_JOINERS = str.maketrans("", "", "\u200c\u200d")


class InvalidField(MinuetError):
    """A value does not fit; `field` names it."""

    code = ErrorCode.INVALID_MESSAGE

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


def registration(entered: Registration, now_ms: int) -> Registration:
    """The registration as it is stored; the password stays as entered but for its Unicode form (NFC).

    Raises:
        InvalidField: with the first field that does not fit.
    """
    address = email(entered.email)
    name = first_name(entered.first_name)
    return Registration(
        email=address,
        password=new_password(entered.password, (address, address.partition("@")[0], name)),
        first_name=name,
        gender=entered.gender,
        birth_date=adult_birth_date(entered.birth_date, now_ms),
        languages=languages(entered.languages),
        region=region(entered.region),
        locale=locale(entered.locale),
        terms_version=version("terms_version", entered.terms_version),
        privacy_version=version("privacy_version", entered.privacy_version),
    )


def profile(entered: ProfileChange) -> ProfileChange:
    """The change as it is stored.

    Raises:
        InvalidField: with the first field that does not fit.
    """
    return ProfileChange(
        first_name(entered.first_name),
        languages(entered.languages),
        region(entered.region),
        locale(entered.locale),
    )


def email(entered: str) -> str:
    """The address with its domain in lower case. Not whether it exists: only a letter to it shows that."""
    address = entered.strip()
    local, at, domain = address.rpartition("@")
    domain = domain.lower()
    if not at or len(address) > EMAIL_LENGTH or not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise InvalidField("email", "not an e-mail address")
    return f"{local}@{domain}"


def login_email(entered: str) -> str:
    """The form by which accounts are found: what cannot be an address is just an address of nobody."""
    return entered.strip().lower()[:EMAIL_LENGTH].replace("\0", "")


def password_text(entered: str) -> str:
    """The same password however a keyboard composes its accents (RFC 8265, section 4.2)."""
    return unicodedata.normalize("NFC", entered)


def new_password(entered: str, personal: Iterable[str] = ()) -> str:
    """A password that may be set: long enough, and not what guessing programs try first."""
    text = password_text(entered)
    shortest, longest = PASSWORD_LENGTH
    if not shortest <= len(text) <= longest:
        raise InvalidField("password", f"must have {shortest} to {longest} characters")
    folded = text.lower()
    if folded in COMMON_PASSWORDS or len(set(folded)) < 3:
        raise InvalidField("password", "is among the commonest passwords; choose another")
    if folded in {word.lower() for word in personal}:
        raise InvalidField("password", "must not be your name or address")
    return text


def first_name(entered: str) -> str:
    """A name to be shown: printable, with at least one letter, single spaces."""
    name = " ".join(unicodedata.normalize("NFC", entered).split())
    if not 1 <= len(name) <= NAME_LENGTH:
        raise InvalidField("first_name", f"must have 1 to {NAME_LENGTH} characters")
    if not name.translate(_JOINERS).isprintable() or not any(character.isalpha() for character in name):
        raise InvalidField("first_name", "must be printable and have a letter")
    return name


def adult_birth_date(entered: date, now_ms: int) -> date:
    """The birth date of somebody who is 18 or older today (UTC)."""
    age = age_at(entered, now_ms)
    if age < ADULT:
        raise InvalidField("birth_date", f"you must be {ADULT} or older")
    if age > OLDEST:
        raise InvalidField("birth_date", "is too long ago")
    return entered


def languages(entered: Iterable[str]) -> tuple[str, ...]:
    """Primary language subtags (BCP 47) in lower case, each once, in the order of preference: `en-US` is `en`."""
    tags: dict[str, None] = {}
    for tag in entered:
        match = _LANGUAGE.fullmatch(tag)
        if match is None:
            raise InvalidField("languages", "each must be a language tag such as en or pt-BR")
        tags[match[1].lower()] = None
    if len(tags) > MAX_LANGUAGES:
        raise InvalidField("languages", f"at most {MAX_LANGUAGES}")
    return tuple(tags)


def region(entered: str | None) -> str | None:
    """A short slug such as `eu-west`; what regions there are is the deployment's business."""
    if entered is None:
        return None
    slug = entered.strip().lower()
    if not _REGION.fullmatch(slug):
        raise InvalidField("region", "must be 1 to 32 letters, digits and hyphens")
    return slug


def locale(entered: str | None) -> str | None:
    """A language tag for texts, e.g. `pt-BR`."""
    if entered is None:
        return None
    if not _LOCALE.fullmatch(entered):
        raise InvalidField("locale", "must be a language tag such as en or pt-BR")
    return entered.replace("_", "-")


def version(field: str, entered: str | None) -> str | None:
    """The version of a text that somebody agreed to."""
    if entered is not None and not _VERSION.fullmatch(entered):
        raise InvalidField(field, "must be 1 to 32 letters, digits, dots, hyphens and underscores")
    return entered


def device_id(entered: str | None) -> str | None:
    """What a client calls its device."""
    if entered is not None and not _DEVICE.fullmatch(entered):
        raise InvalidField("device_id", "must be 1 to 64 letters, digits, dots, colons and hyphens")
    return entered


def device_name(entered: str | None) -> str | None:
    """What a client says about itself, cut to 200 printable characters. Never refused: it is only shown."""
    if entered is None:
        return None
    return "".join(character for character in entered if character.isprintable())[:200].strip() or None
