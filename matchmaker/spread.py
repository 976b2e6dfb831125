"""Which of several matchmakers serves which pool.

Everybody who knows the same members comes to the same answer, without asking. Each member serves as many pools as any
other, but for one, and few pools move when a member comes or goes. Pure.
"""

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b


def spread(pools: Iterable[str], members: Iterable[str]) -> dict[str, str]:
    """The member for each pool; nobody for none, where there are no members.

    Highest random weight, with bounded loads: Thaler and Ravishankar, "Using name-based mappings to increase hit rates"
    (IEEE/ACM ToN, 1998); Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads" (SODA 2018).
    """
    wanted, known = sorted(set(pools)), sorted(set(members))
    if not known:
        return {}
    at_most = -(-len(wanted) // len(known))
    loads: Counter[str] = Counter()
    found = {}
    for pool in wanted:
        free = [member for member in known if loads[member] < at_most]
        found[pool] = max(free, key=lambda member: _weight(pool, member))
        loads[found[pool]] += 1
    return found


def _weight(pool: str, member: str) -> bytes:
    return blake2b(f"{pool} {member}".encode(), digest_size=8).digest()
