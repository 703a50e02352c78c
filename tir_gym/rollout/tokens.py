"""The tokens of an episode as its policy saw and sampled them: token in, token out, never encoded again."""

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

NO_VERSION = -1
"""Policy version of a token that no policy sampled."""


class Role(IntEnum):
    """Who put a token where it is; a policy is trained on `SAMPLED` ones only."""

    PROMPT = 0
    SAMPLED = 1
    TOOL = 2
    SCAFFOLD = 3
    """Written by the chat template."""
    USER = 4
    BOUNDARY = 5
    """The end of a turn that the engine left out (cut for length, or at a stop string)."""


class ImageRef(NamedTuple):
    """The image of an observation, by its id in the episode, and the position of the token that stands for it."""

    id: str
    at: int


@dataclass(frozen=True, eq=False)
class TokenRow:
    """One sequence to train on: n tokens, t turns. Arrays are read-only.

    An episode is one row, unless its history was rewritten (each `segment` is a row then) or it was forked.
    """

    ids: Ids
    """int32, (n,)"""
    roles: NDArray[np.uint8]
    """`Role` codes, uint8, (n,)"""
    logprobs: Floats
    """float32, (n,): as the engine returned them; 0.0 where nothing was sampled or none were given."""
    versions: Ids
    """int32, (n,): policy version of sampled tokens, else `NO_VERSION`."""
    turn_start: Ids
    """int32, (t,): first sampled token of each turn."""
    turn_end: Ids
    """int32, (t,): one past the last sampled token of each turn."""
    turn_reward: Floats
    """float32, (t,): reward of each turn; nan where invalid."""
    reward: float = 0.0
    """Sum of the rewards of all turns of the episode, also of those in other segments; nan for an invalid episode."""
    episode: str = ""
    group: str = ""
    segment: int = 0
    parent: str = ""
    """Episode that this one was forked from, "" for none."""
    shared: int = 0
    """Leading tokens that are the parent's too."""
    valid: bool = True
    truncated: bool = False
    images: tuple[ImageRef, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def loss_mask(self, *, once: bool = False) -> Bools:
        """bool, (n,): True at the policy's own tokens; with `once`, a fork's shared tokens are left to its parent.

        All False for an invalid episode: there is nothing to learn from it.
        """
        mask: Bools = np.equal(self.roles, Role.SAMPLED) & np.bool_(self.valid)
        if once:
            mask[: self.shared] = False
        return mask

    def cut(self, limit: int) -> "TokenRow":
        """The first `limit` tokens, marked as truncated; a turn that ends later has no reward, for it is not all shown.

        A row that is short enough is returned as it is. Raises `ValueError` for a limit under 1.
        """
        if limit < 1:
            raise ValueError(f"limit={limit} must be at least 1 token")
        if len(self) <= limit:
            return self
        kept = int(np.searchsorted(self.turn_start, limit))
        ends = np.minimum(self.turn_end[:kept], limit)
        missing = np.float32(0.0 if self.valid else math.nan)
        return replace(
            self,
            ids=self.ids[:limit],
            roles=self.roles[:limit],
            logprobs=self.logprobs[:limit],
            versions=self.versions[:limit],
            turn_start=self.turn_start[:kept],
            turn_end=_fixed(ends),
            turn_reward=_fixed(np.where(ends == self.turn_end[:kept], self.turn_reward[:kept], missing)),
            shared=min(self.shared, limit),
            truncated=True,
            images=tuple(image for image in self.images if image.at < limit),
        )


@dataclass
class _Segment:
    ids: "array[int]" = field(default_factory=lambda: array("i"))
    roles: bytearray = field(default_factory=bytearray)
    logprobs: "array[float]" = field(default_factory=lambda: array("f"))
    versions: "array[int]" = field(default_factory=lambda: array("i"))
    turns: list[tuple[int, int]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    images: list[ImageRef] = field(default_factory=list)
    shared: int = 0

    def put(
        self, ids: Sequence[int], roles: Sequence[int], logprobs: Sequence[float] = (), versions: Sequence[int] = ()
    ) -> None:
        """Append all or, where something is no number, nothing."""
        count = len(ids)
        codes, numbers = bytes(roles), array("i", ids)
        values = array("f", logprobs if len(logprobs) else (0.0,) * count)
        tags = array("i", versions if len(versions) else (NO_VERSION,) * count)
        self.ids += numbers
        self.roles += codes
        self.logprobs += values
        self.versions += tags

    def copy(self) -> "_Segment":
        return _Segment(
            self.ids[:],
            self.roles[:],
            self.logprobs[:],
            self.versions[:],
            list(self.turns),
            list(self.rewards),
            list(self.images),
            len(self.ids),
        )

    def data(self) -> dict[str, Any]:
        return {
            "ids": self.ids.tolist(),
            "roles": list(self.roles),
            "logprobs": [value if math.isfinite(value) else str(value) for value in self.logprobs],
            "versions": self.versions.tolist(),
            "turns": [list(turn) for turn in self.turns],
            "rewards": [None if math.isnan(value) else value for value in self.rewards],
            "images": [list(image) for image in self.images],
            "shared": self.shared,
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "_Segment":
        counts = [len(data[name]) for name in ("ids", "roles", "logprobs", "versions")]
        if len(set(counts)) > 1 or len(data["turns"]) != len(data["rewards"]):
            raise ValueError(f"a segment has {counts} ids, roles, logprobs and versions: one of each for each token")
        return cls(
            array("i", data["ids"]),
            bytearray(data["roles"]),
            array("f", map(float, data["logprobs"])),
            array("i", data["versions"]),
            [(start, end) for start, end in data["turns"]],
            [math.nan if value is None else value for value in data["rewards"]],
            [ImageRef(*image) for image in data["images"]],
            data["shared"],
        )


class TokenRollout:
    """An append-only buffer of one policy actor's tokens in one episode.

    `append_prompt`, then `append_sampled`, `add_reward` and `append_context` in turns, `rows` at the end.
    It is data: pickle it, or write it as JSON (`data`, `of`), to go on elsewhere; `fork` it with its episode.
    """

    def __init__(self, *, episode: str = "", group: str = "") -> None:
        self.episode = episode
        self.group = group
        self.parent = ""
        self.valid = True
        self.truncated = False
        self.pixels: dict[str, NDArray[np.uint8]] = {}
        """The images that tokens refer to, by id: uint8, (height, width, 3). They are no part of `data`."""
        self._segments: list[_Segment] = []

    @property
    def ids(self) -> list[int]:
        """The context as it is now: what the engine is to go on from."""
        return self._now.ids.tolist()

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """The images of the context as it is now."""
        return tuple(self._now.images)

    def __len__(self) -> int:
        return len(self._now.ids)

    @property
    def turns(self) -> int:
        """Turns sampled so far, in all segments."""
        return sum(len(segment.turns) for segment in self._segments)

    @property
    def versions(self) -> tuple[int, int]:
        """The oldest and the newest policy version that a token was sampled with; `NO_VERSION` before the first."""
        sampled = [version for segment in self._segments for version in segment.versions if version != NO_VERSION]
        return min(sampled, default=NO_VERSION), max(sampled, default=NO_VERSION)

    def append_prompt(self, ids: Sequence[int], images: Sequence[ImageRef] = ()) -> None:
        """Begin, or begin anew because the history was rewritten: what comes then is another row."""
        segment = _Segment()
        segment.put(ids, bytes((Role.PROMPT,)) * len(ids))
        segment.images += _placed(images, 0, len(ids))
        self._segments.append(segment)

    def append_sampled(
        self, ids: Sequence[int], logprobs: Sequence[float] = (), version: int | Sequence[int] = 0
    ) -> None:
        """One turn as the engine sampled it, its end token included if it sampled one.

        `version` is one for each token where the weights changed within the turn.
        Raises `ValueError` for log-probabilities or versions that are not one for each token, or a version under 0.
        """
        versions = version if isinstance(version, Sequence) else (version,) * len(ids)
        if len(logprobs) not in (0, len(ids)):
            raise ValueError(f"{len(logprobs)} logprobs for {len(ids)} sampled tokens; give one for each, or none")
        if len(versions) != len(ids):
            raise ValueError(
                f"{len(versions)} versions for {len(ids)} sampled tokens; give one for each, or one for all"
            )
        if min(versions, default=0) < 0:
            raise ValueError(f"policy version {min(versions)} must be at least 0")
        segment = self._now
        start = len(segment.ids)
        segment.put(ids, bytes((Role.SAMPLED,)) * len(ids), logprobs, versions)
        segment.turns.append((start, len(segment.ids)))
        segment.rewards.append(0.0)

    def append_context(self, ids: Sequence[int], roles: Role | Sequence[Role], images: Sequence[ImageRef] = ()) -> None:
        """What the environment or the template put after a turn; images' positions count from the first of `ids`.

        Raises `ValueError` for `Role.SAMPLED`, or roles that are not one for each token.
        """
        segment = self._now
        start = len(segment.ids)
        codes = (roles,) * len(ids) if isinstance(roles, Role) else roles
        if len(codes) != len(ids):
            raise ValueError(f"{len(codes)} roles for {len(ids)} tokens; give one for each, or one for all")
        if Role.SAMPLED in codes:
            raise ValueError("sampled tokens go in by append_sampled, as the engine returned them")
        placed = _placed(images, start, len(ids))
        segment.put(ids, codes)
        segment.images += placed

    def add_reward(self, value: float) -> None:
        """Add to the reward of the last turn. Raises `ValueError` before the first one."""
        for segment in reversed(self._segments):
            if segment.rewards:
                segment.rewards[-1] += value
                return
        raise ValueError("there is no turn yet to reward")

    def fork(self, episode: str) -> "TokenRollout":
        """An independent rollout that goes on from here, under another episode's name."""
        twin = TokenRollout(episode=episode, group=self.group)
        twin.parent = self.episode
        twin.valid, twin.truncated, twin.pixels = self.valid, self.truncated, dict(self.pixels)
        twin._segments = [segment.copy() for segment in self._segments]
        return twin

    def data(self) -> dict[str, Any]:
        """All of it but the pixels as JSON data, from which `of` makes an equal rollout."""
        names = ("episode", "group", "parent", "valid", "truncated")
        return {name: getattr(self, name) for name in names} | {"segments": [s.data() for s in self._segments]}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "TokenRollout":
        """The rollout that `data` describes. Raises `KeyError`, `TypeError` or `ValueError` for what describes none."""
        rollout = cls(episode=data["episode"], group=data["group"])
        rollout.parent, rollout.valid, rollout.truncated = data["parent"], data["valid"], data["truncated"]
        rollout._segments = [_Segment.of(segment) for segment in data["segments"]]
        return rollout

    def rows(self) -> list[TokenRow]:
        """A row for each segment in which a turn was sampled; later appending does not change them."""
        total = float(np.float32(sum(r for segment in self._segments for r in segment.rewards)))
        total = total if self.valid else math.nan
        found = []
        for number, segment in enumerate(self._segments):
            if not segment.turns:
                continue
            bounds = np.array(segment.turns, np.int32).reshape(-1, 2)
            found.append(
                TokenRow(
                    ids=_fixed(np.array(segment.ids, np.int32)),
                    roles=_fixed(np.frombuffer(bytes(segment.roles), np.uint8)),
                    logprobs=_fixed(np.array(segment.logprobs, np.float32)),
                    versions=_fixed(np.array(segment.versions, np.int32)),
                    turn_start=_fixed(bounds[:, 0].copy()),
                    turn_end=_fixed(bounds[:, 1].copy()),
                    turn_reward=_fixed(
                        np.array(segment.rewards if self.valid else [math.nan] * len(bounds), np.float32)
                    ),
                    reward=total,
                    episode=self.episode,
                    group=self.group,
                    segment=number,
                    parent=self.parent,
                    shared=segment.shared,
                    valid=self.valid,
                    truncated=self.truncated,
                    images=tuple(segment.images),
                )
            )
        return found

    @property
    def _now(self) -> _Segment:
        if not self._segments:
            raise ValueError("the rollout is empty: begin with append_prompt")
        return self._segments[-1]


def _placed(images: Sequence[ImageRef], start: int, count: int) -> list[ImageRef]:
    """Images at positions among `count` tokens, as positions in a row where these begin at `start`."""
    for image in images:
        if not 0 <= image.at < count:
            raise ValueError(f"image {image.id!r} at {image.at} is outside of its {count} tokens")
    return [ImageRef(image.id, start + image.at) for image in images]


def _fixed(values: NDArray[Any]) -> NDArray[Any]:
    values.setflags(write=False)
    return values
