"""The guides and the code agree: every number that a guide promises is the code's, every name leads somewhere."""

import re
from pathlib import Path
from typing import Final

import msgspec
import pytest

from accounts.tokens import ACCESS_S, REFRESH_S
from base.policy import IntentPolicy
from chat.rules import MAX_BODY, MAX_WATCHED
from jobs.sweep import OVERDUE_MS
from matchmaker.pairing import BEST_OF
from minuet.settings import Settings
from minuet.wiring import leaving
from presence.continuity import LONGEST_MS, RESTORING_MS
from presence.nodes import LEASE_TTL_MS
from signaling import feedback, owed_commands, recent_restrictions, sdp, session_shell, standstill, watches
from signaling.connection import ConnectionSettings
from signaling.handover import AT_ONCE
from signaling.protocol.schema import CLIENT_MESSAGES, SERVER_MESSAGES
from signaling.queue_status import EVERY_MS
from signaling.session import handover
from signaling.session.heartbeat import CALL_BEAT, IDLE_BEAT
from signaling.session.limits import Rate, SessionLimits
from storage.redis.bus_limits import BusLimits
from storage.redis.bus_outgoing import REPEAT_AFTER_MS
from storage.redis.idempotency import KEEP_S, LARGEST_BODY, RESERVED_S

