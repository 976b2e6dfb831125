"""Numbers between two nodes: whatever a network does to publications, frames go on in order and once, or are told as lost."""

from storage.redis.bus_sequence import GONE, OPEN, Kept, Lost, Patience, Stream
from tests.unit.bus.links import PATIENCE, frames, stream, told


def test_frames_in_order_go_on_at_once() -> None:
    """Nothing waits, nothing is asked for."""
    link = stream()

    assert told(link.take(1, frames(1, 3), 1, 0)) == ["1", "2", "3"]
    assert told(link.take(4, frames(4, 4), 1, 0)) == ["4"]
    assert not link.waits
    assert link.wanted(0) == []


def test_what_comes_after_a_hole_waits_for_it_and_is_asked_for() -> None:
    """The missing ones arrive, and all go on in their order."""
    link = stream()

    assert told(link.take(3, frames(3, 4), 1, 100)) == []
    assert link.wanted(100) == [(1, 2)]
    assert told(link.take(1, frames(1, 2), 1, 105)) == ["1", "2", "3", "4"]
    assert (link.filled, link.repeats, link.held_bytes) == (2, 0, 0)
    assert not link.waits


def test_a_publication_without_frames_tells_of_a_lost_end() -> None:
    """Its number is the next one: all before it were sent."""
    link = stream()
    link.take(1, frames(1, 2), 1, 0)

    assert link.take(5, [], 1, 200) == []
    assert link.wanted(200) == [(3, 4)]
    assert told(link.take(3, frames(3, 4), 1, 210)) == ["3", "4"]


def test_an_end_that_is_known_is_no_news() -> None:
    """The last number is repeated after each burst."""
    link = stream()
    link.take(1, frames(1, 2), 1, 0)

    assert told(link.take(3, [], 1, 200)) == []
    assert not link.waits


def test_repeats_are_passed_over() -> None:
    """Whole publications, parts of them, and those that wait."""
    link = stream()
    link.take(1, frames(1, 3), 1, 0)
    link.take(6, frames(6, 7), 1, 0)

    assert link.take(2, frames(2, 3), 1, 0) == []
    assert link.take(6, frames(6, 6), 1, 0) == []
    assert told(link.take(2, frames(2, 8), 1, 0)) == ["4", "5", "6", "7", "8"]
    assert link.repeats == 2 + 1 + 4


def test_it_asks_again_but_not_for_every_frame_that_follows() -> None:
    """A busy link with one hole in it must not drown its sender in requests."""
    link = stream()
    asked_at = []
    for now_ms in range(0, 1_000, 10):
        link.take(10 + now_ms, frames(10 + now_ms, 19 + now_ms), 1, now_ms)
        if link.wanted(now_ms):
            asked_at.append(now_ms)

    assert asked_at == [0, 250, 500, 750]


def test_a_further_hole_is_asked_for_soon() -> None:
    """Together with the first, which may be on its way."""
    link = stream()
    link.take(3, frames(3, 3), 1, 0)
    first = link.wanted(0)
    link.take(6, frames(6, 6), 1, 5)

    assert first == [(1, 2)]
    assert link.wanted(5) == []
    assert link.wanted(20) == [(1, 2), (4, 5)]


def test_what_does_not_come_in_time_is_told_and_the_rest_goes_on() -> None:
    """No frame waits for longer than the patience lasts."""
    link = stream()
    link.take(3, frames(3, 3), 1, 0)
    link.take(6, frames(6, 6), 1, 1_000)

    assert link.overdue(1_499) == []
    assert told(link.overdue(1_500)) == ["lost 1-2", "3"]
    assert link.overdue(2_499) == []
    assert told(link.overdue(2_500)) == ["lost 4-5", "6"]
    assert not link.waits


def test_a_receiver_that_did_not_look_blames_nobody() -> None:
    """What was asked for lies in its socket: the patience begins anew."""
    link = stream()
    link.take(3, frames(3, 3), 1, 0)
    link.excuse(9_000)

    assert link.overdue(10_499) == []
    assert told(link.overdue(10_500)) == ["lost 1-2", "3"]

    link.resume(10_500)
    link.excuse(20_000)
    assert link.overdue(22_999) == []
    assert told(link.overdue(23_000)) == ["lost 4-0"]


