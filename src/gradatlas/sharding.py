"""How the trials of a batch size are split into shards, one job each."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TrialRange:
    """The trials of one shard, ``last`` included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1


def plan_shards(
    trials: int, trials_per_job: int, existing: frozenset[TrialRange] = frozenset()
) -> list[TrialRange]:
    """Split trials into shards, keeping the existing ones that fit.

    With nothing collected yet every shard has ``trials_per_job`` trials, the last one what is
    left. Later on, the shards that are there stay, so that more trials collect only new ones.

    Args:
        trials: Number of trials wanted.
        trials_per_job: Most trials of a new shard.
        existing: Shards already collected.

    Returns:
        Shards in ascending order that cover every trial exactly once.
    """
    longest = {
        shard.first: shard
        for shard in sorted(existing, key=lambda shard: shard.last)
        if shard.last < trials
    }
    shards: list[TrialRange] = []
    first = 0
    while first < trials:
        shard = longest.get(first) or _new_shard(first, trials, trials_per_job, longest)
        shards.append(shard)
        first = shard.last + 1
    return shards


def _new_shard(
    first: int, trials: int, trials_per_job: int, existing: Mapping[int, TrialRange]
) -> TrialRange:
    following = min((start for start in existing if start > first), default=trials)
    return TrialRange(first, min(first + trials_per_job, following) - 1)
