"""`deploy/coturn/`, started as it is on a server (with other ports): what a stranger with credentials can do with it."""

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from base.ids import CallId
from jobs.ports import TurnUnavailable
from minuet.embedded.server import free_port
from storage.coturn import CoturnAdmin
from tests.fixtures.tools import find_tool
from tests.fixtures.turn import client_with
from tests.fixtures.turn_client import SOFTWARE, TurnClient, TurnRefused

START = Path(__file__).resolve().parents[3] / "deploy" / "coturn" / "start.sh"
SECRET, PASSWORD = "shared-by-hub-and-coturn", "of-the-admin-interface"
# On a machine that has much else to do.
START_S = 60.0
CALL = CallId("0190a0b0-0000-7000-8000-00000000ca11")

# A public address that this machine does not have, and the loopback one behind it: nothing leaves the machine.
PUBLIC, PRIVATE = "8.8.4.4", "127.0.0.1"
DENIED = [
    "0.0.0.0",  # noqa: S104 - asked for as a peer
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.53",
    "169.254.169.254",
    "172.17.0.1",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
]
DENIED_V6 = [
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::1",
]


@dataclass(frozen=True)
class Hardened:
    process: subprocess.Popen[bytes]
    port: int
    admin_port: int
    relay_ports: range
    folder: Path
    clients: list[TurnClient] = field(default_factory=list)

    def client(self, seat: str = "a", **options: Any) -> TurnClient:
        client = client_with(**{"secret": SECRET, "port": self.port, "seat": seat, **options})
        self.clients.append(client)
        return client

    def close(self) -> None:
        """Ends all that its clients hold."""
        asyncio.run(self.admin.end_allocations([CALL]))
        for client in self.clients:
            client.close()
        self.clients.clear()

    @property
    def admin(self) -> CoturnAdmin:
        return CoturnAdmin("127.0.0.1", self.admin_port, PASSWORD)


@contextmanager
def started(folder: Path, **changes: str) -> Iterator[Hardened]:
    """coturn by start.sh, once its admin interface answers."""
    find_tool("turnserver")
    port, admin_port, first = free_port(), free_port(), 15_000 + os.getpid() % 10_000
    settings = {
        "MINUET_TURN_SECRET": SECRET,
        "MINUET_TURN_ADMIN_PASSWORD": PASSWORD,
        "MINUET_TURN_RELAY_PORTS": f"{first}-{first + 99}",
        "TURN_PUBLIC_ADDRESS": PUBLIC,
        "TURN_PRIVATE_ADDRESS": PRIVATE,
        "TURN_PORT": str(port),
        "TURN_ADMIN_PORT": str(admin_port),
        "TURN_RUN_DIR": str(folder),
        **changes,
    }
    process = run(settings)
    try:
        wait_for(CoturnAdmin("127.0.0.1", admin_port, PASSWORD), process)
        server = Hardened(process, port, admin_port, range(first, first + 100), folder)
        yield server
        server.close()
    finally:
        process.terminate()
        process.communicate(timeout=START_S)


