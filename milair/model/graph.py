"""A whole model as one module on tensors, from the pixels of frames to boxes in pixels: what is exported.

Its two operations on pictures are Pillow's where torch runs them; in an ONNX graph they are those of resampling.py.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from milair.model import cascade
from milair.model.detector import Detector, Ensemble, cooled, grouped
from milair.model.preprocessing import Preprocessing


@torch.library.custom_op("milair::shrink", mutates_args=())
def shrink(pictures: Tensor, width: int, height: int) -> Tensor:
    """Pictures uint8 [n, rows, columns, 3], the aspect not kept: uint8 [n, 3, height, width]."""
    resize = Preprocessing((width, height)).resize
    return torch.stack([resize(picture).contiguous() for picture in images(pictures)])


@torch.library.custom_op("milair::cut", mutates_args=())
def cut(pictures: Tensor, crops: Tensor, side: int) -> Tensor:
    """What crops [n, 4], in shares, show of pictures uint8 [n, rows, columns, 3]: uint8 [n, 3, side, side]."""
    pairs = zip(images(pictures), crops.tolist(), strict=True)
    return torch.stack([cascade.cut(picture, crop, side).contiguous() for picture, crop in pairs])


@shrink.register_fake
def _(pictures: Tensor, width: int, height: int) -> Tensor:
    return pictures.new_empty(pictures.shape[0], 3, height, width)


@cut.register_fake
def _(pictures: Tensor, _crops: Tensor, side: int) -> Tensor:
    return pictures.new_empty(pictures.shape[0], 3, side, side)


def images(pictures: Tensor) -> list[Image.Image]:
    return [Image.fromarray(np.ascontiguousarray(picture)) for picture in pictures.numpy()]


class Graph(nn.Module):
    """Frames uint8 [n, height, width, 3], RGB and upright, of one size, to class probabilities [n, classes] and boxes
    [n, 4] in pixels, inside the frame and their corners in order. What `Model.predict` does, in tensors alone."""

    def __init__(self, model: Detector | Ensemble) -> None:
        super().__init__()
        members = [model] if isinstance(model, Detector) else list(model)
        self.members, self.flip = nn.ModuleList(members), isinstance(model, Ensemble) and model.flip
        self.temperature = model.temperature

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        members = [member for member in self.members if isinstance(member, Detector)]
        width, height = pictures.shape[2], pictures.shape[1]
        outputs = []
        for group in grouped(members, Detector.first_pass):
            features = self._seen(group[0], shrink(pictures, *group[0].preprocessing.size))
            outputs += [cascade.read(member.heads, features, flip=self.flip) for member in group]
        probabilities, boxes = cascade.mean(outputs)
        sizes = torch.stack([boxes.new_ones(()) * width, boxes.new_ones(()) * height])
        again = [member for member in members if member.second is not None]
        last = probabilities
        for iteration in range(max((member.recipe.iterations for member in again), default=0)):
            outputs = []
            looking = [member for member in again if iteration < member.recipe.iterations]
            for group in grouped(looking, Detector.second_pass):
                recipe = group[0].recipe
                crops = cascade.square(boxes, sizes.expand(boxes.shape[0], 2), recipe.crop_margin)
                features = self._seen(group[0], cut(pictures, crops, recipe.crop_size))
                outputs += [
                    cascade.read(member.second, features, crops, self.flip)
                    for member in group
                    if member.second is not None
                ]
            last, boxes = cascade.mean(outputs)
        if again:
            probabilities = cascade.decide(probabilities, last, again[0].recipe)
        return cooled(probabilities, self.temperature).float(), in_pixels(boxes, sizes)

    def _seen(self, member: Detector, pixels: Tensor) -> Tensor:
        """Features of pixels uint8 [n, 3, rows, columns], mirrored ones after them where the model flips."""
        shown = pixels.float() / 255
        normal = member.preprocessing.normalise(cascade.both(shown) if self.flip else shown)
        features: Tensor = member.backbone(normal)
        return features


def in_pixels(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Boxes [n, 4] in shares of frames of `sizes` [2] (width, height), in pixels inside the frame, corners in order."""
    corners = boxes.clamp(0, 1) * sizes.repeat(2)
    one, other = corners.chunk(2, dim=1)
    return torch.cat([torch.minimum(one, other), torch.maximum(one, other)], dim=1)
