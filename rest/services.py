"""What the routes are given: services, repositories and settings, put together by `wiring`."""

from dataclasses import dataclass, field

from accounts.profiles import Profiles
from accounts.service import Accounts
from accounts.tokens import Authenticator
from base.clock import Clock
from base.ids import IdFactory
from rest.metrics import RestMetrics
from rest.ports import CallCommands, CallIceServers, History, RateLimiter, Replies, Revocations, Watch
from rest.settings import RestSettings
from safety.block_list import BlockList
from signaling.dispatch.chat import ChatCommands
from signaling.dispatch.safety import SafetyCommands
from signaling.feedback import Feedbacks
from signaling.moderation import Moderation


@dataclass(frozen=True, slots=True, kw_only=True)
class RestServices:
    """All that REST leans on. `clock` measures; `ids` makes request ids and tells the time."""

    accounts: Accounts
    profiles: Profiles
    history: History
    calls: CallCommands
    ice: CallIceServers
    feedback: Feedbacks
    moderation: Moderation
    chat: ChatCommands
    safety: SafetyCommands
    block_list: BlockList
    watch: Watch
    authenticator: Authenticator
    revocations: Revocations
    limiter: RateLimiter
    replies: Replies
    clock: Clock
    ids: IdFactory
    metrics: RestMetrics
    settings: RestSettings = field(default_factory=RestSettings)
