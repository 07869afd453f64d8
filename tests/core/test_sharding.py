"""How trials are split into shards, with and without shards that are there already."""

from hypothesis import given
from hypothesis import strategies as st

from gradatlas.core.sharding import TrialRange, plan_shards


@st.composite
def ranges(draw: st.DrawFn) -> TrialRange:
    first = draw(st.integers(0, 60))
    return TrialRange(first, first + draw(st.integers(0, 20)))


def test_a_range_counts_its_last_trial() -> None:
    assert str(TrialRange(20, 39)) == "20-39"
    assert len(TrialRange(20, 39)) == 20
    assert len(TrialRange(7, 7)) == 1


def test_a_first_collection_has_shards_of_one_size_and_a_rest() -> None:
    assert plan_shards(25, 10) == [TrialRange(0, 9), TrialRange(10, 19), TrialRange(20, 24)]


def test_more_trials_keep_what_is_there() -> None:
    assert plan_shards(40, 20, frozenset({TrialRange(0, 24)})) == [
        TrialRange(0, 24),
        TrialRange(25, 39),
    ]


def test_fewer_trials_leave_out_a_shard_that_is_too_long() -> None:
    assert plan_shards(15, 10, frozenset({TrialRange(0, 9), TrialRange(10, 19)})) == [
        TrialRange(0, 9),
        TrialRange(10, 14),
    ]


def test_a_gap_is_filled_up_to_the_next_shard() -> None:
    assert plan_shards(40, 100, frozenset({TrialRange(10, 19)})) == [
        TrialRange(0, 9),
        TrialRange(10, 19),
        TrialRange(20, 39),
    ]


def test_of_two_shards_with_the_same_start_the_longer_one_counts() -> None:
    existing = frozenset({TrialRange(0, 9), TrialRange(0, 19)})

    assert plan_shards(30, 10, existing) == [TrialRange(0, 19), TrialRange(20, 29)]


@given(
    trials=st.integers(1, 80),
    trials_per_job=st.integers(1, 90),
    existing=st.frozensets(ranges(), max_size=6),
)
def test_every_trial_is_in_one_shard_and_new_shards_are_short_enough(
    trials: int, trials_per_job: int, existing: frozenset[TrialRange]
) -> None:
    shards = plan_shards(trials, trials_per_job, existing)

    covered = [trial for shard in shards for trial in range(shard.first, shard.last + 1)]
    assert covered == list(range(trials))
    assert all(len(shard) <= trials_per_job for shard in shards if shard not in existing)


@given(trials=st.integers(1, 80), more=st.integers(0, 80), trials_per_job=st.integers(1, 30))
def test_a_plan_carried_out_is_kept_when_the_experiment_grows(
    trials: int, more: int, trials_per_job: int
) -> None:
    done = plan_shards(trials, trials_per_job)

    assert plan_shards(trials, trials_per_job, frozenset(done)) == done
    assert plan_shards(trials + more, trials_per_job, frozenset(done))[: len(done)] == done
