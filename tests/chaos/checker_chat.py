"""What staying in touch promises: messages neither lost, nor doubled, nor reordered; and after a block nobody meets again."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from tests.chaos.checker_story import Mode, Story, Violation, lines
from tests.chaos.history import Entry
from tests.chaos.readings import KeptMessage, Readings

_TOLD_MS: Final = 5_000.0
_BLOCK_MS: Final = 500.0


def connections(story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    """A connection that was told of is kept, between the two."""
    for who, entries in story.accepted.items():
        for entry in entries:
            if entry.kind != "heard" or entry.type != "connection.made":
                continue
            pair = readings.connections.get(entry.body["connection_id"])
            excused = mode.lost(entry.at_ms - 5000, entry.at_ms + 5000)
            if not excused and (pair is None or readings.users[who] not in pair):
                yield Violation(
                    "connections", f"person {who} has a connection that is not kept", lines(entry)
                )


def wishes(story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    """Two stay in touch if whoever decides has wished it, both where both decide; and then they do."""
    blocked = _blocked(story, readings)
    pairs = set(readings.connections.values())
    for call in readings.calls:
        tales = [tale for tale in story.calls().get(call.id, ()) if tale.role]
        wished = {
            tale.role
            for tale in tales
            for ask in tale.asks
            if ask.type == "connect.request" and ask.may_be_done
        }
        asked = [
            ask.sent
            for tale in tales
            for ask in tale.asks
            if ask.type == "connect.request" and ask.may_be_done
        ]
        enough = "controller" in wished or len({entry.who for entry in asked}) == 2
        if call.connected and len(tales) == 2 and not enough:
            yield Violation(
                "connections", f"{call.id} has connected two who had not wished it", lines(*asked)
            )
        if mode.lost(story.local_ms(call.created_at), story.local_ms(call.ended_at) + _TOLD_MS):
            continue
        pair = frozenset(call.users.values())
        if call.connected and pair not in pairs and pair not in blocked:
            yield Violation("connections", f"{call.id} connected two, and they are not", lines(*asked))
        for tale in tales:
            for ask in tale.asks:
                if (
                    ask.type == "connect.request"
                    and ask.done
                    and tale.role == "controller"
                    and not call.connected
                ):
                    what = f"the wish of person {tale.who} in {call.id} was answered, and is gone"
                    yield Violation("connections", what, lines(ask.sent, ask.reply))


def chats(story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    """What was acknowledged is kept once, numbered without gaps, in the order in which each said it."""
    kept: dict[str, list[KeptMessage]] = defaultdict(list)
    for message in readings.messages:
        kept[message.connection].append(message)
    for connection, messages in kept.items():
        if [message.number for message in messages] != list(range(1, len(messages) + 1)):
            yield Violation("chat", f"the numbers of {connection} have gaps: {[m.number for m in messages]}")
    by_name = {
        (message.connection, message.sender, message.client_id): message for message in readings.messages
    }
    if len(by_name) != len(readings.messages):
        yield Violation("chat", "a message is kept twice")
    yield from _said(story, readings, by_name)
    heard = {who: set[str]() for who in range(len(readings.users))}
    for who, seen in heard.items():
        yield from _heard(who, seen, story, readings)
    yield from _missed(heard, story, readings, mode)


def _said(
    story: Story, readings: Readings, by_name: dict[tuple[str, str, str], KeptMessage]
) -> Iterator[Violation]:
    last: dict[tuple[int, str], tuple[int, Entry]] = {}
    for ask in story.asks:
        if ask.type != "chat.send" or not ask.done:
            continue
        assert ask.reply is not None
        body, answer = ask.sent.body, ask.reply.body
        key = (body["connection_id"], readings.users[ask.sent.who], body["client_id"])
        message = by_name.get(key)
        if message is None:
            yield Violation("chat", "a message was acknowledged and is not kept", lines(ask.sent, ask.reply))
            continue
        if (message.id, message.number, message.body) != (answer["id"], answer["number"], body["body"]):
            yield Violation("chat", f"kept otherwise: {message}", lines(ask.sent, ask.reply))
        line = (ask.sent.who, body["connection_id"])
        if line in last and message.number < last[line][0]:
            yield Violation("chat", "said first, kept later", lines(last[line][1], ask.sent, ask.reply))
        last[line] = max(last.get(line, (0, ask.sent)), (message.number, ask.sent), key=lambda pair: pair[0])


def _heard(who: int, heard: set[str], story: Story, readings: Readings) -> Iterator[Violation]:
    """What somebody heard is what is kept, in its order; `heard` collects which messages that were."""
    by_id = {message.id: message for message in readings.messages}
    newest: dict[tuple[str, str], int] = {}
    for entry in story.accepted[who]:
        if entry.kind == "heard" and entry.type == "ok" and "sent_at" in entry.body:
            heard.add(entry.body["id"])  # one's own, which may be told as well
        if entry.kind != "heard" or entry.type != "chat.message":
            continue
        body = entry.body
        message = by_id.get(body["id"])
        if message is None or (message.number, message.body) != (body["number"], body["body"]):
            yield Violation("chat", f"heard, but kept as {message}", lines(entry))
        line = (entry.session, body["connection_id"])
        # The same may come again under its id; what is new comes in order.
        if body["id"] not in heard and body["number"] < newest.get(line, 0):
            yield Violation("chat", f"number {body['number']} after {newest[line]}", lines(entry))
        newest[line] = max(newest.get(line, 0), body["number"])
        heard.add(body["id"])


def _missed(heard: dict[int, set[str]], story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    """What was acknowledged to one while the other was there the whole time has to be heard by the other."""
    whos = {user: who for who, user in enumerate(readings.users)}
    blocked = _blocked(story, readings)
    for ask in story.asks:
        if ask.type != "chat.send" or not ask.done:
            continue
        assert ask.reply is not None
        pair = readings.connections.get(ask.sent.body["connection_id"], frozenset())
        others = [whos[user] for user in pair if whos.get(user) not in (None, ask.sent.who)]
        # What is said again, because nobody answered, was told when it was kept.
        kept_at = ask.reply.body.get("sent_at")
        from_ms = ask.sent.at_ms if kept_at is None else min(ask.sent.at_ms, story.local_ms(kept_at))
        to_ms = ask.reply.at_ms + _TOLD_MS
        if blocked.get(pair, ask.reply.number) < ask.reply.number:
            continue
        for who in others:
            if ask.reply.body["id"] in heard[who] or mode.was_away(from_ms, to_ms):
                continue
            if story.was_attached(who, from_ms, to_ms):
                yield Violation("chat", f"person {who} never heard it", lines(ask.sent, ask.reply))


def _blocked(story: Story, readings: Readings) -> dict[frozenset[str], int]:
    """By pair: the number of the line with which one first blocked the other."""
    pairs = {call.id: frozenset(call.users.values()) for call in readings.calls}
    first: dict[frozenset[str], int] = {}
    for ask in story.asks:
        if ask.type == "safety.block" and ask.sent.call in pairs:
            first.setdefault(pairs[ask.sent.call], ask.sent.number)
    return first


def blocks(story: Story, readings: Readings, mode: Mode) -> Iterator[Violation]:
    """Whom somebody has blocked they do not meet again."""
    users = {call.id: call for call in readings.calls}
    for ask in story.asks:
        if ask.type != "safety.block" or not ask.done or ask.sent.call not in users:
            continue
        assert ask.reply is not None
        pair = frozenset(users[ask.sent.call].users.values())
        since = story.server_ms(ask.reply.at_ms + _BLOCK_MS)
        for call in readings.calls:
            if frozenset(call.users.values()) == pair and call.created_at > since:
                what = f"{call.id} is of two of whom one had blocked the other"
                yield Violation("blocks", what, lines(ask.sent, ask.reply))
        for chat in story.asks:
            if chat.type != "chat.send" or not chat.done or chat.sent.at_ms < ask.reply.at_ms + _BLOCK_MS:
                continue
            if readings.connections.get(chat.sent.body["connection_id"]) == pair:
                what = "a message was taken between two of whom one had blocked the other"
                yield Violation("blocks", what, lines(ask.reply, chat.sent, chat.reply))
