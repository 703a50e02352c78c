"""A model behind any OpenAI-compatible chat endpoint as a policy."""

import asyncio
import contextlib
import hashlib
import json
import math
import os
import random
import socket
import threading
import time
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from tir_gym.core.domain import Setting
from tir_gym.core.task import Task
from tir_gym.drivers.env import ToolEnv
from tir_gym.drivers.intake import ActionInput
from tir_gym.rollout.chat import Reply, chat_request
from tir_gym.rollout.policies import Policy, PolicyUnavailable

LINGER_S = 1.0
"""Seconds given to a stream to end after its finish reason."""
MAX_BACKOFF_S = 30.0


class EndpointError(PolicyUnavailable):
    """No completion could be had; the message names the URL, the model, the attempts and the last cause.

    `lasting` where trying again is no use: the key is refused, or there is no such page or model.
    """


@dataclass(frozen=True)
class Endpoint:
    """Where a model is asked, and how: settings, and as a callable a maker of policies for `collect`.

    >>> endpoint = Endpoint("http://127.0.0.1:8000/v1", "Qwen/Qwen3-8B", temperature=0.7)
    >>> records = collect(env, endpoint, range(100), concurrency=16)  # doctest: +SKIP

    Raises `ValueError` for settings that make no sense, and `ModuleNotFoundError` when a policy is made without the
    extra `endpoint`.
    """

    base_url: str
    """Up to and without `/chat/completions`; `http` or `https`, without user name, password and query."""
    model: str
    api_key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; the key itself is kept nowhere. Unset will do for most servers."""
    temperature: float = 1.0
    """Of sampling, at least 0."""
    max_tokens: int | None = 4096
    """Of one completion, at least 1; None for the server's own limit."""
    timeout_s: float = 120.0
    """Seconds without news after which an attempt is given up and made again."""
    deadline_s: float = 600.0
    """Seconds for one completion, all attempts and pauses included."""
    max_retries: int = 8
    """Attempts after the first, at least 0."""
    backoff_s: float = 0.5
    """Seconds of the first pause; each is twice the one before up to 30, less a random part of up to a half.
    A server's `Retry-After` goes before."""
    logprobs: bool = False
    """Ask for log-probabilities; `Completion` has them where the server also tells token ids (vLLM: `extra_body=
    {"return_token_ids": True}`)."""
    extra_body: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Further fields of the request's JSON."""

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"base_url={self.base_url!r} is not like http://HOST:PORT/v1")
        if url.username or url.password or url.query or url.fragment:
            raise ValueError("base_url has a user name, password or query; name a variable by api_key_variable instead")
        for name in ("timeout_s", "deadline_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)!r} must be a positive number of seconds")
        for name in ("max_retries", "backoff_s", "temperature"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)!r} must be 0 or more")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens={self.max_tokens!r} must be at least 1, or None")
        json.dumps(dict(self.extra_body), allow_nan=False)

    @property
    def name(self) -> str:
        """The model, and a hash of all settings that change what it says; the policy's name in a record."""
        said = json.dumps([self.temperature, self.max_tokens, dict(self.extra_body)], sort_keys=True)
        return f"{self.model}-{hashlib.blake2b(said.encode(), digest_size=3).hexdigest()}"

    @property
    def key(self) -> str:
        """The key in its environment variable, "" for none. Raises `ValueError` for one that no header can hold."""
        return _key_in(self.api_key_variable)

    def check(self) -> None:
        """Connect once, without a request. Raises `ConnectionError` that names the address where nothing listens."""
        url = urlsplit(self.base_url)
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            socket.create_connection((str(url.hostname), port), timeout=min(5.0, self.timeout_s)).close()
        except OSError as error:
            reason = error.strerror or error
            raise ConnectionError(f"nothing answers at {self.base_url} ({reason}); is the server up?") from None

    def __call__(self, setting: Setting, task: Task) -> "EndpointPolicy":
        """A policy for one episode; it looks at nothing of the task."""
        return EndpointPolicy(self)


