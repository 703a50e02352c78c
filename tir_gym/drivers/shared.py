"""A vector environment for many threads, and waiting for one together with other things."""

import asyncio
import concurrent.futures
import contextlib
import math
import os
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
    Each result goes to one receiver; receivers are served in the order in which they ask. A process that is forked has
    no such thread: there every call raises `RuntimeError`.

    Example:
        >>> envs = SharedVectorEnv(lambda: tir_gym.make_vec("tir/MathCode-v0", 256))  # doctest: +SKIP
    """

    def __init__(self, make: Callable[[], ToolVectorEnv]) -> None:
        self._lock = threading.Lock()
        self._made_in = os.getpid()
        self._closed = False
        self._changed = changed = asyncio.Event()
        self._receiving = asyncio.Lock()
        self._ending = ending = asyncio.Event()
        born: _Born = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(_live(make, born, changed, ending)), name="vector", daemon=True
        )
        try:
            self._thread.start()
            self._loop, self._envs = born.result()
        except BaseException:
            if not born.cancel() and born.exception() is None:  # interrupted when it was there already
                born.result()[0].call_soon_threadsafe(ending.set)
            if self._thread.ident is not None:
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
        """Close the environment and end its thread; threads that wait in `recv` are told. Idempotent.

        Nothing in a process that was forked from this one, where that thread is not.
        """
        if self._made_in != os.getpid():
            return
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
        if self._made_in != os.getpid():
            coroutine.close()
            raise RuntimeError("the vector environment belongs to the process that this was forked from; make another")
        future: concurrent.futures.Future[T] | None = None
        try:
            with self._lock:
                if self._closed:
                    coroutine.close()
                    raise _closed()
                future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            return future.result()
        except BaseException:
            if future is not None:
                future.cancel()  # who was interrupted must not be the one who gets the next results
            raise

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, RuntimeError):  # it was never made; it was closed
            if self._made_in == os.getpid():
                self._loop.call_soon_threadsafe(self._ending.set)

    # --- in the thread of the environment ----------------------------------------------------------------------------
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


_Born = concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, ToolVectorEnv]]


async def _live(make: Callable[[], ToolVectorEnv], born: _Born, changed: asyncio.Event, ending: asyncio.Event) -> None:
    """The life of the thread: it knows nothing of the `SharedVectorEnv`, so that one which is dropped is closed."""
    try:
        envs = make()
    except BaseException as error:
        if born.set_running_or_notify_cancel():
            born.set_exception(error)
        return
    try:
        if not born.set_running_or_notify_cancel():  # who wanted it was interrupted
            return
        born.set_result((asyncio.get_running_loop(), envs))
        await ending.wait()
        changed.set()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
    finally:
        envs.close()


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
