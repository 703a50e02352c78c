"""Seeds from seeds, by hash: never by arrival order, never from global random state."""

import hashlib
from operator import index


def derive(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part and on nothing else; equal in every process.

    Any integer counts as the int it is equal to (NumPy's print otherwise in other versions); so does any string.
    """
    plain = tuple(str(part) if isinstance(part, str) else int(index(part)) for part in parts)
    digest = hashlib.blake2b(repr(plain).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def episode_seed(base: int, slot: int, episode: int) -> int:
    """The seed of the `episode`-th episode of a vector environment's `slot` (0 for a single environment)."""
    return derive("episode", base, slot, episode)
