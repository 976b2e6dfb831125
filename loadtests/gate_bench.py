"""What it costs to judge a description: the usual one, and the worst that can be put into 16 kB.

    python -m loadtests.gate_bench [--rounds 300] [--search 5] [--seed 1]

The usual one is an offer of Chromium with voice, video and candidates. The worst is looked for: first in families of
texts that aim at one pattern or loop each, then by mixing their lines at random and keeping what takes longer. Prints
medians and maxima of the gate alone, and of gate and filter with hidden addresses; beside them, in the same run, what
cutting the text into lines takes, and aiortc's parser where it is installed.
"""

import argparse
import contextlib
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from signaling.addresses import filter_description
from signaling.candidates import AddressRule, RelayRange, RelayRanges
from signaling.sdp import MAX_BYTES, MAX_LINES, Allowance, SdpRefused, judge, parse

PEER: Callable[[str], object] | None
try:
    from aiortc.sdp import SessionDescription

    PEER = SessionDescription.parse
except ImportError:  # for comparison only, and not a part of the server
    PEER = None

USUAL: Final = (Path(__file__).parent / "chromium_offer.sdp").read_bytes().decode()
RULE: Final = AddressRule(
    relay_only=True,
    ranges=RelayRanges((RelayRange((ip_network("198.51.100.0/24"), ip_network("2001:db8::/32"))),)),
)
ALLOWED: Final = Allowance(send_video=True, receive_video=True, data_channels=True)
TARGET_USUAL_US: Final = 100
TARGET_WORST_US: Final = 5000

