"""Trainings whose models are kept: one after the other in this process, or several at once by workers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from milair.model import zoo
from milair.model.backbones import Backbone
from milair.model.detector import Detector
from milair.model.extractor import Extractor
from milair.model.heads import on_meta
from milair.model.preprocessing import Preprocessing
from milair.recipe import Recipe
from milair.study.searching import Pool
from milair.training.in_process import Trainer
from milair.training.values import Died, Ended, Epoch, Features, Opened, Told, Trained, Training

Listen = Callable[[str, int, int, float | None, str], object]  # what, done and total steps, score, worker
Source = Callable[[Sequence[Training]], Iterator[tuple[int, str, Told]]]  # a training's number, its worker, its news


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training came to."""

    epochs: list[Epoch]  # without their outputs
    trained: Trained


def here(trainer: Trainer) -> Source:
    """By a trainer in this process, each when it is asked for."""

    def told(trainings: Sequence[Training]) -> Iterator[tuple[int, str, Told]]:
        for number, training in enumerate(trainings):
            for news in trainer.train(training):
                yield number, "", news

    return told


def by_workers(pool: Pool, say: Callable[[str], object]) -> Source:
    """By all workers of a pool at once. One that dies with its worker begins again; `say` is told why it died."""

    def told(trainings: Sequence[Training]) -> Iterator[tuple[int, str, Told]]:
        waiting, hands = list(range(len(trainings))), dict[str, int]()  # numbers, and those in hand by worker
        news = pool.listen()
        while waiting or hands:
            for name in [name for name in pool.names if name not in hands][: len(waiting)]:
                hands[name] = waiting.pop(0)
                pool.train(name, trainings[hands[name]])
            name, heard = next(news)
            if isinstance(heard, Died):
                say(heard.reason)
                waiting[:0] = [hands.pop(name)] if name in hands else []
            elif isinstance(heard, Ended):
                del hands[name]
                heard.check()
            elif name in hands:
                yield hands[name], name, heard

    return told


def outcomes(source: Source, trainings: Sequence[Training], listen: Listen) -> Iterator[Outcome]:
    """What each training came to, in their order, whichever ends first. MilairError if one fails."""
    news, epochs, ended = source(trainings), [list[Epoch]() for _ in trainings], dict[int, Trained]()
    for number in range(len(trainings)):
        while number not in ended:
            other, worker, told = next(news)
            if isinstance(told, Features):
                listen(told.what, told.done, told.total, None, worker)
            elif isinstance(told, Opened):
                epochs[other].clear()  # of a worker that died
            elif isinstance(told, Epoch):
                recipe = trainings[other].recipe
                epochs[other].append(replace(told, outputs=[]))
                listen(f"seed {recipe.seed}", told.number, recipe.all_epochs, told.score, worker)
            elif isinstance(told, Trained):
                ended[other] = told
        yield Outcome(epochs[number], ended.pop(number))


def detector(recipe: Recipe, trained: Trained, trainer: Trainer, backbones: dict[object, Backbone]) -> Detector:
    """The model of a training, on the trainer's device, wherever it was trained; `backbones` are shared."""
    inputs, key = trainer.inputs, (recipe.feature_map, recipe.weights)
    preprocessing = Preprocessing(recipe.size, trained.mean, trained.std)
    if key not in backbones:
        state = zoo.load_state(recipe.backbone, inputs.source) if recipe.weights == "pretrained" else None
        backbones[key] = Extractor.build(recipe, state, preprocessing, trainer.device).backbone
    first, *second = looks = on_meta(recipe, len(inputs.classes))
    for heads, arrays in zip(looks, trained.heads, strict=True):
        tensors = {name: torch.tensor(array, device=trainer.device) for name, array in arrays.items()}
        heads.load_state_dict(tensors, assign=True)
    return Detector(preprocessing, backbones[key], first, recipe, inputs.classes, *second)
