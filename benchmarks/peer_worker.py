"""Plays batches of episodes of one suite, in the environment where it is installed: ours and the peers' alike.

`python benchmarks/peer_worker.py NAME`, run by `benchmarks.peers`: standard library and that suite only. Each line of
standard input is a request, each answered by a line:

- `{"do": "open", "work", "size", "program", "expected"}` makes the episodes and takes one turn in each; its answer is
  `{"version", "isolation", "containers"}`.
- `{"do": "step", "seconds"}` takes turns in all of them until that time is over; `{"walls", "right", "turns", "wrong"}`
  are seconds of each step, how many of all replies were right, and one that was not.
- `{"do": "close"}` ends them.
"""

import asyncio
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

THOUGHT = "Let me consider the number of ways once more. " * 8
IMAGE = "tir-gym-peers"
"""Of containers: it runs a Jupyter kernel gateway at port 8888 that asks for the token in KG_AUTH_TOKEN."""
MANY = 10**6
"""Turns and calls that an episode may take where a limit can be given."""


@dataclass
class Job:
    """`work`: "code" (a call that runs `program`), "text" (a turn without a call), "answer" (a whole episode).

    `expected`: the pattern of what the program prints.
    """

    work: str
    size: int
    program: str
    expected: str


@dataclass
class Batch:
    """`step` takes a turn in every episode and returns all replies; one is right where `pattern` is found in it."""

    step: Callable[[], list[str]]
    pattern: str
    close: Callable[[], object] = lambda: None
    isolation: str = ""
    """Of the code that it ran, as found in this process; "" where `benchmarks.peers` knows."""
    containers: list[str] = field(default_factory=list)
    """Ids of those in which the code runs."""


RIGHT = r"^1(\.0*)?$"
"""A reward of one."""
HINT = r"higher|lower|guessed|maximum number|turn limit|Guess The Number"
"""Whatever a game of guessing says to a guess, or at its next start."""


# --- ours ------------------------------------------------------------------------------------------------------------
def ours(env_id: str, job: Job) -> Batch:
    import tir_gym
    from tir_gym.envs.registration import default_executor

    limits: dict[str, Any] = {} if job.work == "answer" else {"max_turns": MANY, "max_calls": MANY}
    envs = tir_gym.make_vec(env_id, job.size, **limits)
    envs.reset(seed=0)
    thought = f"<think>{THOUGHT}</think>"
    turn = f'{thought}<call name="python"><arg name="code">{job.program}</arg></call>' if job.program else thought

    def answers() -> list[str]:
        gold = [slot.episode.task.gold.answer for slot in envs.slots if slot.episode]
        return [str(r) for r in envs.step([f"{thought}<answer>{answer}</answer>" for answer in gold])[1]]

    step = answers if job.work == "answer" else lambda: list(envs.step([turn] * job.size)[0])
    report = default_executor().report()
    lacking = [layer for layer, verdict in report.items() if layer != "tier" and verdict != "enforced"]
    isolation = f"jail, tier {report['tier']}, " + (f"all but {', '.join(lacking)}" if lacking else "all layers")
    pattern = {"answer": RIGHT, "text": "the turn has no action"}.get(job.work, job.expected)
    return Batch(step, pattern, envs.close, isolation)


# --- GEM -------------------------------------------------------------------------------------------------------------
def gem(at_once: bool, job: Job) -> Batch:
    import gem as suite
    from gem.tools.python_code_tool import PythonCodeTool
    from gem.tools.tool_env_wrapper import ToolEnvWrapper

    wrap = partial(ToolEnvWrapper, tools=[PythonCodeTool()], max_tool_uses=MANY)
    env_id = "rg:chain_sum" if job.work == "answer" else "game:GuessTheNumber-v0-easy"
    envs = suite.make_vec([env_id] * job.size, wrappers=[wrap] if job.work == "code" else [], async_mode=at_once)
    envs.reset(seed=0)
    if job.work == "code":
        turn = f"{THOUGHT}<python>{job.program}</python>"
        return Batch(lambda: envs.step([turn] * job.size)[0], job.expected)
    if job.work == "text":
        guesses = [f"{THOUGHT}\\boxed{{{number}}}" for number in range(1, 9)]
        rounds = iter(range(MANY))
        return Batch(lambda: envs.step([guesses[next(rounds) % 8]] * job.size)[0], HINT)
    return Batch(
        lambda: [str(r) for r in envs.step([f"\\boxed{{{env.data['answer']}}}" for env in envs.envs])[1]], RIGHT
    )


