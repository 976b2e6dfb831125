"""The shared connection: every answer reaches whoever asked, whatever happens to those before and behind it."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from minuet.embedded import EmbeddedValkey
from storage.redis import multiplexed
from storage.redis.client import connect
from storage.redis.multiplexed import MultiplexedRedis
from tests.contract.calls.lossy_proxy import lossy_proxy
from tests.fixtures.waiting import until


@pytest.fixture
def redis(one_redis: Redis) -> Redis:
    return one_redis


async def _connections_of(redis: Redis) -> int:
    return int((await redis.info("stats"))["total_connections_received"])


async def test_everybody_gets_the_answer_to_their_own_question(redis: Redis) -> None:
    """A thousand at once, of kinds that answer in different shapes."""
    await redis.mset({f"k{n}": n for n in range(1000)})

    values = await asyncio.gather(
        *(redis.get(f"k{n}") if n % 2 else redis.hgetall(f"hash{n}") for n in range(1000))
    )

    assert values[1::2] == [str(n).encode() for n in range(1, 1000, 2)]
    assert values[::2] == [{}] * 500


async def test_many_commands_take_one_connection(redis: Redis) -> None:
    """Where a pool would open as many as there are commands under way."""
    before = await _connections_of(redis)

    await asyncio.gather(*(redis.incr("count") for _ in range(500)))

    assert await _connections_of(redis) == before
    assert await redis.get("count") == b"500"


async def until_blocked(redis: Redis, command: str, count: int = 1) -> None:
    """Returns when so many clients wait at the server with a command that blocks."""

    async def are_blocked() -> bool:
        waiting = [
            each for each in await redis.client_list() if each["cmd"] == command and "b" in each["flags"]
        ]
        return len(waiting) >= count

    await until(are_blocked)


async def test_a_refused_command_fails_alone(redis: Redis) -> None:
    """Its error is an answer; those around it get theirs."""
    await redis.set("text", "no number")

    before, refused, after = await asyncio.gather(
        redis.incr("a"), redis.incr("text"), redis.incr("b"), return_exceptions=True
    )

    assert (before, after) == (1, 1)
    assert isinstance(refused, ResponseError)


async def test_a_lost_script_is_loaded_again(redis: Redis) -> None:
    """Scripts live in the server's memory only; its restart must not be noticed."""
    script = redis.register_script("return ARGV[1]")
    await script(args=["once"])
    await redis.script_flush()

    with pytest.raises(NoScriptError):
        await redis.evalsha(script.sha, 0, "x")
    assert await script(args=["again"]) == b"again"


async def test_a_blocking_read_holds_nobody_up(redis: Redis) -> None:
    """It waits on a connection of its own."""
    reading = asyncio.ensure_future(redis.xread({"stream": "$"}, block=15_000))
    await until_blocked(redis, "xread")
    async with asyncio.timeout(10):
        for _ in range(20):
            await redis.ping()
            await asyncio.sleep(0.01)

    assert not reading.done()
    await redis.xadd("stream", {"what": "it waited for"})
    assert await reading


async def test_a_cancelled_command_leaves_the_answers_of_the_others_alone(redis: Redis) -> None:
    """Its answer comes when nobody waits for it, and is thrown away."""
    for number in range(50):
        await redis.set("n", number)
        tasks = [asyncio.ensure_future(redis.get("n")), asyncio.ensure_future(redis.incr("total"))]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.wait(tasks)

        assert tasks[1].result() == number + 1


async def test_a_cut_connection_is_not_noticed(redis: Redis) -> None:
    """One immediate second try, on a fresh connection."""
    for _ in range(5):
        assert await redis.client_kill_filter(_type="normal", skipme=True) >= 1
        assert await asyncio.gather(*(redis.echo(str(n)) for n in range(20))) == [
            str(n).encode() for n in range(20)
        ]


