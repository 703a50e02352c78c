"""From an id and options to an environment: the one place where the parts are put together."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, cast, get_type_hints

import gymnasium as gym

if TYPE_CHECKING:
    from tir_gym.core.domain import Domain, Setting
    from tir_gym.core.interfaces import Executor, Protocol
    from tir_gym.core.task import TaskSet
    from tir_gym.core.view import Rewards
    from tir_gym.drivers.env import ToolEnv
    from tir_gym.drivers.vector import ToolVectorEnv
    from tir_gym.protocols import Mode

_DOMAINS: dict[str, str] = {}


def register(env_id: str, domain: str) -> None:
    """Make a domain ("module:Class") known to Gymnasium under an id. It is imported when first made.

    Gymnasium's passive checker is left off: it warns of the nan that an invalid episode must return. The contract
    tests run `check_env` on every id instead.
    """
    _DOMAINS[env_id] = domain
    gym.register(
        env_id,
        entry_point="tir_gym.envs.registration:make_env",
        vector_entry_point="tir_gym.envs.registration:make_vector_env",
        kwargs={"env_id": env_id},
        disable_env_checker=True,
    )


def list_envs() -> list[str]:
    """The registered ids, sorted."""
    return sorted(_DOMAINS)


def domain_of(env_id: str) -> "type[Domain]":
    """The domain class behind an id. Raises `ValueError` that lists the ids there are."""
    if env_id not in _DOMAINS:
        raise ValueError(f"no environment {env_id!r}; there are {', '.join(list_envs())}")
    module, _, name = _DOMAINS[env_id].partition(":")
    return cast("type[Domain]", getattr(importlib.import_module(module), name))


def compatibility(env_id: str) -> dict[str, str]:
    """Every protocol by name -> "" if the environment can be played in it, else the reason why not."""
    from tir_gym.core.domain import misfit
    from tir_gym.protocols import PROTOCOLS

    domain = domain_of(env_id)
    return {name: misfit(domain, protocol) for name, protocol in PROTOCOLS.items()}


def make_setting(
    env_id: str,
    *,
    protocol: "str | Protocol" = "xml",
    protocol_mode: "Mode | None" = None,
    split: str = "train",
    difficulty: int | None = None,
    tasks: "str | TaskSet | None" = None,
    max_turns: int | None = None,
    max_calls: int = 64,
    max_virtual_s: float = 3600.0,
    max_chars: int = 200_000,
    void_ends: bool = False,
    system_prompt: str | None = None,
    rewards: "Rewards | None" = None,
    **options: Any,
) -> "Setting":
    """The setting that these options describe; `options` are the domain's own fields.

    Raises `TypeError` for an unknown option, `ValueError` for a value that does not fit; both say what would.
    """
    from tir_gym.core.domain import Budget, Setting
    from tir_gym.core.task import TaskSet
    from tir_gym.core.view import Rewards
    from tir_gym.protocols import Program
    from tir_gym.protocols import protocol as find_protocol
    from tir_gym.rewards import RewardProgram
    from tir_gym.tools.program import ProgramToolkit

    _require("tasks", tasks, str, TaskSet)
    _require("difficulty", difficulty, int)
    _require("rewards", rewards, Rewards)
    _require("void_ends", void_ends, bool)
    _require("max_chars", max_chars, int)
    _require("system_prompt", system_prompt, str)
    domain_class = domain_of(env_id)
    known = [item.name for item in fields(cast(Any, domain_class))]
    if unknown := set(options) - set(known):
        every = [*known, *inspect.getfullargspec(make_setting).kwonlyargs, "executor"]
        raise TypeError(
            f"{env_id} takes no option {', '.join(map(repr, sorted(unknown)))}; there are {', '.join(every)}"
        )
    domain = domain_class(**{name: _checked(domain_class, name, value) for name, value in options.items()})
    turns = domain_class.max_turns if max_turns is None else max_turns
    given: Mapping[str, Any] = {
        "protocol": (protocol, "xml"),
        "protocol_mode": (protocol_mode, None),
        "split": (split, "train"),
        "difficulty": (difficulty, None),
        "tasks": (tasks, None),
        "max_turns": (turns, domain_class.max_turns),
        "max_calls": (max_calls, 64),
        "max_virtual_s": (max_virtual_s, 3600.0),
        "max_chars": (max_chars, 200_000),
        "void_ends": (void_ends, False),
        "system_prompt": (system_prompt, None),
    }
    changed = {name: value for name, (value, default) in given.items() if value != default}
    syntax = find_protocol(protocol, protocol_mode)
    return Setting(
        env_id=env_id,
        domain=domain,
        tasks=domain.tasks(tasks, split, difficulty) if tasks is None or isinstance(tasks, str) else tasks,
        protocol=syntax,
        rewards=RewardProgram() if rewards is None else rewards,
        budget=Budget(turns=turns, calls=max_calls, virtual_s=max_virtual_s),
        max_chars=max_chars,
        void_ends=void_ends,
        system_prompt=system_prompt,
        equip=ProgramToolkit if isinstance(syntax, Program) else None,
        options={
            name: v if isinstance(v, str | int | float) else repr(v) for name, v in {**changed, **options}.items()
        },
    )


def _require(name: str, value: Any, *kinds: type) -> None:
    """Raise `TypeError` for an option that is given and of none of these types (a bool is no int here)."""
    if value is None or (isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))):
        return
    raise TypeError(f"{name}={value!r} must be {' or '.join(kind.__name__ for kind in kinds)}")


def _checked(domain_class: "type[Domain]", name: str, value: Any) -> Any:
    """An option of the type that the domain declares. Raises `ValueError` that names it."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    kind = get_type_hints(domain_class, include_extras=True)[name]
    try:
        return TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value, strict=True)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise ValueError(f"option {name}={value!r}: {reason[0].lower()}{reason[1:]}") from None


