"""Fine-tuning: a trained model goes on, and the last blocks of its backbone with it.

Every step changes what the backbone makes of a picture, so no bank has its features: pictures are decoded again in
every epoch. Their views and boxes are the bank's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from milair.features.bank import Bank, Part
from milair.features.crops import Crops
from milair.features.views import Views
from milair.frames.frame import Frame, Split
from milair.model.detector import Detector
from milair.model.extractor import Extractor
from milair.model.heads import Heads
from milair.training import losses
from milair.training.optimisation import Optimisation
from milair.training.outputs import predicted
from milair.training.train import draw, seeded, steps
from milair.training.values import Metrics

EPOCHS = 2
_HEADS, _BACKBONE = 0.01, 0.03  # learning rates, as shares of the recipe's; heads at 0.1 overfit within an epoch


@dataclass(frozen=True, slots=True)
class _Look:
    """The heads of a look, and what they are trained on."""

    heads: Heads
    part: Part
    kind: Views | Crops

    def loss(self, model: Detector, frames: Sequence[Frame], views: Tensor, pictures: Tensor) -> Tensor:
        """The recipe's, for views of pictures that pass through the backbone now."""
        shown = [self.kind.show(frames[p], v) for p, v in zip(pictures.tolist(), views.tolist(), strict=True)]
        extract = Extractor(model.backbone, model.preprocessing, views.device)
        logits, boxes = self.heads(extract.with_gradients(torch.stack(shown)))
        labels, targets = self.part.labels[pictures], self.part.boxes[views, pictures]
        return losses.weighted(model.recipe, logits, boxes, labels, targets)


def finetune(model: Detector, blocks: int, bank: Bank, split: Split) -> Iterator[Metrics]:
    """Train a model's heads and the last `blocks` of its backbone: validation before that, then after each epoch.

    The model is then as it was validated: as it predicts, by all looks. Two looks are trained at once, by the sum of
    their losses, for they share the backbone. MilairError if that has fewer blocks."""
    recipe, pictures = model.recipe, [frame.picture for frame in split.val]
    looks = [_Look(model.heads, bank.train, Views(model.preprocessing))]
    if model.second is not None and bank.second is not None:
        looks.append(_Look(model.second, bank.second.train, Crops(recipe.crop_size)))
    model.backbone.to(memory_format=torch.channels_last)
    groups = [
        {"params": model.backbone.unfreeze(blocks), "lr": _BACKBONE * recipe.learning_rate},
        *({"params": look.heads.parameters(), "lr": _HEADS * recipe.learning_rate} for look in looks),
    ]
    gentle = replace(recipe, schedule="cosine", ema=0.0)
    optimisation = Optimisation(model, gentle, EPOCHS * steps(recipe, bank.train), groups)
    yield predicted(model, pictures).metrics(bank.val, recipe.alpha)
    for number in range(recipe.all_epochs + 1, recipe.all_epochs + EPOCHS + 1):
        with seeded(recipe.seed, number, bank.train.labels.device):
            model.train()
            batches = (draw(look.part, recipe.augmentations, recipe.batch_size) for look in looks)
            for batch in zip(*batches, strict=True):
                each = [look.loss(model, split.train, *drawn) for look, drawn in zip(looks, batch, strict=True)]
                optimisation.step(torch.stack(each).sum())
        yield predicted(model, pictures).metrics(bank.val, recipe.alpha)