ROOT: Final = Path(__file__).parents[3]
DOCS: Final = ROOT / "docs"
PAGES: Final = (
    *sorted(DOCS.rglob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
)

LIMITS: Final = SessionLimits()
POLICY: Final = IntentPolicy()
SETTINGS: Final = Settings()
BUS: Final = BusLimits()
WORDS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def kb(size: int) -> str:
    return f"{size // 1024} kB"


def rate(of: Rate) -> str:
    """As protocol.md says it."""
    a_second = "one" if of.per_s == 1 else f"{of.per_s:g}"
    return f"{a_second} a second ({of.burst:g} at once)"


def seconds(ms: float) -> str:
    return f"{ms / 1000:g} s"


# What a page says, put together from what the code does. Line breaks of the page do not count.
SAID: Final = {
    "protocol": [
        f"Frames hold at most {kb(LIMITS.max_frame_bytes)}, {kb(ConnectionSettings().max_message_bytes)} before the session",
        f"at most {LIMITS.outbox_messages} messages or {kb(LIMITS.outbox_bytes)}.",
        f"The first frame, within {seconds(LIMITS.start_timeout_ms)}:",
        f"lives for {seconds(session_shell.DETACHED_MS)}, {seconds(session_shell.DETACHED_IN_CALL_MS)} in a call. "
        f"Its ticket is paused for {POLICY.paused_s:g} s, its call waits for {POLICY.reconnecting_s:g} s.",
        f"comes {seconds(session_shell.EXPIRY_WARNING_MS)} before the token runs out",
        f"After {seconds(session_shell.EXPIRY_GRACE_MS)} of grace",
        f"pings after {seconds(IDLE_BEAT.silence_ms)} of silence ({seconds(CALL_BEAT.silence_ms)} in a call) and "
        f"gives up after {seconds(IDLE_BEAT.answer_ms)} ({seconds(CALL_BEAT.answer_ms)}).",
        f"{LIMITS.messages.per_s:g} messages a second ({LIMITS.messages.burst:g} at once); candidates apart from "
        f"that, {rate(LIMITS.candidates)}; `queue.join` {LIMITS.queue_joins.per_s * 60:g} a minute; "
        f"`presence.set` {rate(LIMITS.presence)}; `chat.send` {rate(LIMITS.chat)}; "
        f"WebSocket pings and pongs {rate(LIMITS.control_frames)}.",
        f"above {kb(LIMITS.drop_ephemeral_above)} unsent, is closed with 4003 above {kb(LIMITS.close_slow_above)} "
        f"or when a full socket has taken nothing for {seconds(LIMITS.slow_after_ms)}",
        f"{POLICY.max_offers} offers at once and one more every {POLICY.offers_s / POLICY.max_offers:g} s, "
        f"{POLICY.max_candidates} candidates for a side of a negotiation, {kb(POLICY.signaling_bytes)} of",
        f"when that changes, at most every {seconds(EVERY_MS)}",
        f"`away_s` ({POLICY.away_s / 60:g} minutes by default)",
        f"An offer that nobody answers for {POLICY.negotiation_s:g} s fails",
        f"stands for {POLICY.video_request_s:g} s.",
        f"an answer without it passes within {POLICY.revoke_window_s:g} s the call ends",
    ],
    "consent": [
        f"more than {kb(sdp.MAX_BYTES)}",
        f"over {sdp.MAX_LINES} lines or {sdp.MAX_SECTIONS} sections",
        f"the window is {POLICY.revoke_window_s:g} s (`revoke_window_s`)",
        f"{SETTINGS.consent_kept_days} days after the call's end (`consent_kept_days`)",
        f"{POLICY.max_offers} in {POLICY.offers_s:g} s: {WORDS[POLICY.max_offers]} at once",
        f"| `video.request` (`max_video_requests`) | {POLICY.max_video_requests} |",
        f"(`signaling_bytes`) | {kb(POLICY.signaling_bytes)}, refused ones included",
        f"{WORDS[POLICY.reserved_offers]} offers (`reserved_offers`) and {kb(POLICY.reserved_signaling_bytes)}",
        f"which remembers for {seconds(recent_restrictions.REMEMBERED_MS)} what it took away",
    ],
    "chat": [
        f"plain text of 1 to {MAX_BODY:,} characters",
        f"At most {MAX_WATCHED} in a session (`limit_reached`)",
        f"`chat.send` {rate(LIMITS.chat)}, else `rate_limited`. "
        f"`chat.typing` beyond one in {1 / LIMITS.typing.per_s:g} s is dropped",
    ],
    "rest": [
        f"{SETTINGS.rate_limits.anonymous} requests a minute without a token",
        f"{SETTINGS.rate_limits.user} for users, {SETTINGS.rate_limits.moderator} for moderators",
        f"have one each instead, of {SETTINGS.rate_limits.auth}, by address",
        f"**Access tokens** live {ACCESS_S // 60} minutes.",
        f"**Refresh tokens** live {REFRESH_S // 86_400} days",
        f"`note` of up to {feedback.NOTE_LENGTH:,} characters",
        f"kept for {WORDS[KEEP_S // 60]} minutes, up to {kb(LARGEST_BODY)} each",
        f"gives its key free after {RESERVED_S} seconds",
        f"up to {WORDS[owed_commands.KEPT_MS // 60_000]} minutes (not beyond its own life)",
    ],
    "matching": [
        f"The first {BEST_OF} who fit",
        f"after {POLICY.widen_after_s[1]}, {POLICY.widen_after_s[2]} and {POLICY.widen_after_s[3]} seconds of waiting",
    ],
    "architecture": [
        f"keeps what it published for {seconds(BUS.kept_ms)} or {BUS.kept_bytes >> 20} MB; {REPEAT_AFTER_MS[0]} ms "
        f"and {seconds(REPEAT_AFTER_MS[1])} after the last publication",
        f"holds later frames of that sender back for at most {seconds(BUS.patience.fill_ms)}",
        f"after {seconds(BUS.silence_ms)} without one the connection is made anew",
        f"in pieces of {kb(handover.PIECE_BYTES)}, each asked for, and of {AT_ONCE} sessions at a time",
        f"waits at the new node ({handover.HELD_FRAMES} frames)",
        f"After a gap of {seconds(standstill.GAP_MS)} all frames wait",
        f"fires what is overdue by {seconds(OVERDUE_MS)}.",
        f"a node its incarnation ({seconds(LEASE_TTL_MS)}, renewed each second)",
    ],
    "operations": [
        f"at most {BUS.kept_total_bytes >> 20} MB a process",
        f"for {seconds(RESTORING_MS)} and until it is done ({seconds(LONGEST_MS)} at most)",
        f"leases of nodes last {WORDS[LEASE_TTL_MS // 1000]}",
        f"{leaving.MOVED_PER_S} a second (in {leaving.MOVING_MOST_S:g} s at most)",
        f"(at most {leaving.HANDOVER_S:g} s after the last)",
        f"ends, {leaving.MOVING_MOST_S + leaving.HANDOVER_S + leaving.LATECOMERS_S + leaving.CLOSING_S:g} s after the",
        f"One look takes {watches.LOOKED_AT_MOST:,} at most",
        f"for {watches.VERIFIED_MOST:,} connections every {WORDS[watches.VERIFY_EVERY]} seconds",
        f"`turn_credential_s` ({SETTINGS.turn_credential_s}) at most",
        f"`database_replica_max_age_s` ({SETTINGS.database_replica_max_age_s:g})",
    ],
}


@pytest.mark.parametrize(
    ("page", "said"), [(page, said) for page, all_said in SAID.items() for said in all_said]
)
def test_what_a_guide_promises_is_what_the_code_does(page: str, said: str) -> None:
    """Whoever changes a limit finds the sentence that has to change with it."""
    text = " ".join((DOCS / f"{page}.md").read_text().split())

    assert said in text


def test_the_table_of_what_to_set_about_matching_has_the_defaults() -> None:
    """In matching.md, as people write them."""
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d, ]+) \|", (DOCS / "matching.md").read_text(), re.MULTILINE))
    defaults = {name: getattr(POLICY, name) for name in rows}

    assert set(rows) >= {
        "widen_after_s",
        "max_wait_s",
        "recent_partner_s",
        "decline_pause_s",
        "paused_s",
        "away_s",
    }
    assert rows == {
        name: ", ".join(f"{each}" for each in (value if isinstance(value, tuple) else (value,)))
        for name, value in defaults.items()
    }


