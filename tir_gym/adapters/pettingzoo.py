"""PettingZoo's view of an environment with several policy actors."""

import copy
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from pettingzoo import AECEnv
from pettingzoo.utils.conversions import turn_based_aec_to_parallel

from tir_gym.core.spaces import Unicode
from tir_gym.drivers.env import ToolEnv


class ActorsView(AECEnv):  # type: ignore[misc]
    """An AEC environment whose agents are the policy actors of a `ToolEnv`.

    Each agent observes Dict(text, your_turn): what it has not read yet, and whether it is to move (1) or not (0). The
    reward is the team's. Works with wrapped environments too. `parallel_view` gives the Parallel API.
    """

    metadata = {"name": "tir_gym", "is_parallelizable": True, "render_modes": ["ansi", "human"]}

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__()
        self.env = env
        inner: ToolEnv = env.unwrapped  # type: ignore[assignment]
        if inner.setting.domain.image_shape is not None:
            raise ValueError(f"{inner.setting.env_id} observes images, which this view does not carry")
        self.render_mode = inner.render_mode
        self.possible_agents = [actor.name for actor in inner.setting.domain.actors if not actor.scripted]
        space = spaces.Dict({"text": inner.observation_space, "your_turn": spaces.Discrete(2)})
        self.observation_spaces = dict.fromkeys(self.possible_agents, space)
        self.action_spaces = {agent: Unicode(inner.setting.max_chars) for agent in self.possible_agents}
        self._texts: dict[str, str] = {}

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's observation space, the same object each time."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's action space, the same object each time."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Start an episode. Of the options only `task_id` is read: PettingZoo's tests pass others."""
        known = {name: value for name, value in (options or {}).items() if name == "task_id"}
        observation, info = self.env.reset(seed=seed, options=known)
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = self._infos_of(info)
        self._texts = dict.fromkeys(self.agents, "")
        self.agent_selection = info["to_move"]
        self._texts[self.agent_selection] = observation

    def observe(self, agent: str) -> dict[str, Any]:
        """What the agent last read, and whether it is to move."""
        return {"text": self._texts[agent], "your_turn": int(agent == self.agent_selection)}

    def step(self, action: Any) -> None:
        """The turn of the agent to move."""
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[agent] = 0.0
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.agent_selection = info["to_move"]
        self._texts[self.agent_selection] = observation
        for name in self.agents:
            self.rewards[name] = float(reward)
            self.terminations[name] = terminated
            self.truncations[name] = truncated
        self.infos = self._infos_of(info)
        self._accumulate_rewards()
        self._deads_step_first()

    def _infos_of(self, info: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """A copy for each agent; the messages are for the eyes of the one they are addressed to."""
        infos = {agent: copy.deepcopy(info) for agent in self.agents}
        for agent in self.agents:
            if agent != info["to_move"]:
                infos[agent]["messages"] = []
        return infos

    def render(self) -> Any:
        """The transcript, as the environment renders it."""
        return self.env.render()

    def close(self) -> None:
        """End everything the episode started."""
        self.env.close()


def parallel_view(env: gym.Env[Any, Any]) -> Any:
    """The Parallel API over `ActorsView`: of the actions given, the one of the agent to move is taken."""
    return turn_based_aec_to_parallel(ActorsView(env))
