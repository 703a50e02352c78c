"""What is remembered of what can be made again, bounded in bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by key, the least recently used forgotten beyond so many bytes by a measure; the last is always kept."""

    def __init__(self, most: int, size: Callable[[V], int]) -> None:
        self.bytes = 0
        """What is held, by the measure."""
        self._most, self._measure = most, size
        self._lock = threading.Lock()
        self._held: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value under a key, made if need be."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key][0]
        made = make()
        size = self._measure(made)
        with self._lock:
            if key not in self._held:
                self._held[key] = made, size
                self.bytes += size
                while self.bytes > self._most and len(self._held) > 1:
                    self.bytes -= self._held.popitem(last=False)[1][1]
        return made
