"""Which way of judging recipes picks the best ones? Thousands of searches, replayed from recorded trainings.

    python benchmarks/selection/simulate.py --searches 500

`outcomes.npz` (made by record.py) holds recipes, each trained with every pair of six blocks of the frames left out. For
a block by which nobody chooses the other five are folds: a training that left out that block and a fold is scored on
both. A search goes through recipes in a random order as far as its time goes, picks one by what it may see, and is told
what that one is worth on the block: the mean over its five trainings. All rules have the same orders and the same time.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from milair.study.pruners import LEVEL, SAFE
from milair.training.paired import chance_not_worse

Numbers = NDArray[np.float64]
TABLE = Path(__file__).with_name("outcomes.npz")
BLOCKS = 6
PAIRS = list(combinations(range(BLOCKS), 2))
BUDGETS = (15, 30, 60)  # trainings of mean length


@dataclass(frozen=True)
class View:
    """What searches may see where one block is the test, and what they may not."""

    scores: Numbers  # [recipes, frames]: of each frame by the training that left out its fold; NaN in the test block
    fold: NDArray[np.intp]  # [frames]: 0 to 4; -1 in the test block
    seconds: Numbers  # [recipes]: of one training
    truth: Numbers  # [recipes]: on the test block
    curves: Numbers  # [recipes, 5, rungs]: the score on each fold at each tenth of the training that left it out
    kind: NDArray[np.str_]  # [recipes]: only trainings of the same kind are compared on their way

    def on(self, recipe: int, folds: Iterable[int]) -> Numbers:
        """A recipe's scores on the frames of some folds, NaN elsewhere: [frames]."""
        return np.where(np.isin(self.fold, list(folds)), self.scores[recipe], np.nan)


@dataclass
class Search:
    """One search under way: the time that it has left, and what it has seen."""

    view: View
    order: Sequence[int]
    left: float
    random: np.random.Generator

    def afford(self, recipe: int, share: float = 1.0) -> bool:
        """Pay for one training, or for a share of one."""
        self.left -= self.view.seconds[recipe] * share
        return self.left >= 0

    def ended(self, recipe: int, fold: int, peers: Sequence[int]) -> float:
        """At which share of a training milair's median rule ends it; 1: it does not. `peers` came to their end."""
        curves = self.view.curves[[peer for peer in peers if self.view.kind[peer] == self.view.kind[recipe]], fold]
        if len(curves) < 4:
            return 1.0
        mine = np.maximum.accumulate(self.view.curves[recipe, fold])
        rungs = np.arange(1, len(mine) + 1) / len(mine)
        loses = (mine < np.median(curves, axis=0)) & (rungs >= SAFE / 100)
        return float(rungs[loses.argmax()]) if loses.any() else 1.0


@dataclass(frozen=True)
class Pick:
    recipe: int
    score: float  # as the search reports it
    pruned: frozenset[int] = frozenset()  # recipes
    complete: frozenset[int] = frozenset()


Rule = Callable[[Search], Pick | None]  # None: the time was not enough for one recipe


def holdout(search: Search, reshuffled: bool = False) -> Pick | None:
    """One fold is the validation half: always the same one, or reshuffled for each recipe. The median rule prunes."""
    fold, best, peers = int(search.random.integers(5)), None, list[int]()
    for recipe in search.order:
        if reshuffled:
            fold = int(search.random.integers(5))
        share = search.ended(recipe, fold, peers)
        if not search.afford(recipe, share):
            break
        if share < 1:
            continue
        peers.append(recipe)
        score = float(np.nanmean(search.view.on(recipe, [fold])))
        if best is None or score > best.score:
            best = Pick(recipe, score)
    return best


def folds(search: Search, level: float = 0.0) -> Pick | None:
    """All five; after each a recipe is pruned that is worse than the best one beyond chance, at that level."""
    best, pruned, complete = None, set[int](), set[int]()
    for recipe in search.order:
        for count in range(1, 6):
            if not search.afford(recipe):
                break
            mine = search.view.on(recipe, range(count))
            if best is not None and count < 5 and chance_not_worse(mine, search.view.scores[best.recipe]) < level:
                pruned.add(recipe)
                break
            if count == 5:
                complete.add(recipe)
                score = float(np.nanmean(mine))
                best = Pick(recipe, score) if best is None or score > best.score else best
        if search.left < 0:
            break
    return best and Pick(best.recipe, best.score, frozenset(pruned), frozenset(complete))


def first_fold(search: Search, share: float = 0.6, median: bool = True) -> Pick | None:
    """One fold of each recipe for a share of the time; then all folds of those that may be the best.

    As milair does it: the median rule prunes within the first fold; the next one to be confirmed is the one that looks
    best beside the leader on its own fold; it is pruned by pairs, and the first fold is trained again."""
    whole, fold, seen = search.left, int(search.random.integers(5)), dict[int, float]()
    for recipe in search.order:
        part = search.ended(recipe, fold, list(seen)) if median else 1.0
        if seen and search.left - part * search.view.seconds[recipe] < whole * (1 - share):
            break
        if not search.afford(recipe, part):
            break
        if part == 1:
            seen[recipe] = float(np.nanmean(search.view.on(recipe, [fold])))
    best = None
    while seen:
        if best is None:
            recipe = max(seen, key=lambda recipe: seen[recipe])
        else:
            leader = search.view.scores[best.recipe]
            chances = {recipe: chance_not_worse(search.view.on(recipe, [fold]), leader) for recipe in seen}
            recipe = max(chances, key=lambda recipe: chances[recipe])
            if chances[recipe] < LEVEL:
                break
        first = seen.pop(recipe)
        for count in range(1, 6):
            if not search.afford(recipe):
                return best or Pick(recipe, first)
            mine = search.view.on(recipe, range(count))
            if best is not None and count < 5 and chance_not_worse(mine, search.view.scores[best.recipe]) < LEVEL:
                break
        else:
            score = float(np.nanmean(mine))
            best = Pick(recipe, score) if best is None or score > best.score else best
    return best


