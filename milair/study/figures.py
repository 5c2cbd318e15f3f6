"""A study as small Plotly figures, which a dashboard draws."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from optuna.trial import FrozenTrial

from milair.study import arms, kept
from milair.training.noise import Estimate

_POINTS = 300  # trials in a figure, those with the best scores


def figures(
    trials: Sequence[FrozenTrial], best: int | None = None, expected: Estimate | None = None
) -> Iterator[tuple[str, list[dict[str, Any]], dict[str, Any]]]:
    """Name, Plotly's data and its layout: score over passes, accuracy against IoU, time against score.

    `expected`: the score of other frames that is to be expected of trial `best`, drawn with its interval."""
    known = [trial for trial in trials if trial.value is not None and "epochs" in trial.user_attrs]
    if not known:
        return
    spent = [
        trial.user_attrs["epochs"] * trial.user_attrs.get("folds", 1) * kept.trained(trial)["augmentations"]
        for trial in known
    ]
    passes = dict(zip((trial.number for trial in known), accumulate(spent), strict=True))
    highest = list(accumulate((trial.value or 0.0 for trial in known), max))
    leads = [n for n, score in enumerate(highest) if n in (0, len(highest) - 1) or score > highest[n - 1]]
    line: dict[str, Any] = {
        "x": [passes[known[n].number] for n in leads],
        "y": [round(highest[n], 4) for n in leads],
        "mode": "lines",
        "line": {"shape": "hv"},
        "name": "best so far",
    }
    traces: list[dict[str, Any]] = [line]
    if expected is not None and best in passes:
        high, low = expected.high - expected.value, expected.value - expected.low
        traces.append(
            {
                "x": [passes[best]],
                "y": [round(expected.value, 4)],
                "error_y": {"type": "data", "array": [round(high, 4)], "arrayminus": [round(low, 4)]},
                "mode": "markers",
                "name": f"trial {best} on other frames, 95%",
            }
        )
    shown = sorted(sorted(known, key=lambda trial: -(trial.value or 0.0))[:_POINTS], key=lambda trial: trial.number)

    def points(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
        texts = [f"trial {trial.number}, {arms.state_name(trial)}" for trial in shown]
        values = {"x": [round(value, 4) for value in x], "y": [round(value, 4) for value in y]}
        return {**values, "text": texts, "mode": "markers", "type": "scatter", "name": "trials"}

    scores = [trial.value or 0.0 for trial in shown]
    iou, accuracy, seconds = (
        [trial.user_attrs[name] or 0.0 for trial in shown] for name in ("iou", "accuracy", "seconds")
    )
    yield (
        "score-over-passes",
        [points([passes[trial.number] for trial in shown], scores), *traces],
        _layout("Score over passes", "passes over the training frames, all trials together", "score"),
    )
    yield "accuracy-and-iou", [points(iou, accuracy)], _layout("Accuracy against IoU", "mean IoU", "accuracy")
    yield "time-and-score", [points(seconds, scores)], _layout("Time against score", "seconds of training", "score")


def _layout(title: str, below: str, left: str) -> dict[str, Any]:
    return {"title": {"text": title}, "xaxis": {"title": {"text": below}}, "yaxis": {"title": {"text": left}}}