class EndpointPolicy(Policy):
    """Plays one episode with a model: each turn sends the whole history and reads one streamed completion.

    It has an event loop in a thread and a connection of its own, from the first turn until `close`, which may be
    called from any thread and ends a turn that is being waited for.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._key = endpoint.key
        self._openai = _openai()
        self._env: ToolEnv | None = None
        self._rng = random.Random()
        self._lock = threading.Lock()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Any = None

    def begin(self, env: ToolEnv) -> None:
        """Play in this environment, which has just been reset."""
        self._env = env

    def act(self, observation: str, info: Mapping[str, Any]) -> ActionInput:
        """The model's completion for the history of the actor to move. Raises `EndpointError`."""
        if self._env is None:
            raise RuntimeError("the policy was given no environment: call begin(env) after reset")
        return self._wait_for(self._complete(chat_request(self._env), self._env.setting)).result()

    def close(self) -> None:
        """End the connection and the thread; idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            asyncio.run_coroutine_threadsafe(self._end(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _wait_for(self, work: Coroutine[Any, Any, ActionInput]) -> Future[ActionInput]:
        with self._lock:
            if self._closed:
                work.close()
                raise RuntimeError("the policy is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _end(self) -> None:
        for task in (tasks := asyncio.all_tasks() - {asyncio.current_task()}):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
        await asyncio.get_running_loop().shutdown_asyncgens()
        await asyncio.sleep(0)  # streams dropped before that are closed by tasks that begin only now
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    # --- asking ----------------------------------------------------------------------------------------------------
    async def _complete(self, request: dict[str, Any], setting: Setting) -> ActionInput:
        """One completion, asked for again after a fault that may pass."""
        settings = self._endpoint
        request |= {"model": settings.model, "temperature": settings.temperature, "extra_body": settings.extra_body}
        if settings.max_tokens is not None:
            request["max_tokens"] = settings.max_tokens
        if settings.logprobs:
            request["logprobs"] = True
        clock = asyncio.get_running_loop().time
        until = clock() + settings.deadline_s
        attempts, cause = 0, ""
        try:
            async with asyncio.timeout_at(until):
                while attempts <= settings.max_retries:
                    attempts += 1
                    try:
                        return await self._attempt(request, Reply(setting))
                    except _Fault as fault:
                        cause, pause = str(fault), fault.retry_after
                        if not fault.passing:
                            raise self._error(attempts, cause, lasting=fault.lasting) from None
                    if math.isnan(pause):
                        pause = min(MAX_BACKOFF_S, settings.backoff_s * 2.0 ** min(attempts - 1, 30))
                        pause *= 1 - self._rng.random() / 2
                    if clock() + pause >= until:
                        cause += f"; trying again in {pause:.1f} s would be past the deadline"
                        break
                    if attempts <= settings.max_retries:
                        await asyncio.sleep(pause)
        except TimeoutError:
            cause = f"the deadline of {settings.deadline_s:g} s is over" + (f"; before that: {cause}" if cause else "")
        raise self._error(attempts, cause)

    async def _attempt(self, request: dict[str, Any], reply: Reply) -> ActionInput:
        """Ask once. Raises `_Fault`."""
        openai, clock, patience_s = self._openai, asyncio.get_running_loop().time, self._endpoint.timeout_s
        if self._client is None:
            self._client = openai.AsyncOpenAI(
                base_url=self._endpoint.base_url, api_key=self._key or "none", max_retries=0, timeout=None
            )
        kind = ""
        try:
            async with asyncio.timeout(patience_s) as patience:
                stream = await self._client.chat.completions.create(stream=True, **request)
                kind = stream.response.headers.get("content-type", "none")
                async with stream:
                    while not reply.done:
                        chunk = await anext(stream, None)
                        if chunk is None:
                            break
                        for choice in chunk.choices[:1]:
                            reply.add(choice)
                        patience.reschedule(clock() + (LINGER_S if reply.finish_reason else patience_s))
                with contextlib.suppress(Exception):  # a closed stream left half read would end in a task of its own
                    while reply.done:
                        await anext(stream)
        except openai.APIStatusError as error:
            raise _Fault(
                f"HTTP {error.status_code}: {error.message}", error.status_code, _retry_after(error.response)
            ) from error
        except Exception as error:  # whatever a reply does to the client, the reply is at fault
            if not reply.finish_reason:
                silent = isinstance(error, TimeoutError)
                said = f"no news for {patience_s:g} s" if silent else f"{type(error).__name__}: {_root(error)}"
                raise _Fault(said) from error
        if reply.finish_reason in ("", "abort", "error"):
            how = f"with {reply.finish_reason!r}" if reply.finish_reason else "without a finish reason"
            raise _Fault(f"the stream ended {how} (content type {kind})")
        return reply.completion()

    def _error(self, attempts: int, cause: str, *, lasting: bool = False) -> EndpointError:
        cause = cause.replace(self._key, "[key]") if self._key else cause
        times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        where = f"model {self._endpoint.model!r} at {self._endpoint.base_url}"
        return EndpointError(f"no completion from {where} in {times}: {cause[:1000]}", lasting=lasting)


class _Fault(Exception):  # noqa: N818
    """An attempt that failed, with its HTTP status (0: none) and the seconds after which to try again (nan: unsaid)."""

    def __init__(self, cause: str, status: int = 0, retry_after: float = math.nan) -> None:
        super().__init__(cause)
        self.retry_after = retry_after
        self.passing = status in (0, 408, 429) or status >= 500
        self.lasting = status in (401, 403, 404)


def _root(error: BaseException) -> str:
    """What an error says, with what brought it about."""
    return f"{error} ({error.__cause__!r})" if error.__cause__ is not None else str(error)


def _key_in(variable: str) -> str:
    """The key in an environment variable, "" for none. Raises `ValueError` for one that no header can hold."""
    key = os.environ.get(variable, "").strip() if variable else ""
    if not (key.isascii() and key.isprintable()):
        raise ValueError(f"the key in ${variable} has characters that no HTTP header can hold: set it again")
    return key


def _retry_after(response: Any) -> float:
    """Seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3: seconds or a date); nan for none."""
    said = response.headers.get("retry-after", "")
    try:
        seconds = float(said) if said.strip().isdecimal() else parsedate_to_datetime(said).timestamp() - time.time()
    except ValueError:
        return math.nan
    return max(0.0, seconds)


def _openai() -> Any:
    try:
        import openai
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("model endpoints need the extra: pip install 'tir-gym[endpoint]'") from error
    return openai