# --- SkyRL-Gym -------------------------------------------------------------------------------------------------------
def skyrl(threads: int, job: Job) -> Batch:
    import skyrl_gym

    extras = {"reward_spec": {"ground_truth": "42"}, "max_turns": MANY}
    name = {"code": "searchcode", "text": "gsm8k_multi_turn", "answer": "gsm8k"}[job.work]
    prompt = [{"role": "user", "content": "What is six times seven?"}]

    def new() -> Any:
        env = skyrl_gym.make(name, env_config={}, extras=extras)
        env.init(list(prompt))
        return env

    envs = [new() for _ in range(job.size)]
    pool = ThreadPoolExecutor(threads) if threads else None
    turn = {
        "code": f"{THOUGHT}<tool><python>{job.program}</python></tool>",
        "text": f"{THOUGHT} #### 41",
        "answer": f"{THOUGHT} #### 42",
    }[job.work]

    def play(i: int) -> str:
        out = envs[i].step(turn)
        if job.work == "answer":
            envs[i] = new()
            return str(out["reward"])
        return str(out["observations"][0]["content"])

    run = pool.map if pool else map
    pattern = {"code": job.expected, "text": "#### ANSWER", "answer": RIGHT}[job.work]
    return Batch(lambda: list(run(play, range(job.size))), pattern, pool.shutdown if pool else lambda: None)


def skyrl_repl(job: Job) -> Batch:
    from skyrl_gym.envs.rlm.repl import PersistentREPL

    repls = [PersistentREPL() for _ in range(job.size)]
    return Batch(lambda: [repl.execute(job.program).stdout for repl in repls], job.expected)


# --- others ----------------------------------------------------------------------------------------------------------
def textarena(job: Job) -> Batch:
    import textarena as suite

    envs = [suite.make("GuessTheNumber-v0") for _ in range(job.size)]
    for env in envs:
        env.reset(num_players=1)
    rounds = iter(range(MANY))

    def step() -> list[str]:
        guess = f"{THOUGHT}[{next(rounds) % 8 + 1}]"
        replies = []
        for env in envs:
            done, _ = env.step(guess)
            if done:
                env.close()
                env.reset(num_players=1)
            replies.append(env.get_observation()[1])
        return replies

    return Batch(step, HINT)


def reasoning_gym(job: Job) -> Batch:
    import reasoning_gym as suite

    tasks = suite.create_dataset("chain_sum", size=MANY, seed=1)
    place = iter(range(MANY))

    def play() -> str:
        item = tasks[next(place)]
        return str(tasks.score_answer(item["answer"], item))

    return Batch(lambda: [play() for _ in range(job.size)], RIGHT)


def verifiers(job: Job) -> Batch:
    import verifiers as suite
    from datasets import Dataset
    from verifiers.clients.client import Client
    from verifiers.types import Response, ResponseMessage

    class Says42(Client):  # type: ignore[misc]
        """A model that answers at once."""

        def setup_client(self, config: Any) -> Any:
            return config

        async def to_native_tool(self, tool: Any) -> Any:
            return tool

        async def to_native_prompt(self, messages: Any) -> tuple[Any, dict[str, Any]]:
            return messages, {}

        async def get_native_response(self, *_: Any, **__: Any) -> str:
            return "42"

        async def raise_from_native_response(self, response: str) -> None:
            return

        async def from_native_response(self, response: str) -> Response:
            message = ResponseMessage(role="assistant", content=response, finish_reason="stop", is_truncated=False)
            return Response(id="", created=0, model="", message=message)

        async def close(self) -> None:
            return

    async def correct(completion: Any, answer: str) -> float:
        return float(completion[-1]["content"] == answer)

    data = Dataset.from_list([{"question": "What is six times seven?", "answer": "42"}])
    env = suite.SingleTurnEnv(dataset=data, rubric=suite.Rubric(funcs=[correct]))
    row = dict(env.get_dataset()[0])
    loop, client = asyncio.new_event_loop(), Says42(None)

    async def play() -> list[Any]:
        return await asyncio.gather(*(env.run_rollout(dict(row), client, "", {}) for _ in range(job.size)))

    return Batch(lambda: [str(out["reward"]) for out in loop.run_until_complete(play())], RIGHT)


def openenv(job: Job) -> Batch:
    from openenv.core.tools import PyExecutor

    tools = [PyExecutor(additional_imports=["numpy", "numpy.*", "sympy", "sympy.*"]) for _ in range(job.size)]
    return Batch(lambda: [tool.run(job.program).stdout for tool in tools], job.expected)


