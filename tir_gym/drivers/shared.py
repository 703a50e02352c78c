"""A vector environment for many threads, and waiting for one together with other things."""

import asyncio
import concurrent.futures
import math
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from gymnasium.error import ClosedEnvironmentError

from tir_gym.drivers.intake import ActionInput
from tir_gym.drivers.vector import Batch, ToolVectorEnv

T = TypeVar("T")


class SharedVectorEnv:
    """A vector environment that any threads send to and receive from, at the same time.

    It lives in a thread of its own, where `make` makes it and every call to it is carried out, one after another: what
    worlds and executors bind to a thread stays there, and nobody who waits for results holds up somebody who sends.
    Each result goes to one receiver; receivers are served in the order in which they ask.

    Example:
        >>> envs = SharedVectorEnv(lambda: tir_gym.make_vec("tir/MathCode-v0", 256))  # doctest: +SKIP
    """

    def __init__(self, make: Callable[[], ToolVectorEnv]) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._changed = asyncio.Event()
        self._receiving = asyncio.Lock()
        self._ending = asyncio.Event()
        born: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live(make, born)), name="vector", daemon=True)
        self._thread.start()
        try:
            self._loop = born.result()
        except BaseException:
            self._thread.join()
            raise

    def do(self, what: Callable[[ToolVectorEnv], T]) -> T:
        """What a function of the environment returns, called in its thread: anything that is not below.

        Raises what it raises, and `gymnasium.error.ClosedEnvironmentError` once the environment is closed.
        """
        return self._call(self._do(what))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As `ToolVectorEnv.reset`; other threads' calls wait for it."""
        return self.do(lambda envs: envs.reset(seed=seed, options=options))

    def send(self, actions: Sequence[ActionInput], env_ids: Sequence[int] | None = None) -> None:
        """As `ToolVectorEnv.send`."""
        self.do(lambda envs: envs.send(actions, env_ids))

    def recv(self, min_ready: int = 1, timeout: float = math.inf) -> Batch:
        """As `ToolVectorEnv.recv`, but where nothing is at a turn it waits for somebody to send.

        Raises `gymnasium.error.ClosedEnvironmentError` when the environment is closed meanwhile.
        """
        if min_ready < 1:
            raise ValueError(f"min_ready={min_ready} must be at least 1")
        return self._call(self._recv(min_ready, time.monotonic() + timeout))

    def close(self) -> None:
        """Close the environment and end its thread; threads that wait in `recv` are told. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    def __enter__(self) -> "SharedVectorEnv":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future: concurrent.futures.Future[T] | None = None
        try:
            with self._lock:
                if self._closed:
                    coroutine.close()
                    raise _closed()
                future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            return future.result()
        except BaseException:
            if future is not None:  # after Ctrl-C, say, nobody would have what it brings
                future.cancel()
            raise

    # --- in the thread of the environment ----------------------------------------------------------------------------
    async def _live(
        self, make: Callable[[], ToolVectorEnv], born: "concurrent.futures.Future[asyncio.AbstractEventLoop]"
    ) -> None:
        try:
            self._envs = make()
        except BaseException as error:
            born.set_exception(error)
            return
        try:
            born.set_result(asyncio.get_running_loop())
            await self._ending.wait()
            self._changed.set()
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
        finally:
            self._envs.close()

    async def _do(self, what: Callable[[ToolVectorEnv], T]) -> T:
        try:
            return what(self._envs)
        finally:
            self._changed.set()

    async def _recv(self, min_ready: int, until: float) -> Batch:
        try:
            async with asyncio.timeout(_left(until)):
                await self._receiving.acquire()
        except TimeoutError:
            return self._envs.recv(min_ready, timeout=0.0)
        try:
            while not self._closed:
                self._changed.clear()
                batch = await receive(self._envs, self._changed, min_ready, until)
                if batch is not None:
                    return batch
                if time.monotonic() >= until:
                    return self._envs.recv(min_ready, timeout=0.0)
            raise _closed()
        finally:
            self._receiving.release()


async def receive(
    envs: ToolVectorEnv, changed: asyncio.Event, min_ready: int = 1, until: float = math.inf
) -> Batch | None:
    """What `envs.arecv(min_ready)` brings; None if first `changed` is set or `time.monotonic()` is `until`.

    None too, after the same wait, where nothing is at a turn. No result is lost: what is not returned comes next time.
    """
    waking = asyncio.ensure_future(changed.wait())
    coming = asyncio.ensure_future(envs.arecv(min_ready)) if envs.in_flight else None
    both = {waking} if coming is None else {waking, coming}
    try:
        await asyncio.wait(both, timeout=_left(until), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in both:
            while not task.done():  # more than once: before Python 3.12 `wait_for` may not notice
                task.cancel()
                await asyncio.sleep(0)
    return None if coming is None or coming.cancelled() else coming.result()


def _left(until: float) -> float | None:
    return None if until == math.inf else max(0.0, until - time.monotonic())


def _closed() -> ClosedEnvironmentError:
    return ClosedEnvironmentError("the vector environment is closed")