def default_executor(programs: bool = False) -> "Executor":
    """The process-wide fork server; it starts with the first episode that needs it and stops with the last.

    The one whose sessions may start programs is another than that for Python alone.
    """
    from tir_gym.executors import ForkServer, shared

    return shared(ForkServer(programs=programs))


def _executor_for(setting: "Setting", executor: "Executor | None") -> "Executor | None":
    from tir_gym.core.interfaces import Executor

    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(f"executor={executor!r} must be an executor, such as tir_gym.executors.ForkServer()")
    if executor is not None and setting.runs_programs and not executor.runs_programs:
        raise ValueError(
            f"{setting.env_id} needs sessions that may start programs, and those of {executor!r} may not; "
            "take ForkServer(programs=True), which is the default"
        )
    return executor or (default_executor(setting.runs_programs) if setting.runs_code else None)


def make_env(
    env_id: str, *, executor: "Executor | None" = None, render_mode: str | None = None, **options: Any
) -> "ToolEnv":
    """The entry point of `gym.make`: options as of `make_setting`, and an executor of one's own."""
    from tir_gym.drivers.env import ToolEnv

    setting = make_setting(env_id, **options)
    return ToolEnv(setting, _executor_for(setting, executor), render_mode)


def make_vector_env(
    env_id: str, *, num_envs: int = 1, executor: "Executor | None" = None, **options: Any
) -> "ToolVectorEnv":
    """The entry point of `gym.make_vec`: options as of `make_setting`, and those of `ToolVectorEnv`."""
    from tir_gym.drivers.vector import ToolVectorEnv

    _require("num_envs", num_envs, int)
    driving, options = _driving(options)
    setting = make_setting(env_id, **options)
    return ToolVectorEnv(setting, _executor_for(setting, executor), num_envs, **driving)


def make_vec(
    env_id: str | Sequence[str],
    num_envs: int = 1,
    *,
    wrappers: Sequence[Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]] = (),
    executor: "Executor | None" = None,
    **options: Any,
) -> "ToolVectorEnv":
    """A vector environment by id: `gym.make_vec` without its spec, with reward wrappers, or of several ids.

    `wrappers` are those of `tir_gym.wrappers` that change the reward program and nothing else, or functions of an
    environment that apply such (a recipe); they act here as around a single environment. Of several ids, slot i plays
    the i-th, over and over from the first; `num_envs` must be a multiple of their number, and options must suit all.
    `options` are those of `gym.make` and of `ToolVectorEnv` (`backend="inline" | "process" | "ray"`, `workers`, ...).
    Raises `TypeError` for other wrappers, `ValueError` for ids that do not go together.
    """
    from tir_gym.drivers.vector import ToolVectorEnv

    _require("num_envs", num_envs, int)
    ids = [env_id] if isinstance(env_id, str) else list(env_id)
    if not ids:
        raise ValueError("no id was given; give one, or one for each kind of slot")
    if num_envs % len(ids):
        raise ValueError(f"num_envs={num_envs} must be a multiple of the number of ids, {len(ids)}")
    driving, options = _driving(options)
    settings = [_wrapped(make_env(each, executor=executor, **options), wrappers) for each in ids]
    runner = max(settings, key=lambda setting: (setting.runs_programs, setting.runs_code))
    return ToolVectorEnv(
        [settings[i % len(ids)] for i in range(num_envs)], _executor_for(runner, executor), num_envs, **driving
    )


def _driving(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the driver, and all others. Raises `ValueError` for a render mode."""
    if (mode := options.get("render_mode")) is not None:
        raise ValueError(f"render_mode={mode!r}: a vector environment is not rendered; look at `slots`, or at records")
    options = {k: v for k, v in options.items() if k != "render_mode"}
    own = ("autoreset_mode", "step_deadline_s", "straggler", "max_running", "backend", "workers", "worker_options")
    return {k: v for k, v in options.items() if k in own}, {k: v for k, v in options.items() if k not in own}


def _wrapped(env: "ToolEnv", wrappers: Sequence[Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]]) -> "Setting":
    layer: gym.Env[Any, Any] = env
    for wrapper in wrappers:
        layer = wrapper(layer)
    while isinstance(layer, gym.Wrapper):
        if not getattr(layer, "only_rewards", False):
            raise TypeError(
                f"{type(layer).__name__} does more than change rewards; it cannot wrap a vector environment"
            )
        layer = layer.env
    return env.setting