def openenv_server(job: Job) -> Batch:
    from openenv.core.generic_client import GenericEnvClient

    listener = socket.create_server(("127.0.0.1", 0), backlog=job.size)
    number = listener.fileno()
    server = subprocess.Popen([sys.executable, __file__, "serve-openenv", str(number)], pass_fds=[number])
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    clients = [GenericEnvClient(url, connect_timeout_s=300, message_timeout_s=600) for _ in range(job.size)]
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()  # pings are answered between steps, too

    def all_of(does: Callable[[Any], Any]) -> list[Any]:
        async def gathered() -> list[Any]:
            return await asyncio.gather(*(does(client) for client in clients))

        return asyncio.run_coroutine_threadsafe(gathered(), loop).result()

    def close() -> None:
        all_of(lambda client: client.close())
        server.terminate()
        server.wait()

    try:
        all_of(lambda client: client.reset())
    except BaseException:
        server.kill()
        raise
    turn = {"thought": THOUGHT, "code": job.program}
    pattern = "no code" if job.work == "text" else job.expected
    return Batch(lambda: [result.observation["printed"] for result in all_of(lambda c: c.step(turn))], pattern, close)


def serve_openenv(listener: int) -> None:
    """OpenEnv's server around its Python tool, as its coding environment is: one process, threads for its sessions."""
    import uvicorn
    from openenv.core.env_server import Action, Environment, Observation, State, create_app
    from openenv.core.tools import PyExecutor

    class Turn(Action):  # type: ignore[misc]
        thought: str
        code: str

    class Printed(Observation):  # type: ignore[misc]
        printed: str

    class Coding(Environment):  # type: ignore[misc]
        SUPPORTS_CONCURRENT_SESSIONS = True

        def __init__(self) -> None:
            super().__init__()
            self._tool = PyExecutor(additional_imports=["numpy", "numpy.*", "sympy", "sympy.*"])

        def reset(self, **_: Any) -> Printed:
            return Printed(printed="")

        def step(self, action: Turn, **_: Any) -> Printed:
            return Printed(printed=self._tool.run(action.code).stdout if action.code else "no code")

        @property
        def state(self) -> State:
            return State()

    app = create_app(Coding, Turn, Printed, max_concurrent_envs=MANY)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([socket.socket(fileno=listener)])


def jupyter(job: Job) -> Batch:
    from jupyter_client.asynchronous.client import AsyncKernelClient
    from jupyter_client.manager import AsyncKernelManager

    loop = asyncio.new_event_loop()
    kernels: list[tuple[Any, Any]] = []

    async def start() -> None:
        for i in range(job.size):
            # Over TCP two of many kernels take the same port, and one dies.
            manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=str(Path(f"kernel-{i}").absolute()))
            await manager.start_kernel()
            client: AsyncKernelClient = manager.client()
            client.start_channels()
            kernels.append((manager, client))
        for _, client in kernels:
            await client.wait_for_ready(timeout=300)

    async def call(client: Any) -> str:
        said: list[str] = []

        def hear(message: Any) -> None:
            if message["msg_type"] == "stream":
                said.append(message["content"]["text"])

        await client.execute_interactive(job.program, store_history=False, allow_stdin=False, output_hook=hear)
        return "".join(said)

    async def calls() -> list[str]:
        return await asyncio.gather(*(call(client) for _, client in kernels))

    async def stop() -> None:
        for manager, client in kernels:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)

    try:
        loop.run_until_complete(start())
    except BaseException:
        loop.run_until_complete(stop())
        raise
    return Batch(lambda: loop.run_until_complete(calls()), job.expected, lambda: loop.run_until_complete(stop()))


# --- in containers, an interpreter in each ----------------------------------------------------------------------------
@contextmanager
def containers(size: int, start: Callable[[int], Any], stop: Callable[[Any], object]) -> Iterator[list[Any]]:
    """What `start` gives, one after another: several at once do not answer in the time that peers give them."""
    running: list[Any] = []
    try:
        running += map(start, range(size))
        yield running
    finally:
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(stop, running))


def smolagents(job: Job) -> Batch:
    from smolagents.monitoring import AgentLogger, LogLevel
    from smolagents.remote_executors import DockerExecutor

    def start(i: int) -> Any:
        quiet = AgentLogger(level=LogLevel.OFF)
        return DockerExecutor([], quiet, port=8888 + i, image_name=IMAGE, build_new_image=False)

    with ExitStack() as until:
        pool = until.enter_context(ThreadPoolExecutor(job.size))
        executors = until.enter_context(containers(job.size, start, lambda executor: executor.cleanup()))
        close = until.pop_all().close
    ids = [executor.container.id for executor in executors]
    return Batch(
        lambda: [out.logs for out in pool.map(lambda executor: executor(job.program), executors)],
        job.expected,
        close,
        containers=ids,
    )