_HEAD: Final = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
_AUDIO: Final = "m=audio 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=ice-ufrag:aaaa\r\n"
_SECTIONS: Final = "".join(f"m=text 0 U 9\r\na=mid:{n}\r\n" for n in range(1, 8))
# Each aims at one pattern: matches that are slow, or that fail late.
LINES: Final = (
    "a=rtpmap:96 opus/48000/2",
    "a=rtcp-fb:* nack pli",
    "a=inactive",
    "a=sendrecx",
    "a=sendrecvx:y",
    "a=ice-ufra:y",
    "a=bundle-onlx",
    "a=!#$%&'*+.^_`{|}~-",
    "a=x:" + "y" * 300,
    "a=x:" + ":." * 100,
    "a=mi",
    "a=group:BUNDLX 0 1 2 3",
    "a=fmtp:96 " + "a=b;" * 60 + ".",
    "a=extmap:1 urn:ietf:params:a:b:c:d",
    "a=extmap:1 https://www.webrtc.org/" + "a" * 200 + ".",
    "a=ssrc:1 cname:" + "a" * 200 + ".",
    "a=fingerprint:sha-256 " + "AB:" * 63 + "A",
    "a=end-of-candidates",
    "a=rtcp:1 IN IP4 203.0.113.9",
    "a=remote-candidates:1 203.0.113.9 1",
    "c=IN IP4 203.0.113.9",
    "o=" + "x" * 100 + " 1 1 IN IP4 0.0.0.0",
    "o=x 99999999999999999999 99999999999999999999 ",
    "o=x",
    "s=x",
    "t=x",
    "i=x",
    "b=TIAS:99999999999",
    "v=0",
    "z=" + "y" * 30,
)
CANDIDATES: Final = (
    "a=candidate:1 1 udp 1 198.51.100.7 50000 typ relay raddr 0.0.0.0 rport 0",
    "a=candidate:1 1 udp 1 198.51.100.7 50000 typ relay" + " generation 0" * 25,
    "a=candidate:1 1 udp 1 198.51.100.7 50000 typ relay" + " a b" * 80,
    "a=candidate:1 1 udp 1 2001:db8:0:0:0:0:0:1 50000 typ relay" + " ufrag aaaa" * 25,
    "a=candidate:1 1 udp 1 2001:db8:1:2:3:4:5:6 50000 typ relay" + " network-cost 99999" * 17,
    "a=candidate:1 1 udp 1 " + "1" * 250 + " 50000 typ host",
    "a=candidate:1 1 udp 1 " + "a:" * 120 + " 50000 typ host",
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds a description."""

    median_us: float
    worst_us: float


def gate(sdp: str) -> bool:
    """The verdict on a description."""
    try:
        judge(parse(sdp), ALLOWED)
    except SdpRefused:
        return False
    return True


def gate_and_filter(sdp: str) -> bool:
    """The same, and what of it may pass where addresses are hidden."""
    try:
        description = parse(sdp)
        judge(description, ALLOWED)
        filter_description(sdp, description, RULE)
    except SdpRefused:
        return False
    return True


def measure(work: Callable[[str], object], sdp: str, rounds: int) -> Cost:
    """The cost of one description; thread time, so that others on the machine count little."""
    costs = []
    for _ in range(rounds):
        started = time.thread_time_ns()
        work(sdp)
        costs.append((time.thread_time_ns() - started) / 1000)
    return Cost(statistics.median(costs), max(costs))


def filled(lines: Sequence[str], *, begin: str = _HEAD + _AUDIO, end: str = "") -> str:
    """As many of these lines, round and round, as a description may have."""
    text, used, number = [begin], len(begin) + len(end), (begin + end).count("\n")
    while number < MAX_LINES:
        line = lines[number % len(lines)] + "\r\n"
        if used + len(line) > MAX_BYTES:
            break
        text.append(line)
        used, number = used + len(line), number + 1
    return "".join((*text, end))


def families() -> Iterator[tuple[str, str]]:
    """Texts that aim at one pattern or loop each, with a name."""
    for line in LINES:
        yield f"many of {line[:24]}", filled([line])
        yield f"many of {line[:24]}, eight sections", filled([line], begin=_HEAD + _AUDIO + _SECTIONS)
        yield f"session: many of {line[:24]}", filled([line], begin=_HEAD, end=_AUDIO)
    for line in CANDIDATES:
        yield f"40 of {line[:60]}", filled_with_candidates([line], LINES[:2])
    wide = MAX_BYTES - len(_HEAD) - 60
    yield "formats", f"{_HEAD}m=audio 9 UDP{' 9' * (wide // 2)}\r\na=mid:0\r\n"
    yield "formats, then a fault", f"{_HEAD}m=audio 9 UDP{' 9' * (wide // 2)}!\r\na=mid:0\r\n"
    yield "one format, then a fault", f"{_HEAD}m=audio 9 UDP {'9' * wide}!\r\na=mid:0\r\n"
    yield "a protocol", f"{_HEAD}m=audio 9 {'U/' * (wide // 2)}\r\na=mid:0\r\n"
    yield "a kind", f"{_HEAD}m={'a' * wide}\r\n"
    yield "a bundle", f"{_HEAD}a=group:BUNDLE{' 0' * (wide // 2 - 40)}\r\n{_AUDIO}"
    yield "a bundle of many", f"{_HEAD}a=group:BUNDLE {' '.join(map(str, range(3200)))}\r\n{_AUDIO}"
    yield "a long name", f"{_HEAD}{_AUDIO}a={'x' * (wide - 60)}\r\n"
    yield "a long value", f"{_HEAD}{_AUDIO}a=x:{'.:' * (wide // 2 - 60)}\r\n"
    yield "a long direction", f"{_HEAD}{_AUDIO}a=sendrecv{'x' * (wide - 60)}\r\n"
    yield "line feeds", f"{_HEAD}{_AUDIO}" + "\n" * (MAX_LINES - 10)
    yield "returns", f"{_HEAD}{_AUDIO}" + "\r" * (wide - 60) + "\n"
    yield "another letter at the end", filled(LINES[:1])[:-3] + "\u2028\r\n"


def filled_with_candidates(candidates: Sequence[str], lines: Sequence[str]) -> str:
    """Forty candidates, or as many as fit, and other lines in the room that is left."""
    begin = _HEAD + _AUDIO
    for number in range(40):
        line = candidates[number % len(candidates)] + "\r\n"
        if len(begin) + len(line) > MAX_BYTES:
            break
        begin += line
    return filled(lines, begin=begin)


def search(work: Callable[[str], object], seconds: float, seed: int) -> tuple[str, str]:
    """The slowest text for this work that mixing lines finds, with the name of the family it comes from."""
    chance = random.Random(seed)
    slowest_us, name, text = 0.0, "", ""

    def consider(candidate: str, called: str) -> None:
        nonlocal slowest_us, name, text
        if (cost := measure(work, candidate, 3).median_us) > slowest_us:
            slowest_us, name, text = cost, called, candidate

    for called, candidate in families():
        consider(candidate, called)
    until = time.monotonic() + seconds
    lines: list[str] = []
    while time.monotonic() < until:
        lines = [*chance.sample(lines, len(lines) // 2), *chance.choices(LINES, k=chance.randint(1, 12))]
        mixed = chance.choices(CANDIDATES, k=3)
        sections = chance.choice((_AUDIO, _AUDIO + _SECTIONS))
        consider(filled(lines, begin=_HEAD + sections), "mixed lines")
        consider(filled_with_candidates(mixed, lines), "mixed lines and candidates")
    return name, text


def report(rounds: int, seconds: float, seed: int) -> list[str]:
    """The lines of the report."""
    gate_name, gate_worst = search(gate, seconds / 2, seed)
    name, worst = search(gate_and_filter, seconds / 2, seed)
    rows = [f"{'':38} {'median us':>10} {'max us':>10} {'x lines':>8} {'x aiortc':>9}"]
    for title, sdp in (("usual", USUAL), ("worst for the gate", gate_worst), ("worst for both", worst)):
        lines = measure(str.splitlines, sdp, rounds)
        other = _aiortc(sdp, max(3, rounds // 30))
        rows.append(_row(f"{title}: cut into lines", lines, lines, other))
        for what, work in (("gate", gate), ("gate and filter", gate_and_filter)):
            rows.append(_row(f"{title}: {what}", measure(work, sdp, rounds), lines, other))
        if other is not None:
            rows.append(_row(f"{title}: aiortc's parser", other, lines, other))
    rows.append(f"usual: {len(USUAL)} bytes, {USUAL.count(chr(10))} lines; target {TARGET_USUAL_US} us")
    for title, called, text in (("the gate", gate_name, gate_worst), ("both", name, worst)):
        size = f"{len(text)} bytes, {text.count(chr(10))} lines"
        rows.append(f"worst for {title}: {called}, {size}; target {TARGET_WORST_US} us")
    return rows


def _row(title: str, cost: Cost, lines: Cost, other: Cost | None) -> str:
    beside = "" if other is None else f"{cost.median_us / other.median_us:9.3f}"
    ratio = cost.median_us / lines.median_us
    return f"{title:38} {cost.median_us:10.1f} {cost.worst_us:10.1f} {ratio:8.2f} {beside}"


def _aiortc(sdp: str, rounds: int) -> Cost | None:
    if (peer := PEER) is None:
        return None

    def parsed(text: str) -> None:
        # It raises all sorts of errors, and only its time counts.
        with contextlib.suppress(Exception):
            peer(text)

    return measure(parsed, sdp, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--search", type=float, default=5.0, help="seconds to look for worse texts")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("\n".join(report(options.rounds, options.search, options.seed)))


if __name__ == "__main__":
    main()
