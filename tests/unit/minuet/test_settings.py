"""Settings: where they come from, which win, and that a typo is found at start."""

from pathlib import Path

import pytest

from base.policy import Control
from minuet.reference.templates import default_environment, default_toml
from minuet.settings import InvalidSettings, Settings, dev_defaults, load, require


def test_later_sources_win(tmp_path: Path) -> None:
    """Defaults, then the file, then the environment."""
    path = tmp_path / "minuet.toml"
    path.write_text('port = 1\nhost = "::1"\nlog_level = "debug"\n')

    settings = load({"MINUET_CONFIG": str(path), "MINUET_PORT": "2"}, {"port": 0, "log_level": "error"})

    assert (settings.port, settings.host, settings.log_level) == (2, "::1", "debug")


def test_an_intent_changes_only_what_it_names(tmp_path: Path) -> None:
    """`[intents.dating]` keeps the rest of dating, and friends beside it."""
    path = tmp_path / "minuet.toml"
    path.write_text("[intents.dating]\ncall_seconds = 20\n[intents.walks]\nmax_extensions = 0\n")

    intents = load({"MINUET_CONFIG": str(path)}).intents

    assert intents["dating"].call_seconds == 20
    assert intents["dating"].control is Control.FEMALE
    assert intents["friends"].control is Control.MUTUAL
    assert intents["walks"].max_extensions == 0


def test_dev_lets_the_same_two_meet_again_soon_unless_told_otherwise(tmp_path: Path) -> None:
    """A newcomer has two tabs; whoever sets the value themselves gets theirs."""
    path = tmp_path / "minuet.toml"
    path.write_text("[intents.friends]\nrecent_partner_s = 60\n")

    intents = load({"MINUET_CONFIG": str(path)}, dev_defaults()).intents

    assert (intents["dating"].recent_partner_s, intents["friends"].recent_partner_s) == (5, 60)
    assert intents["dating"].control is Control.FEMALE


def test_lists_and_nested_limits_come_from_the_environment() -> None:
    """Commas separate; `MINUET_RATE_LIMITS_USER` is `rate_limits.user`."""
    settings = load(
        {
            "MINUET_ALLOWED_ORIGINS": "https://a.example, https://b.example",
            "MINUET_RATE_LIMITS_USER": "5",
        },
        dev_defaults(),
    )

    assert settings.allowed_origins == ("https://a.example", "https://b.example")
    assert (settings.rate_limits.user, settings.rate_limits.moderator) == (5, 200)


def test_a_secret_can_come_from_a_file(tmp_path: Path) -> None:
    """As containers hand them over; white space at the end is not part of it."""
    path = tmp_path / "secret"
    path.write_text("s" * 40 + "\n")

    assert load({"MINUET_AUTH_SECRET_FILE": str(path)}).auth_secret == "s" * 40


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"MINUET_PROT": "1"}, "MINUET_PROT"),
        ({"MINUET_PORT": "x"}, "port"),
        ({"MINUET_PORT": "70000"}, "port"),
        ({"MINUET_LOG_LEVEL": "loud"}, "log_level"),
        ({"MINUET_AUTH_SECRET": "short"}, "auth_secret"),
        ({"MINUET_AUTH_SECRET_FILE": "/nowhere/at/all"}, "MINUET_AUTH_SECRET_FILE"),
        ({"MINUET_HOST_FILE": "/etc/hostname"}, "MINUET_HOST_FILE"),
        ({"MINUET_CONFIG": "/nowhere/at/all"}, "MINUET_CONFIG"),
        ({"MINUET_INTENTS": "{}"}, "MINUET_INTENTS"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(environment: dict[str, str], says: str) -> None:
    """The message names the key."""
    with pytest.raises(InvalidSettings, match=says):
        load(environment)


@pytest.mark.parametrize(
    "text", ["prot = 1", "port = ", "[intents.dating]\ncall_secs = 3", "[intents.dating]\ncall_seconds = -1"]
)
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, text: str) -> None:
    """Unknown keys, broken TOML, values out of bounds."""
    path = tmp_path / "minuet.toml"
    path.write_text(text)

    with pytest.raises(InvalidSettings):
        load({"MINUET_CONFIG": str(path)})


def test_the_templates_are_the_defaults(tmp_path: Path) -> None:
    """What `default-config` prints is read back as nothing but defaults; every variable is commented out."""
    path = tmp_path / "minuet.toml"
    path.write_text(default_toml())

    assert load({"MINUET_CONFIG": str(path)}) == Settings()
    assert all(line.startswith("#") for line in default_environment().splitlines())


def test_what_is_needed_and_missing_is_named() -> None:
    """By the variable that would set it."""
    with pytest.raises(InvalidSettings, match="MINUET_REDIS_URL, MINUET_DATABASE_URL"):
        require(Settings(), "redis_url", "database_url")
