"""Every Redis key, in one place.

Decides names and hash slots: the part in braces is the Cluster hash tag, so that every script touches one slot
only. A prefix setting keeps deployments (and tests) apart on one server.

Layout of `{u:<user>}:user`, a hash with the last word about who is in what:

    session:<device>    `<node> <session> <generation>` of the session of that device
    away:<device>       that session, if its user said on the device that they are away
    activity            absent (idle), `queued:<pool>:<ticket>` or `call:<call>`
    device              the device that the activity belongs to
    queued_at           Unix ms: the seniority of the ticket that the activity names, or that led to its call
    declines            `<count> <until> call:<call>`: how often the user declined in a row, until when (Unix ms) that
                        counts, and the call declined last
    may_queue_at        Unix ms before which the user may not queue, after declining repeatedly
    returned            `call:<call>` from which the ticket went back to the queue; it cannot be entered again
    revoked_before      Unix ms; sessions of tokens issued before it are refused
    revoked:<family>    a sign-in that was taken back, until that Unix ms
    blocks_known        set once the user's blocks stand in `:blocks`, whatever Redis lost before
"""

from dataclasses import dataclass

CALL_PARTITIONS = 256


@dataclass(frozen=True, slots=True)
class Keys:
    """Builds keys under one prefix, e.g. `Keys("minuet:")`."""

    prefix: str = "minuet:"

    def user(self, user_id: str) -> str:
        return f"{self.prefix}{{u:{user_id}}}:user"

    def blocks(self, user_id: str) -> str:
        """Set of user ids; a block stands in both people's sets."""
        return f"{self.prefix}{{u:{user_id}}}:blocks"

    def recent(self, user_id: str) -> str:
        """Sorted set: user id of a recent partner, scored by the Unix ms until which they do not meet again."""
        return f"{self.prefix}{{u:{user_id}}}:recent"

    def reply(self, user_id: str, digest: str) -> str:
        """The answer that an idempotency key of a user has, by the key's digest."""
        return f"{self.prefix}{{u:{user_id}}}:reply:{digest}"

    def node_lease(self, node_id: str) -> str:
        return f"{self.prefix}{{n:{node_id}}}:lease"

    def node_sessions(self, node_id: str) -> str:
        """Set of `<user> <session> <device>`."""
        return f"{self.prefix}{{n:{node_id}}}:sessions"

    def node_stats(self, node_id: str) -> str:
        return f"{self.prefix}{{n:{node_id}}}:stats"

    def node_inbox(self, node_id: str) -> str:
        """The one channel of a node."""
        return f"{self.prefix}{{n:{node_id}}}:inbox"

    def nodes(self) -> str:
        """Sorted set: node id, scored by the Unix ms of its last renewal."""
        return f"{self.prefix}{{nodes}}:all"

    def matchmakers(self) -> str:
        """Sorted set: `<matchmaker> <pool>`, scored by the Unix ms until which the one is known to stand for the other."""
        return f"{self.prefix}{{matchmakers}}:all"

    def tickets(self, pool: str) -> str:
        return f"{self.prefix}{{q:{pool}}}:tickets"

    def arrivals(self, pool: str) -> str:
        return f"{self.prefix}{{q:{pool}}}:arrivals"

    def outlook(self, pool: str) -> str:
        """What the pool's owner says of it: depths, waits, reasons; for seconds only."""
        return f"{self.prefix}{{q:{pool}}}:outlook"

    def matches(self, pool: str) -> str:
        return f"{self.prefix}{{q:{pool}}}:matches"

    def pool_owner(self, pool: str) -> str:
        return f"{self.prefix}{{q:{pool}}}:owner"

    def pool_counts(self, pool: str) -> str:
        """Hash: `events` and `token` (counters), `<side>:<state>` (how many tickets stand where)."""
        return f"{self.prefix}{{q:{pool}}}:counts"

    def call(self, call_id: str) -> str:
        return f"{self.prefix}{{k:{call_partition(call_id)}}}:call:{call_id}"

    def call_deadlines(self, partition: int) -> str:
        """Sorted set: call id, scored by the Unix ms of its earliest timer."""
        return f"{self.prefix}{{k:{partition}}}:deadlines"

    def call_states(self, partition: int) -> str:
        """Hash: how many calls of the partition stand in each state but `ended`."""
        return f"{self.prefix}{{k:{partition}}}:states"

    def calls_ended(self, partition: int) -> str:
        """Sorted set: ended calls that wait for the recorder, scored by the Unix ms of their end."""
        return f"{self.prefix}{{k:{partition}}}:ended"

    def epoch(self, partition: int) -> str:
        """A random word: gone, or another, where this part of the store lost its data."""
        return f"{self.prefix}{{k:{partition}}}:epoch"

    def restoring(self, partition: int) -> str:
        """Set for as long as nodes are asked to hold back, because this part of the store lost something."""
        return f"{self.prefix}{{k:{partition}}}:restoring"

    def calls_untold(self, partition: int) -> str:
        """Sorted set: `<call> <version> <committed at> <node>` of changes that a node has not acknowledged, scored by the
        Unix ms from which they are told again."""
        return f"{self.prefix}{{k:{partition}}}:untold"

    def calls_to_visit(self, partition: int) -> str:
        """Sorted set: `<call> <due>` of calls whose media is over, scored by the Unix ms of the next try to end what
        they hold at the TURN servers."""
        return f"{self.prefix}{{k:{partition}}}:visits"

    def safety_pending(self) -> str:
        """Stream of blocks and reports that wait for the recorder."""
        return f"{self.prefix}{{safety}}:pending"

    def revocations(self) -> str:
        """Stream of bans and sign-outs, read by every node with a cursor of its own."""
        return f"{self.prefix}{{revocations}}:log"

    def rate_limit(self, scope: str, subject: str) -> str:
        return f"{self.prefix}{{r:{scope}:{subject}}}:bucket"


def call_partition(call_id: str) -> int:
    """The partition of a call: the last byte of its id."""
    return int(call_id[-2:], 16)
