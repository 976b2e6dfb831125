"""Who is told of a message that was kept."""

from collections.abc import Collection
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from base.clock import ManualClock
from base.ids import ConnectionId, DeviceId, NodeId, SessionId, UserId
from chat.metrics import ChatMetrics
from chat.model import Draft, Message, Sent
from chat.service import Chat
from presence.sessions import SessionRow
from signaling.courier import Courier
from signaling.dispatch.chat import ChatCommands
from signaling.hub import Hub
from signaling.metrics import SessionMetrics
from signaling.router import Router
from tests.unit.chat.greeted import greeting
from tests.unit.signaling.hub.live_scene import Scene

HERE, CONNECTION = NodeId("here"), ConnectionId("01890000-0000-7000-8000-000000000001")
SENDER, READER = UserId("sender"), UserId("user")


class Town:
    """This node with one session of the reader, stores as the test says, and no other node."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.apart: set[UserId] = set()
        self.block_while_keeping = False
        self.scene = Scene()
        self.scene.live.greet(greeting(), None)
        self.scene.wire.written.clear()
        hub, metrics = Hub(ManualClock(), SessionMetrics(registry)), ChatMetrics(registry)
        hub.add(self.scene.live)
        stores: Any = self
        chat = Chat(stores, stores, stores, metrics, lambda: "id", lambda: 1)
        courier = Courier(stores, hub, Router(HERE, hub, stores), metrics)
        self.commands = ChatCommands(chat, courier, stores, stores)

    async def send(self, draft: Draft, *, apart: Collection[UserId]) -> Sent:
        if self.block_while_keeping:
            self.apart.add(READER)
        kept = Message(
            draft.connection_id, draft.id, 1, draft.sender_id, draft.client_id, draft.body, draft.sent_at
        )
        return Sent(kept, READER, 1)

    async def blocks(self, user_id: UserId) -> set[UserId]:
        return set(self.apart)

    async def sessions(self, user_id: UserId) -> list[SessionRow]:
        return [SessionRow(DeviceId("device"), HERE, SessionId("session"), 1)] if user_id == READER else []

    def heard(self) -> list[str]:
        return [message["type"] for message in self.scene.wire.messages()]


@pytest.mark.parametrize("is_blocked", [False, True], ids=["nothing between", "a block between"])
async def test_a_block_that_comes_while_a_message_is_kept_is_the_last_word(is_blocked: bool) -> None:
    """The message is kept and answered; whoever blocked does not hear of it any more."""
    town = Town()
    town.block_while_keeping = is_blocked
    message = await town.commands.send(SENDER, CONNECTION, "one", "hello")

    assert message.number == 1
    assert town.heard() == ([] if is_blocked else ["chat.message"])