def test_what_the_sender_cannot_send_again_is_given_up_at_once() -> None:
    """It says below which number it has nothing."""
    link = stream()
    link.take(8, frames(8, 8), 1, 0)

    assert told(link.take(9, [], 5, 10)) == ["lost 1-4"]
    assert told(link.take(5, frames(5, 7), 5, 20)) == ["5", "6", "7", "8"]


def test_a_sender_that_knows_nothing_of_the_link_ends_the_waiting() -> None:
    """It was started anew."""
    link = stream()
    link.take(3, frames(3, 3), 1, 0)

    assert told(link.take(1, [], GONE, 10)) == ["lost 1-2", "3"]
    assert not link.waits


def test_what_waits_is_bounded() -> None:
    """A hole before a flood is given up early, and the flood goes on."""
    link = Stream("link", 1, Patience(held_bytes=30), 0)
    steps = [step for number in range(2, 20) for step in link.take(number, [b"0123456789"], 1, 0)]

    assert told(steps[:1]) == ["lost 1-1"]
    assert sum(len(step) for step in steps[1:] if not isinstance(step, Lost)) == 18
    assert link.held_bytes == 0


def test_after_not_listening_everything_since_is_asked_for() -> None:
    """Nobody knows yet whether there was anything."""
    link = stream()
    link.take(1, frames(1, 2), 1, 0)
    link.resume(100)

    assert link.wanted(100) == [(3, OPEN)]
    assert told(link.take(3, frames(3, 5), 1, 110)) == ["3", "4", "5"]
    assert told(link.take(6, [], 1, 110)) == []
    assert not link.waits


def test_a_sender_that_does_not_answer_may_have_sent_something() -> None:
    """It has died, presumably: what was lost has no numbers."""
    link = stream()
    link.take(1, frames(1, 2), 1, 0)
    link.resume(100)

    assert link.overdue(3_099) == []
    assert link.overdue(3_100) == [Lost(3, OPEN)]
    assert not link.waits
    assert Lost(3, OPEN).count == 0


def test_a_sender_that_forgot_us_while_we_did_not_listen_may_have_sent_something() -> None:
    """The same news, only earlier."""
    link = stream()
    link.resume(100)

    assert told(link.take(1, [], GONE, 110)) == ["lost 1-0"]


def test_who_cannot_be_asked_is_never_waited_for() -> None:
    """A sender of the release before: it says what is missing with the next frame, and begins anew at 1."""
    link = stream()

    assert told(link.take_as_is(3, frames(3, 3), 0)) == ["lost 1-2", "3"]
    assert told(link.take_as_is(1, frames(1, 2), 0)) == ["1", "2"]
    assert told(link.take_as_is(3, [], 0)) == []
    assert not link.waits


def test_who_can_be_asked_later_on_is_from_then_on() -> None:
    """A process publishes before it listens: its first publications do not say where it can be asked."""
    link = stream()
    link.take_as_is(1, frames(1, 2), 0)

    assert told(link.take(5, frames(5, 5), 1, 0)) == []
    assert link.wanted(0) == [(3, 4)]


def test_a_floor_beyond_everything_known_is_borne() -> None:
    """Nobody sends one; nothing is lost by it that was not sent."""
    link = stream()

    assert told(link.take(3, frames(3, 3), 90, 0)) == ["lost 1-2", "3"]
    assert told(link.take(4, frames(4, 4), 90, 0)) == ["4"]


def test_so_many_ranges_are_asked_for_at_a_time() -> None:
    """Every other frame is lost; the rest is asked for when those have come."""
    link = stream()
    for number in range(2, 400, 2):
        link.take(number, frames(number, number), 1, 0)

    assert len(link.wanted(0)) == PATIENCE.holes


def test_publications_are_kept_within_bounds() -> None:
    """By age and by size; below the floor nothing can be had."""
    kept = Kept()
    for number in range(1, 6):
        kept.add(number * 2 - 1, number * 2, b"%d" % number * 10, number * 100)

    assert kept.find(4, 7) == [b"2" * 10, b"3" * 10, b"4" * 10]
    assert kept.find(9, OPEN) == [b"5" * 10]
    kept.expire(200)
    assert (kept.floor, kept.bytes, len(kept)) == (3, 40, 4)
    kept.trim(25)
    assert (kept.floor, kept.bytes) == (7, 20)
    kept.clear(20)
    assert (kept.floor, kept.bytes, kept.find(1, OPEN)) == (20, 0, [])