def run(settings: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [START],
        env={"PATH": os.environ["PATH"], **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def wait_for(admin: CoturnAdmin, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            return asyncio.run(admin.ping())
        except TurnUnavailable:
            assert process.poll() is None, process.communicate()[0].decode()
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.fixture(scope="module")
def lasting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hardened]:
    with started(tmp_path_factory.mktemp("hardened")) as server:
        yield server


def own_address() -> str:
    """An address of this machine that is not the loopback one. Nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address: str = probe.getsockname()[0]
    return address


@pytest.fixture
def hardened(lasting_server: Hardened) -> Iterator[Hardened]:
    """As if it had just been started: no client holds anything."""
    yield lasting_server
    lasting_server.close()


def refused(client: TurnClient, peer: str) -> int | None:
    """The code with which a peer is refused."""
    try:
        client.permit(peer)
    except TurnRefused as refusal:
        return refusal.code
    return None


def test_two_with_credentials_of_a_call_reach_each_other(tmp_path: Path) -> None:
    """From relay to relay of one server that stands behind a public address; each sees the other's relay, in the range
    and at the address that the hubs know, and nothing else. (coturn has loopback for no peer, whatever is allowed.)"""
    own = own_address()
    with started(tmp_path, TURN_PRIVATE_ADDRESS=own) as server:
        assert_they_talk(server, own)


def assert_they_talk(server: Hardened, host: str) -> None:
    her, him = server.client("a", host=host), server.client("b", host=host)
    hers, his = her.allocate(), him.allocate()
    her.permit(*his)
    him.permit(*hers)
    her.send(his, b"hello")
    seen_from, heard = him.receive()

    assert (hers[0], his[0]) == (PUBLIC, PUBLIC)
    assert {hers[1], his[1]} <= set(server.relay_ports)
    assert heard == b"hello"
    assert seen_from == hers


def test_a_peer_anywhere_on_the_internet_is_allowed(hardened: Hardened) -> None:
    """Where only one of the two relays, the other's address is public: the list above must not refuse everything."""
    client = hardened.client()
    client.allocate()

    assert refused(client, "93.184.216.34") is None


def test_no_address_of_an_inner_network_is_a_peer(hardened: Hardened) -> None:
    """Else a stranger could reach what only this server can: its neighbours, its cloud's metadata, itself."""
    client = hardened.client()
    client.allocate()

    assert {peer: refused(client, peer) for peer in DENIED} == dict.fromkeys(DENIED, 403)


def test_no_inner_ipv6_address_is_a_peer(tmp_path: Path) -> None:
    """Nor IPv4 in the clothes of IPv6."""
    with started(tmp_path, TURN_PUBLIC_ADDRESS="::1", TURN_PRIVATE_ADDRESS="::1") as server:
        client = server.client(host="::1")
        client.allocate(ipv6=True)

        # ::1 is the server's own here.
        wanted = [peer for peer in DENIED_V6 if peer != "::1"]
        assert {peer: refused(client, peer) for peer in wanted} == dict.fromkeys(wanted, 403)
        assert refused(client, "2606:2800:220:1::1") is None


@pytest.mark.parametrize(
    ("secret", "for_s"), [("of-somebody-else", 60), (SECRET, -1)], ids=["forged", "expired"]
)
def test_credentials_that_no_hub_made_or_that_expired_are_refused(
    hardened: Hardened, secret: str, for_s: int
) -> None:
    """401, and nothing is allocated."""
    with pytest.raises(TurnRefused) as refusal:
        hardened.client(secret=secret, for_s=for_s).allocate()
    assert refusal.value.code == 401


def test_one_credential_makes_ten_allocations_and_no_more(hardened: Hardened) -> None:
    """Enough for a browser with several networks, too little to sell on."""
    clients = [hardened.client() for _ in range(11)]
    for client in clients:
        client.username, client.password = clients[0].username, clients[0].password
    for client in clients[:10]:
        client.allocate()
    with pytest.raises(TurnRefused) as refusal:
        clients[10].allocate()

    assert refusal.value.code == 486


def test_all_together_have_as_many_allocations_as_there_are_ports(tmp_path: Path) -> None:
    """The next is refused at once, and told why."""
    first = 15_000 + os.getpid() % 10_000
    with started(tmp_path, MINUET_TURN_RELAY_PORTS=f"{first}-{first + 3}") as server:
        for _ in range(4):
            server.client().allocate()
        with pytest.raises(TurnRefused) as refusal:
            server.client().allocate()

    assert refusal.value.code == 486


def test_its_listing_is_read_whole(hardened: Hardened) -> None:
    """With all the lines that these limits add to it, and with a peer: nothing is taken for a client's text."""
    client = hardened.client()
    client.allocate()
    client.permit("93.184.216.34")
    listing = asyncio.run(hardened.admin.sessions(CALL))

    assert listing.whole
    assert len(listing.session_ids) == 1


def test_it_tells_nothing_of_itself(hardened: Hardened) -> None:
    """Neither name nor version."""
    client = hardened.client()
    client.allocate()

    assert SOFTWARE not in client.attributes


def test_no_secret_and_no_clients_address_shows(hardened: Hardened) -> None:
    """Not among the arguments, not to other users, and the log goes nowhere unless it is asked for."""
    arguments = Path(f"/proc/{hardened.process.pid}/cmdline").read_bytes().decode()
    file = hardened.folder / "turnserver.conf"

    assert SECRET not in arguments
    assert PASSWORD not in arguments
    assert file.stat().st_mode & 0o077 == 0
    assert "log-file=/dev/null" in file.read_text().splitlines()


@pytest.mark.parametrize(
    "wrong",
    [
        {"MINUET_TURN_SECRET": ""},
        {"MINUET_TURN_SECRET": "short"},
        {"MINUET_TURN_SECRET": "long enough\nno-auth"},
        {"MINUET_TURN_ADMIN_PASSWORD": ""},
        {"TURN_PUBLIC_ADDRESS": ""},
        {"TURN_CERT": "/cert.pem"},
    ],
    ids=repr,
)
def test_what_is_missing_or_smuggled_in_keeps_it_from_starting(tmp_path: Path, wrong: dict[str, str]) -> None:
    """An open relay is worse than none."""
    settings = {
        "MINUET_TURN_SECRET": SECRET,
        "MINUET_TURN_ADMIN_PASSWORD": PASSWORD,
        "TURN_PUBLIC_ADDRESS": PUBLIC,
        "TURN_PRIVATE_ADDRESS": PRIVATE,
        "TURN_RUN_DIR": str(tmp_path),
    }
    process = run({**settings, **wrong})
    said = process.communicate(timeout=START_S)[0].decode()

    assert process.returncode != 0
    assert said
    assert SECRET not in said
