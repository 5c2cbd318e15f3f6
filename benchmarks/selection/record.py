"""Record the trainings that simulate.py replays: recipes, each trained with every pair of six blocks left out.

    cd benchmarks; python -m selection.record --data DIR --weights DIR --study sqlite:///selection.db --worker 1/2
    cd benchmarks; python -m selection.record --study sqlite:///selection.db --write

Twelve recipes of `joint` and eighteen of `beyond`, drawn at random among those that train in a minute of one core.
Those of `joint`, whose learning rate is constant, learn ten times as fast and to an epoch that is fixed beforehand. The
blocks are stratified, near-duplicates together. A training is a trial of an Optuna study, so several processes share
the work, each as worker 1/2, 2/2 …, and what was recorded is not done again.
"""

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from selection.simulate import BLOCKS, PAIRS, TABLE

from milair import DenseHead, Recipe
from milair import space as spaces
from milair.frames.folds import folds
from milair.frames.frame import Frame, Split
from milair.study.session import Session, open_session
from milair.training.in_process import Trainer
from milair.training.paired import Truth
from milair.training.train import new_heads, train
from milair.training.values import Training

VIEWS, RUNGS, SEED = 6, 10, 15
OF_JOINT, OF_BEYOND = 12, 18
_PASSES = 36  # over the training frames, of a recipe without a schedule
_COSTLY = 160e6  # multiplications for a cell of the map, over all views


def recipes() -> list[Recipe]:
    """The same ones whenever they are asked for."""
    folder, chosen = spaces.default_folder(), list[Recipe]()
    joint, study = spaces.load("joint", folder), _random()
    while len(chosen) < OF_JOINT:
        study.enqueue_trial({"backbone": "squeezenet1_0", "normalisation": "imagenet", "image_size": "400x255"})
        recipe = joint(study.ask())
        epochs = _PASSES // recipe.augmentations
        if recipe.augmentations <= VIEWS:
            chosen.append(replace(recipe, epochs=epochs, patience=epochs, learning_rate=1e-3))
    beyond, study = spaces.load("beyond", folder), _random()
    while len(chosen) < OF_JOINT + OF_BEYOND:
        recipe = beyond(study.ask())
        if recipe.augmentations <= VIEWS and recipe.epochs <= 25 and _cost(recipe) <= _COSTLY:
            chosen.append(recipe)
    return chosen


def _random() -> optuna.Study:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=SEED))


def _cost(recipe: Recipe) -> float:
    heads = [head for head in (recipe.cls_head, recipe.reg_head) if isinstance(head, DenseHead)]
    one = sum(512 * head.channels + 9 * head.blocks * head.channels**2 for head in heads)
    return recipe.looks * recipe.epochs * recipe.augmentations * one


def blocks(frames: Sequence[Frame]) -> list[int]:
    """The block of each frame, 0 to 5."""
    number = {frame.path: block for block, fold in enumerate(folds(frames, BLOCKS)) for frame in fold.val}
    return [number[frame.path] for frame in frames]


def record(session: Session, trainer: Trainer, recipe: Recipe, held: set[int]) -> dict[str, Any]:
    """A training with some frames left out, by their places: outcomes of these at ten rungs, as bytes, and seconds."""
    frames = session.frames.labelled
    train_frames = tuple(frame for place, frame in enumerate(frames) if place not in held)
    split = Split(train_frames, tuple(frames[place] for place in sorted(held)))
    truth, bank = Truth.of(split.val, session.frames.classes), trainer.bank(Training(recipe, split))
    rungs = {max(round(recipe.all_epochs * rung / RUNGS), 1) for rung in range(1, RUNGS + 1)}
    kept, seconds = {}, 0.0
    for epoch in train(recipe, bank, trainer.device, new_heads(recipe, bank, trainer.device)):
        seconds += epoch.seconds
        if epoch.number in rungs:
            iou, correct = truth.outcomes(epoch.outputs).T
            kept[epoch.number] = [(iou * 255).round().astype(int).tolist(), correct.astype(int).tolist()]
    return {"outcomes": kept, "seconds": seconds}


def todo(study: optuna.Study, count: int) -> Iterator[tuple[int, int]]:
    """Pairs and recipes that were not recorded yet; pair by pair, so that blocks become whole one after another."""
    for pair in range(len(PAIRS)):
        for recipe in range(count):
            complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
            if (recipe, pair) not in {(trial.user_attrs["recipe"], trial.user_attrs["pair"]) for trial in complete}:
                yield pair, recipe


def write(study: optuna.Study, path: Path) -> None:
    """The table, from all that was recorded; where a recipe was not trained with a pair, its seconds are 0."""
    block, count = np.array(study.user_attrs["blocks"]), len(study.user_attrs["recipes"])
    shape = (count, len(PAIRS), len(block))
    iou, correct, seconds = np.zeros(shape, np.uint8), np.zeros(shape, bool), np.zeros(shape[:2], np.float32)
    curve = np.zeros((*shape[:2], RUNGS, 2), np.float32)  # the score on either block, rung by rung
    for trial in study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
        place = trial.user_attrs["recipe"], trial.user_attrs["pair"]
        held = np.isin(block, PAIRS[place[1]])
        rows = [np.array(both) for _, both in sorted(trial.user_attrs["outcomes"].items(), key=lambda row: int(row[0]))]
        iou[place][held], correct[place][held] = rows[-1][0], rows[-1][1]
        seconds[place] = trial.user_attrs["seconds"]
        for side, one in enumerate(PAIRS[place[1]]):
            each = [(both[0] / 255 + both[1])[block[held] == one].mean() / 2 for both in rows]
            curve[place][:, side] = np.interp(np.linspace(1, len(each), RUNGS), np.arange(len(each)) + 1, each)
    kind = [f"{recipe.get('schedule', 'constant')} {recipe.get('looks', 1)}" for recipe in study.user_attrs["recipes"]]
    np.savez_compressed(path, iou=iou, correct=correct, seconds=seconds, curve=curve, blocks=block, kind=np.array(kind))


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--study", default="sqlite:///selection.db", metavar="URL")
    parser.add_argument("--bank", type=Path)
    parser.add_argument("--worker", default="1/1", metavar="I/N")
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}, and train nothing")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="selection", storage=options.study, load_if_exists=True)
    if options.write:
        write(study, TABLE)
        return
    torch.set_num_threads(1)
    beyond = spaces.load("beyond", spaces.default_folder())
    session = open_session(beyond, None, data=options.data, weights=options.weights, views=VIEWS * 2)
    inputs = replace(session.inputs(options.bank), views=VIEWS)
    trainer, chosen, block = Trainer(inputs, torch.device("cpu")), recipes(), blocks(session.frames.labelled)
    study.set_user_attr("blocks", block)
    study.set_user_attr("recipes", [recipe.to_json() for recipe in chosen])
    mine, of = map(int, options.worker.split("/"))
    for pair, number in todo(study, len(chosen)):
        if (pair * len(chosen) + number) % of == mine % of:
            trial, held = study.ask(), {place for place, its in enumerate(block) if its in PAIRS[pair]}
            for name, value in record(session, trainer, chosen[number], held).items():
                trial.set_user_attr(name, value)
            trial.set_user_attr("recipe", number)
            trial.set_user_attr("pair", pair)
            study.tell(trial, 0.0)
            print(f"pair {pair}, recipe {number}: {trial.user_attrs['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
