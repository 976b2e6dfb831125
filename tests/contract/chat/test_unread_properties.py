"""Counts of unread messages against a plain model: whatever is sent, sent again and read, in any order."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from base.ids import UserId
from storage.postgres.chat import PostgresMessages
from storage.postgres.connections import PostgresConnections
from tests.contract.chat.conftest import AddCouple, Couple, Say

SIDES = st.sampled_from(["her", "him"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), SIDES, st.integers(0, 5)),
        st.tuples(st.just("read"), SIDES, st.integers(0, 12)),
    ),
    max_size=16,
)


class Plain:
    """What two people see, kept the simplest way."""

    def __init__(self) -> None:
        self.said: list[tuple[str, int]] = []
        self.mark = {"her": 0, "him": 0}

    def send(self, side: str, client_id: int) -> None:
        if (side, client_id) not in self.said:
            self.said.append((side, client_id))

    def read(self, side: str, up_to: int) -> None:
        self.mark[side] = max(self.mark[side], min(up_to, len(self.said)))

    def unread(self, side: str) -> int:
        return sum(by != side for by, _ in self.said[self.mark[side] :])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_unread_counts_are_what_a_plain_model_counts(
    steps: list[tuple[str, str, int]],
    messages: PostgresMessages,
    connections: PostgresConnections,
    add_couple: AddCouple,
    say: Say,
) -> None:
    """After every step, for both: in the answer, in the snapshot, in the list, and counted from the messages."""
    couple, plain = await add_couple(), Plain()
    ids: dict[str, UserId] = {"her": couple.her, "him": couple.him}
    for what, side, number in steps:
        other = "him" if side == "her" else "her"
        if what == "send":
            known = (side, number) in plain.said
            plain.send(side, number)
            sent = await say(couple, ids[side], "x", str(number))
            assert sent.unread == (None if known else plain.unread(other))
        else:
            plain.read(side, number)
            mark = await messages.read(couple.connection_id, ids[side], number)
            assert (mark.up_to, mark.unread) == (plain.mark[side], plain.unread(side))

        await check(couple, ids, plain, messages, connections)


async def check(
    couple: Couple,
    ids: dict[str, UserId],
    plain: Plain,
    messages: PostgresMessages,
    connections: PostgresConnections,
) -> None:
    kept = await messages.messages(couple.connection_id, couple.her, after=0, limit=100)
    assert [one.number for one in kept] == list(range(1, len(plain.said) + 1))
    for side, user_id in ids.items():
        count = plain.unread(side)
        (seen,) = await connections.acquaintances(user_id, before=None, limit=5, now_ms=0)
        assert seen.unread == count
        assert seen.read_up_to == plain.mark[side]
        assert seen.peer_read_up_to == plain.mark["him" if side == "her" else "her"]
        assert (await messages.unread([user_id], limit=5)).get(user_id, {}) == (
            {couple.connection_id: count} if count else {}
        )
        by_hand = sum(one.sender_id != user_id and one.number > plain.mark[side] for one in kept)
        assert by_hand == count
