"""What chat counts, in a registry that is handed in. No label and no value comes from what people say or who they are."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class ChatMetrics:
    """Of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.messages = Counter(
            "minuet_chat_messages_total",
            "Chat messages that were sent: `new`, or `repeated` under a known `client_id`.",
            ["result"],
            registry=registry,
        )
        self.keep_seconds = Histogram(
            "minuet_chat_keep_seconds",
            "Time from a chat message's arrival to its being on disk.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.told = Counter(
            "minuet_chat_told_total",
            "Chat news for a user's devices: told `everywhere` they are, or only `here` because Redis could not say where.",
            ["result"],
            registry=registry,
        )
        self.connections = Counter(
            "minuet_chat_connections_total",
            "Wishes of two to stay in touch: connections `made`, or `pending` until the database is back.",
            ["outcome"],
            registry=registry,
        )
        self.ended = Counter(
            "minuet_chat_connections_ended_total",
            "Connections between two people that were ended: `deleted`, or `blocked`.",
            ["reason"],
            registry=registry,
        )
        self.unchecked = Counter(
            "minuet_chat_blocks_unchecked_total",
            "Times at which Redis could not be asked for blocks, and the database's word was taken.",
            registry=registry,
        )
        self.watched = Gauge(
            "minuet_presence_watched",
            "Connections whose people's presence sessions watch.",
            registry=registry,
        )
        for result in ("new", "repeated"):
            self.messages.labels(result)
        for result in ("everywhere", "here"):
            self.told.labels(result)
        for outcome in ("made", "pending"):
            self.connections.labels(outcome)
        for reason in ("deleted", "blocked"):
            self.ended.labels(reason)
