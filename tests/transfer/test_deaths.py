"""Which trials run again: their own deaths count, a lost node is forgiven once to each."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from xtlray.transfer.deaths import RETRIES, Deaths, Nodes, run_again_what_died
from xtlray.transfer.plan import Arm, TrialSpec

SPECS = [TrialSpec(Arm("user/gap", "base", None), "d" * 64, {"n": n}, 0) for n in range(3)]


class Cluster:
    """Nodes that are there or gone, as `ray.nodes` tells of them."""

    def __init__(self, *names: str) -> None:
        self.alive = dict.fromkeys(names, True)

    def __call__(self) -> list[dict[str, Any]]:
        return [{"NodeID": name, "Alive": alive} for name, alive in self.alive.items()]

    def lose(self, name: str) -> None:
        self.alive[name] = False


class Tune:
    """In the place of Tune: each trial dies so often before it leaves a record; losing `nodes[k]` in round k."""

    def __init__(self, dies: dict[int, int], cluster: Cluster, nodes: Sequence[str] = ()) -> None:
        self.left = {SPECS[n].id: times for n, times in dies.items()}
        self.cluster, self.nodes = cluster, list(nodes)
        self.deaths = Deaths()
        self.rounds: list[tuple[str, list[int]]] = []

    def __call__(self, specs: Sequence[TrialSpec], name: str, retries: int) -> dict[str, str]:
        self.rounds.append((name, [SPECS.index(spec) for spec in specs]))
        if self.nodes:
            self.cluster.lose(self.nodes.pop(0))
        errors = {}
        for spec in specs:
            trial = SimpleNamespace(config={"trial": spec.id})
            for tried in range(retries + 1):
                if not self.left.get(spec.id):
                    break
                self.left[spec.id] -= 1
                tell = self.deaths.on_trial_recover if tried < retries else self.deaths.on_trial_error
                tell(0, [], trial)
                if tried == retries:
                    errors[spec.id] = "The actor died"
        return errors

    def run(self) -> dict[str, str]:
        return run_again_what_died(SPECS, self, "seeds", self.deaths, watched(self.cluster))


def watched(cluster: Cluster) -> Nodes:
    """Nodes of which it is known at once that they have gone."""
    nodes = Nodes(cluster)
    nodes.await_loss = nodes.lost  # type: ignore[method-assign]
    return nodes


def test_a_trial_that_dies_by_itself_is_given_up() -> None:
    tune = Tune({1: 99}, Cluster("head"))
    assert list(tune.run()) == [SPECS[1].id]
    assert tune.rounds == [("seeds", [0, 1, 2])]
    assert tune.deaths[SPECS[1].id] == RETRIES + 1


def test_one_that_died_with_a_node_too_is_not() -> None:
    tune = Tune({1: RETRIES + 1, 2: RETRIES}, Cluster("head", "a", "b"), ["a"])
    assert tune.run() == {}
    assert tune.rounds == [("seeds", [0, 1, 2]), ("seeds-2", [1])]


def test_a_lost_node_is_forgiven_once() -> None:
    tune = Tune({0: 99, 1: RETRIES + 2}, Cluster("head", "a", "b"), ["a", "b"])
    assert list(tune.run()) == [SPECS[0].id]
    assert [specs for _, specs in tune.rounds] == [[0, 1, 2], [0, 1], [0, 1]]
    assert tune.deaths[SPECS[0].id] == RETRIES + 3


def test_nodes_that_had_gone_before_do_not_count() -> None:
    cluster = Cluster("head", "a")
    cluster.lose("a")
    assert len(Tune({1: RETRIES + 1}, cluster).run()) == 1


def test_what_never_ran_does_not_run_for_ever() -> None:
    cluster = Cluster("head", "a")
    nodes, rounds = watched(cluster), []

    def tune_trials(specs: Sequence[TrialSpec], name: str, retries: int) -> dict[str, str]:
        rounds.append(name)
        cluster.lose("a")
        return {spec.id: "it cannot be started" for spec in specs}

    assert len(run_again_what_died(SPECS, tune_trials, "seeds", Deaths(), nodes)) == 3
    assert len(rounds) == RETRIES + 2


def test_what_the_store_failed_is_not_run_again_here() -> None:
    def tune_trials(specs: Sequence[TrialSpec], name: str, retries: int) -> dict[str, str]:
        assert name == "seeds"
        return {SPECS[0].id: "xtlray.errors.StoreGoneError: out of reach"}

    assert list(run_again_what_died(SPECS, tune_trials, "seeds", Deaths(), Nodes(Cluster("head")))) == [SPECS[0].id]


@pytest.mark.parametrize("names", [("head",), ("head", "a")])
def test_a_node_that_has_just_gone_is_waited_for_where_there_are_several(names: tuple[str, ...]) -> None:
    cluster, seen = Cluster(*names), []

    def nodes() -> list[dict[str, Any]]:
        seen.append(cluster())
        if len(seen) == 5 and "a" in cluster.alive:
            cluster.lose("a")
        return cluster()

    watched = Nodes(nodes)
    assert watched.await_loss(seconds=5, every=0) == len(names) - 1
    assert watched.await_loss(seconds=0.02, every=0.01) == len(names) - 1
