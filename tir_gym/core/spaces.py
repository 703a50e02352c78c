"""Spaces for text as it is: any Unicode, checked in constant time."""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import CustomSpaceError
from gymnasium.vector.utils import create_shared_memory

_SAMPLED = "abcdefghijklmnopqrstuvwxyz ABCXYZ0123456789<>/\n.,=*(){}é中"


class Unicode(spaces.Text):
    """Any text of at most `max_length` characters, the empty one included.

    Membership is a length check, whatever the characters. `sample` draws short texts of a mixed alphabet.
    """

    def __init__(self, max_length: int = 1_000_000, *, seed: int | np.random.Generator | None = None) -> None:
        if max_length < 1:
            raise ValueError(f"max_length={max_length} must be at least 1")
        super().__init__(max_length, min_length=0, charset=_SAMPLED, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        """False: text has no array form."""
        return False

    def contains(self, x: Any) -> bool:
        """Whether x is a string of at most `max_length` characters."""
        return isinstance(x, str) and len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A text of at most 64 characters. Raises `ValueError` for a mask: there is none for text."""
        if mask is not None or probability is not None:
            raise ValueError("Unicode.sample takes no mask and no probability")
        length = int(self.np_random.integers(0, min(self.max_length, 64) + 1))
        return "".join(_SAMPLED[i] for i in self.np_random.integers(0, len(_SAMPLED), size=length))

    def to_jsonable(self, sample_n: Any) -> list[str]:
        """Texts are JSON already."""
        return list(sample_n)

    def from_jsonable(self, sample_n: Any) -> list[str]:
        """Texts are JSON already."""
        return list(sample_n)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unicode) and other.max_length == self.max_length

    def __hash__(self) -> int:
        return hash((Unicode, self.max_length))

    def __repr__(self) -> str:
        return f"Unicode({self.max_length})"


@create_shared_memory.register(Unicode)
def _refuse_shared_memory(space: Unicode, n: int = 1, ctx: Any = None) -> Any:
    """Gymnasium's shared memory returns constant text for Text spaces (1.2.2, 1.4.0); fail instead."""
    raise CustomSpaceError("text does not travel through shared memory; pass shared_memory=False to AsyncVectorEnv")
