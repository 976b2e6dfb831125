"""The listening sockets of a port that several workers serve: one for each, opened before any of them starts.

The supervisor keeps them all, so the kernel goes on queueing connections for a worker that is dead or being replaced,
and whoever comes next finds them. Nothing listens before its first worker serves.
"""

import socket
import sys

_SPREADS = sys.platform == "linux"
"""Whether the kernel spreads connections over the sockets that share a port; elsewhere the last one gets them all."""


def open_doors(host: str, port: int, count: int) -> list[socket.socket]:
    """Binds `count` sockets to one address; port 0 takes a free one. None of them listens yet.

    Raises: OSError where the port is taken, also by another supervisor.
    """
    if port and _SPREADS:
        # Sockets that share a port would also share it with a stranger's of the same user, silently.
        _bind(host, port, shared=False).close()
    doors = [_bind(host, port, shared=_SPREADS)]
    for _ in range(count - 1):
        doors.append(_bind(host, doors[0].getsockname()[1], shared=True) if _SPREADS else doors[0].dup())
    return doors


def _bind(host: str, port: int, *, shared: bool) -> socket.socket:
    door = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if door.family == socket.AF_INET6:
            door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        door.bind((host, port))
        door.setblocking(False)
    except OSError:
        door.close()
        raise
    return door
