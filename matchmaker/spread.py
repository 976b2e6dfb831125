"""Which of several matchmakers serves which pool.

Everybody who knows who stands for which pool comes to the same answer, without asking. Where all stand for all, each
serves as many pools as any other, but for one; few pools move when a member comes or goes. Pure.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from hashlib import blake2b


def spread(standing: Mapping[str, Collection[str]]) -> dict[str, str]:
    """The member for each pool, of those who stand for it; nobody for a pool for which nobody does.

    Highest random weight, with bounded loads: Thaler and Ravishankar, "Using name-based mappings to increase hit rates"
    (IEEE/ACM ToN, 1998); Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads" (SODA 2018).
    """
    wanted = [pool for pool, members in standing.items() if members]
    known = {member for members in standing.values() for member in members}
    loads: Counter[str] = Counter()
    found = {}
    # Those with the fewest to choose from first: others can go elsewhere.
    for pool in sorted(wanted, key=lambda pool: (len(set(standing[pool])), pool)):
        at_most = max(-(-len(wanted) // len(known)), 1 + min(loads[member] for member in standing[pool]))
        free = [member for member in standing[pool] if loads[member] < at_most]
        found[pool] = max(free, key=lambda member: _weight(pool, member))
        loads[found[pool]] += 1
    return found


def _weight(pool: str, member: str) -> bytes:
    return blake2b(f"{pool} {member}".encode(), digest_size=8).digest()