RULES: dict[str, Rule] = {
    "single holdout": holdout,
    "reshuffled holdout": lambda search: holdout(search, reshuffled=True),
    "five folds": folds,
    "five folds, pruned": lambda search: folds(search, LEVEL),
    "first fold, then all": first_fold,
    "the same, no median": lambda search: first_fold(search, median=False),
}


def load(path: Path = TABLE) -> list[View]:
    """A view for each block, of the recipes whose trainings were all recorded."""
    with np.load(path) as file:
        scores = (file["iou"] / 255 + file["correct"]) / 2
        seconds, block, curve, kind = (file[name] for name in ("seconds", "blocks", "curve", "kind"))
    whole = (seconds > 0).all(1)  # recipes that were trained with every pair
    scores, seconds, curve, kind = scores[whole], seconds[whole], curve[whole], kind[whole]
    views = []
    for test in range(BLOCKS):
        mine = [(number, sum(pair) - test) for number, pair in enumerate(PAIRS) if test in pair]
        seen, fold = np.full((len(seconds), len(block)), np.nan), np.full(len(block), -1)
        for place, (number, held) in enumerate(mine):
            seen[:, block == held], fold[block == held] = scores[:, number, block == held], place
        truth = np.mean([scores[:, number, block == test].mean(1) for number, _ in mine], axis=0)
        curves = np.stack([curve[:, number, :, PAIRS[number].index(held)] for number, held in mine], axis=1)
        views.append(View(seen, fold, seconds[:, [number for number, _ in mine]].mean(1), truth, curves, kind))
    return views


def replay(
    views: Sequence[View], rules: dict[str, Rule], trainings: int, searches: int, seed: int = 0
) -> dict[str, list[list[Pick | None]]]:
    """Of each rule what its searches pick, by test block: `trainings` of mean length is the time that each has."""
    picks: dict[str, list[list[Pick | None]]] = {name: [[] for _ in views] for name in rules}
    for place, view in enumerate(views):
        time = trainings * view.seconds.mean()
        for number in range(searches):
            for name, rule in rules.items():
                random = np.random.default_rng([seed, place, number])
                order = random.permutation(len(view.seconds)).tolist()
                picks[name][place].append(rule(Search(view, order, time, random)))
    return picks


def worth(views: Sequence[View], picks: Sequence[Sequence[Pick | None]]) -> Numbers:
    """What is picked is worth on the blocks that nobody chose by: the mean over searches, [blocks].

    A search that came to nothing has picked blindly."""
    means = [
        np.mean([view.truth.mean() if pick is None else view.truth[pick.recipe] for pick in each])
        for view, each in zip(views, picks, strict=True)
    ]
    return np.array(means)


def difference(mine: Numbers, theirs: Numbers) -> tuple[float, float]:
    """The mean over blocks of a difference, and half of its 95% interval (Student's t over blocks)."""
    each = mine - theirs
    half = float(student.ppf(0.975, len(each) - 1) * each.std(ddof=1) / len(each) ** 0.5) if len(each) > 1 else np.inf
    return float(each.mean()), half


def pruning(views: Sequence[View], level: float, searches: int = 200, seed: int = 1) -> tuple[float, float]:
    """With all recipes gone through: the share of training time that pruning saves, and of searches in which it prunes
    what all five folds of all recipes would have picked."""
    saved, wrong = [], []
    for view in views:
        best = int(np.nanmean(view.scores, axis=1).argmax())
        whole = 5 * view.seconds.sum()
        for number in range(searches):
            random = np.random.default_rng([seed, number])
            search = Search(view, random.permutation(len(view.seconds)).tolist(), 2 * whole, random)
            pick = folds(search, level)
            assert pick is not None
            saved.append(1 - (2 * whole - search.left) / whole)
            wrong.append(best in pick.pruned)
    return float(np.mean(saved)), float(np.mean(wrong))


def lines(views: Sequence[View], searches: int) -> Iterator[str]:
    recipes, best = len(views[0].truth), np.mean([view.truth.max() for view in views])
    yield f"{recipes} recipes, {len(views)} test blocks, {searches} searches each; the best ones are worth {best:.4f}"
    for trainings in BUDGETS:
        yield f"\n{trainings} trainings of mean length"
        picks = replay(views, RULES, trainings, searches)
        today, best_rule = (worth(views, picks[name]) for name in ("single holdout", "first fold, then all"))
        for name, each in picks.items():
            mine = worth(views, each)
            (gain, half), (lag, width) = difference(mine, today), difference(mine, best_rule)
            optimism = np.mean(
                [p.score - view.truth[p.recipe] for view, row in zip(views, each, strict=True) for p in row if p]
            )
            yield (
                f"  {name:<22} worth {mine.mean():.4f}, regret {best - mine.mean():.4f}, less holdout's {gain:+.4f} "
                f"± {half:.4f}, less the default's {lag:+.4f} ± {width:.4f}, reported less worth {optimism:+.4f}"
            )
    yield "\nlevel of pruning    time saved    best pruned"
    for level in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5):
        saved, wrong = pruning(views, level)
        yield f"  {level:<16}  {saved:>10.1%}  {wrong:>11.1%}"


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=500)
    parser.add_argument("--table", type=Path, default=TABLE)
    options = parser.parse_args()
    print(*lines(load(options.table), options.searches), sep="\n")
