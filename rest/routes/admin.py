"""`/api/v1/admin`: what operators see."""

from matchmaker.report import QueuesReport
from presence.stats import PresenceReport
from rest.endpoints import API, Endpoint, Exchange, Reply
from rest.policies import Policy
from rest.services import RestServices


async def presence(services: RestServices, exchange: Exchange) -> Reply:
    return Reply(await services.watch.presence())


async def queues(services: RestServices, exchange: Exchange) -> Reply:
    return Reply(await services.watch.queues())


ENDPOINTS = (
    Endpoint(
        method="GET",
        path=f"{API}/admin/presence",
        name="adminPresence",
        summary="Live users, queues, calls and nodes, in numbers",
        policy=Policy.MODERATOR,
        handler=presence,
        returns=PresenceReport,
    ),
    Endpoint(
        method="GET",
        path=f"{API}/admin/queues",
        name="adminQueues",
        summary="Each queue's depth, waits and speed by side, and why people do not fit",
        policy=Policy.ADMIN,
        handler=queues,
        returns=QueuesReport,
    ),
)