def fields_of(message: str) -> set[str]:
    """In either direction: some are said by both sides."""
    classes = [family[message] for family in (CLIENT_MESSAGES, SERVER_MESSAGES) if message in family]
    return {field.encode_name for each in classes for field in msgspec.structs.fields(each)}


def test_messages_have_the_fields_that_a_guide_gives_them() -> None:
    """`type {field, other?}`, as protocol.md and its neighbours write it."""
    text = " ".join(
        (DOCS / f"{page}.md").read_text() for page in ("protocol", "chat", "consent", "rest", "matching")
    )
    named = {
        (message, re.split(r"[?: ]", field)[0])
        for message, inner in re.findall(r"`([a-z]+\.[a-z_.]+)\s+\{([^`}]*)\}", text)
        for field in re.split(r",\s*|\s\|\s", " ".join(inner.split()))
        if field != "..."
    }

    assert len(named) > 60
    assert [(message, field) for message, field in sorted(named) if field not in fields_of(message)] == []


@pytest.mark.parametrize(
    ("sentence", "messages"),
    [
        (
            r"Every\s+message\s+needs\s+it\s+but\s+(.*?)\. A request",
            {n for n, c in CLIENT_MESSAGES.items() if not c.NEEDS_ID},
        ),
        (r"Only\s+(`ping`.*?)\s+have\s+none\.", {n for n, c in SERVER_MESSAGES.items() if not c.RELIABLE}),
    ],
    ids=["without id", "without seq"],
)
def test_the_exceptions_from_numbering_are_all_named(sentence: str, messages: set[str]) -> None:
    """In protocol.md: who writes a client by it must not wait for a number that never comes."""
    found = re.search(sentence, (DOCS / "protocol.md").read_text(), re.DOTALL)

    assert found is not None
    assert set(re.findall(r"`([a-z._]+)`", found[1])) == messages


def test_every_file_that_a_guide_names_is_there() -> None:
    """By its path from the root of the repository, in backticks; `*` stands for anything."""
    folders = "|".join(
        path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    named = {
        (page.name, path)
        for page in PAGES
        for path in re.findall(rf"`((?:{folders})/[\w./*-]+)`", page.read_text())
    }

    assert len(named) > 30
    assert [(page, path) for page, path in sorted(named) if not [*ROOT.glob(path)]] == []


def test_every_program_that_a_guide_runs_is_there() -> None:
    """`python -m module`, and `make target`."""
    text = "\n".join(page.read_text() for page in PAGES)
    modules = set(re.findall(r"python -m ([\w.]+)", text))
    targets = set(re.findall(r"(?:^|`)(?:\w+=\S+ )*make ([a-z][a-z-]*)", text, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()

    assert {"minuet", "loadtests.simulate_day"} <= modules
    assert {"run", "test", "check", "load", "chaos", "bench-relay"} <= targets
    files = {module: ROOT.joinpath(*module.split(".")) for module in modules}
    assert [
        module
        for module, path in files.items()
        if not path.with_suffix(".py").exists() and not (path / "__main__.py").exists()
    ] == []
    assert [
        one for one in targets if not re.search(rf"^(?:[a-z-]+ )*{one}(?: [a-z-]+)*:", makefile, re.MULTILINE)
    ] == []


def test_the_readme_lists_every_command() -> None:
    """And no other."""
    block = re.search(r"```text\n(minuet dev .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    # The last line has several, with a stroke between.
    listed = set(re.findall(r"(?:^minuet|(?<=[a-z]) \|) ([a-z-]+)", block[1], re.MULTILINE))
    commands = ROOT / "minuet" / "commands"
    there = {
        path.stem.replace("_", "-")
        for path in commands.glob("*.py")
        if "def add(commands" in path.read_text()
    }

    assert listed == there


def test_the_map_of_the_hub_names_modules_that_are_there() -> None:
    """In architecture.md: the words at the beginning of each line, until two spaces."""
    text = (DOCS / "architecture.md").read_text()
    block = re.search(r"## The hub\n\n```text\nsignaling/\n(.*?)```", text, re.DOTALL)
    assert block is not None
    named = {
        word.rstrip("/")
        for line in block[1].splitlines()
        for word in re.findall(r"[\w/]+", re.split(r" {2,}", line.strip())[0])
    }

    assert {"hub", "relays", "calls", "session"} <= named
    assert [one for one in sorted(named) if not [*(ROOT / "signaling").glob(f"{one}*")]] == []
