"""The worker that is an actor of Ray (extra `ray`)."""

import contextlib
import os
import pickle
import select
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from tir_gym.drivers.host import serve
from tir_gym.drivers.links import PATIENCE_S, Link
from tir_gym.drivers.seats import Seats
from tir_gym.drivers.wire import Wire

_LISTEN_S = 600.0


class Relay:
    """The body of the actor: a worker in a thread of its own, and its wire handed on.

    That thread does all that its slots need: what starts sandboxes must outlive them.
    """

    def __init__(self, blob: bytes) -> None:
        near, far = socket.socketpair()
        self._wire = Wire(near)
        self._early: dict[int, bytes] = {}
        self._next = 0
        self._lock = threading.Lock()

        def work() -> None:
            with far:
                serve(Seats(**pickle.loads(blob)), Wire(far))  # noqa: S301  of the process that made the actor

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def submit(self, number: int, message: bytes) -> None:
        """Hand on the messages by their numbers: Ray may bring them in another order."""
        with self._lock:
            self._early[number] = message
            while self._next in self._early:
                self._wire.post(self._early.pop(self._next))
                self._next += 1
            while not self._wire.flush():
                select.select([], [self._wire], [])

    def collect(self, timeout: float) -> list[bytes]:
        """What the worker has said, waiting up to `timeout` seconds. Raises `RuntimeError` where the worker failed."""
        select.select([self._wire], [], [], timeout)
        messages = self._wire.receive()
        if self._wire.ended and not messages:
            raise RuntimeError("the worker's thread ended; the actor's log says why")
        return messages

    def stop(self) -> None:
        """End the worker; returns when it has closed everything."""
        self._wire.shut()
        self._thread.join(PATIENCE_S)


class _Bell:
    """A descriptor that becomes readable when a thread of Ray rings."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._descriptor

    def ring(self, _: Any) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.eventfd_write(self._descriptor, 1)

    def silence(self) -> None:
        os.eventfd_read(self._descriptor)

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1


class RayLink(Link):
    """An actor with a `Relay`. `options` are those of `ray.remote` for actors (`num_cpus`, `scheduling_strategy`, ...).

    Raises `RuntimeError` where Ray is not running, `ImportError` where it is not installed.
    """

    def __init__(self, blob: bytes, options: Mapping[str, Any]) -> None:
        try:
            import ray
        except ImportError as error:
            raise ImportError('backend="ray" needs Ray: pip install "tir-gym[ray]"') from error
        if not ray.is_initialized():
            raise RuntimeError('backend="ray" needs a running Ray: call ray.init() first')
        self._ray = ray
        given = {"scheduling_strategy": "SPREAD", **options, "max_restarts": 0}
        self._actor = ray.remote(concurrency_groups={"in": 1, "out": 1}, **given)(Relay).remote(blob)
        self._bell = _Bell()
        self._sent = 0
        self._death = ""
        self._stopped: Any = None
        self._listen()

    def fileno(self) -> int:
        """`Link.fileno`."""
        return self._bell.fileno()

    def post(self, message: bytes) -> None:
        """`Link.post`."""
        self._actor.submit.options(concurrency_group="in").remote(self._sent, message)
        self._sent += 1

    def flush(self) -> bool:
        """`Link.flush`: Ray has a queue of its own."""
        return True

    def receive(self) -> list[bytes]:
        """`Link.receive`."""
        if self._death or not self._answer.done():
            return []
        self._bell.silence()
        try:
            messages = self._answer.result()
        except Exception as error:
            self._death = f"{type(error).__name__}: {error}"
            return []
        self._listen()
        return messages

    @property
    def ended(self) -> str:
        """`Link.ended`."""
        return self._death

    def close(self) -> None:
        """`Link.close`."""
        if self._stopped is None and self._ray.is_initialized():
            self._stopped = self._actor.stop.remote()
        self._bell.close()

    def wait_closed(self) -> None:
        """`Link.wait_closed`."""
        if self._ray.is_initialized():
            self._ray.wait([self._stopped], timeout=PATIENCE_S)
            self._ray.kill(self._actor)  # which returns before it is dead
            until = time.monotonic() + PATIENCE_S
            with contextlib.suppress(self._ray.exceptions.RayError):
                while time.monotonic() < until:
                    self._ray.get(self._actor.stop.remote(), timeout=PATIENCE_S)

    def _listen(self) -> None:
        call = self._actor.collect.options(concurrency_group="out").remote(_LISTEN_S)
        self._answer: Future[list[bytes]] = call.future()
        self._answer.add_done_callback(self._bell.ring)