async def test_commands_beyond_the_bound_are_refused_and_the_others_answered(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting costs memory: there is an end to it, and a typed error."""
    monkeypatch.setattr(multiplexed, "MAX_PENDING", 10)
    await redis.ping()

    answers = await asyncio.gather(*(redis.ping() for _ in range(20)), return_exceptions=True)

    assert answers.count(True) == 10
    assert sum(isinstance(answer, RedisConnectionError) for answer in answers) == 10


async def test_a_server_that_went_and_came_back_is_found_again(private_valkey: EmbeddedValkey) -> None:
    """While it is away commands fail with the library's errors; afterwards nobody has to reconnect by hand."""
    redis = connect(private_valkey.url, timeout_s=0.5)
    await redis.set("kept", "yes")
    waiting: list[asyncio.Future[bool]] = [asyncio.ensure_future(redis.ping()) for _ in range(5)]
    await private_valkey.kill()

    outcomes = await asyncio.gather(*waiting, redis.ping(), return_exceptions=True)
    assert isinstance(outcomes[-1], RedisConnectionError)
    await private_valkey.start()

    assert await redis.ping()
    await redis.aclose()


async def test_a_silent_server_is_given_up_in_bounded_time(private_valkey: EmbeddedValkey) -> None:
    """Stopped by a signal, it neither answers nor closes; everybody who waits is told, and later ones are served."""
    redis = connect(private_valkey.url, timeout_s=0.4)
    await redis.ping()
    private_valkey.pause()
    try:
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*(redis.ping() for _ in range(50)), return_exceptions=True)
    finally:
        private_valkey.resume()

    assert all(isinstance(outcome, Exception) for outcome in outcomes)
    assert await redis.ping()
    await redis.aclose()


async def test_a_link_that_is_lost_before_it_is_asked_is_known_at_once(
    private_valkey: EmbeddedValkey,
) -> None:
    """Not after the whole time that a silent server is given; the second try meets a fresh link."""
    redis = connect(private_valkey.url, timeout_s=300)
    assert isinstance(redis, MultiplexedRedis)
    # The link opens in a task of its own: between its end and the one who asked for it, the server may hang up.
    opening = redis._open

    async def open_and_lose() -> Any:
        link = await opening()
        link.connection_lost(None)
        redis._open = opening  # type: ignore[method-assign]  # waits for the test
        return link

    redis._open = open_and_lose  # type: ignore[method-assign]  # loses what it has opened
    async with asyncio.timeout(30):
        assert await redis.ping()
    await redis.aclose()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-made one for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
    )
    return path


async def test_commands_share_a_connection_under_tls_too(redis_url: str, certificate: Path) -> None:
    """Answers of any length arrive whole, and a lost one is asked for again."""
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate)
    async with lossy_proxy(redis_url, certificate=served) as proxy:
        redis = connect(f"{proxy.url}?ssl_ca_certs={certificate}")
        await asyncio.gather(*(redis.set(f"k{n}", str(n) * 70_000) for n in range(5)))
        values = await asyncio.gather(*(redis.get(f"k{n}") for n in range(5)))
        proxy.lose_next = True
        again = await redis.get("k1")
        await redis.aclose()

    assert proxy.lost == 1
    assert values == [str(n).encode() * 70_000 for n in range(5)]
    assert again == values[1]


async def test_blocking_reads_hold_up_nobody_and_share_no_connection(redis: Redis) -> None:
    """Two wait at once, others are answered meanwhile; the connections are used again, and none is left by who gives up."""
    before = await redis.info("clients")
    waiting = [asyncio.create_task(redis.blpop([f"list-{n}"], timeout=30)) for n in range(2)]
    await until_blocked(redis, "blpop", 2)
    assert await redis.ping()
    for number in range(2):
        await redis.rpush(f"list-{number}", "done")
    first = await asyncio.gather(*waiting)
    again = [await redis.xread({"stream": "0"}, block=1) for _ in range(5)]
    given_up = asyncio.create_task(redis.blpop(["list-0"], timeout=30))
    await until_blocked(redis, "blpop")
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    await redis.rpush("list-0", "mine")

    assert [answer[1] for answer in first] == [b"done", b"done"]
    assert not any(again)
    assert await redis.blpop(["list-0"], timeout=5) == (b"list-0", b"mine")
    after = await redis.info("clients")
    assert after["connected_clients"] - before["connected_clients"] <= 2


async def test_a_blocking_read_whose_connection_is_cut_is_asked_once_more(redis: Redis) -> None:
    """As every other command."""
    reading = asyncio.create_task(redis.blpop(["list"], timeout=30))
    await until_blocked(redis, "blpop")
    for client in await redis.client_list():
        if client["cmd"] == "blpop":
            await redis.client_kill_filter(_id=client["id"])
    await until_blocked(redis, "blpop")
    await redis.rpush("list", "late")

    assert await reading == (b"list", b"late")