def autogen(job: Job) -> Batch:
    import docker
    import requests
    from autogen_core import CancellationToken
    from autogen_core.code_executor import CodeBlock
    from autogen_ext.code_executors.docker_jupyter import DockerJupyterCodeExecutor, DockerJupyterServer

    loop = asyncio.new_event_loop()
    names = [f"{IMAGE}-{os.getpid()}-{i}" for i in range(job.size)]

    def start(i: int) -> Any:
        token = secrets.token_hex()
        return DockerJupyterServer(
            custom_image_name=IMAGE, container_name=names[i], token=token, docker_env={"KG_AUTH_TOKEN": token}
        )

    async def patiently(does: Callable[[], Any]) -> None:
        until = time.monotonic() + 300
        while True:
            try:
                await does()
                return
            except (requests.ConnectionError, TimeoutError):  # it does not listen yet, or others keep it waiting
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.2)

    async def connect(server: Any) -> Any:
        executor = DockerJupyterCodeExecutor(server)
        await patiently(executor.start)
        await patiently(partial(call, executor))
        return executor

    async def call(executor: Any) -> str:
        out = await executor.execute_code_blocks([CodeBlock(job.program, "python")], CancellationToken())
        return str(out.output)

    async def all_of(do: Callable[[Any], Any], whom: list[Any]) -> list[Any]:
        return await asyncio.gather(*map(do, whom))

    with ExitStack() as until:
        servers = until.enter_context(containers(job.size, start, lambda server: asyncio.run(server.stop())))
        executors = [loop.run_until_complete(connect(server)) for server in servers]
        until.callback(lambda: loop.run_until_complete(all_of(lambda executor: executor.stop(), executors)))
        close = until.pop_all().close
    ids = [found.id for found in docker.from_env().containers.list() if found.name in names]
    return Batch(lambda: loop.run_until_complete(all_of(call, executors)), job.expected, close, containers=ids)


SUITES: dict[str, tuple[str, Callable[[Job], Batch]]] = {
    "tir_gym": ("tir-gym", partial(ours, "tir/MathCode-v0")),
    "tir_gym-stateless": ("tir-gym", partial(ours, "tir/MathCodeStateless-v0")),
    "gem": ("gem-llm", partial(gem, False)),
    "gem-async": ("gem-llm", partial(gem, True)),
    "skyrl": ("skyrl-gym", partial(skyrl, 32)),
    "skyrl-loop": ("skyrl-gym", partial(skyrl, 0)),
    "skyrl-repl": ("skyrl-gym", skyrl_repl),
    "textarena": ("textarena", textarena),
    "reasoning-gym": ("reasoning-gym", reasoning_gym),
    "verifiers": ("verifiers", verifiers),
    "openenv": ("openenv-core", openenv),
    "openenv-server": ("openenv-core", openenv_server),
    "jupyter": ("ipykernel", jupyter),
    "smolagents": ("smolagents", smolagents),
    "autogen": ("autogen-ext", autogen),
}


def main() -> None:
    """Serve requests until there are no more."""
    if sys.argv[1] == "serve-openenv":
        serve_openenv(int(sys.argv[2]))
        return
    out = os.fdopen(os.dup(1), "w")  # what a suite prints goes elsewhere
    os.dup2(2, 1)
    package, make = SUITES[sys.argv[1]]
    batch: Batch | None = None

    def judged() -> tuple[float, list[str]]:
        assert batch is not None
        begin = time.perf_counter()
        replies = batch.step()
        return time.perf_counter() - begin, replies

    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        begin = time.perf_counter()
        if request.pop("do") == "open":
            batch = make(Job(**request | {"expected": re.escape(request["expected"])}))
            judged()
            answer = {"version": version(package), "isolation": batch.isolation}
            answer["containers"] = batch.containers
        elif "seconds" in request:
            assert batch is not None
            walls: list[float] = []
            right = turns = 0
            wrong = ""
            while not walls or time.perf_counter() - begin < request["seconds"]:
                wall, replies = judged()
                walls.append(wall)
                found = [bool(re.search(batch.pattern, reply)) for reply in replies]
                right, turns = right + sum(found), turns + len(found)
                wrong = next((reply for reply, good in zip(replies, found, strict=True) if not good), wrong)
            answer = {"walls": walls, "right": right, "turns": turns, "wrong": wrong[-300:]}
        elif batch is not None:
            batch.close()
            batch = None
        print(json.dumps(answer), file=out, flush=True)
    if batch is not None:  # whoever asked is gone
        batch.close()


if __name__ == "__main__":
    main()
