"""Pictures as a backbone takes them: decoded, resized, scaled per channel."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from milair.errors import MilairError, OutsideError
from milair.frames.pictures import Picture, Unreadable, open_rgb

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LEAST_STD = 1 / 255  # of a channel that is the same everywhere, as in false-colour frames

AnyPicture = Picture | Path | str | Image.Image | np.typing.NDArray[np.uint8]  # an array is [height, width, 3], RGB


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What is done to each picture before it passes through a backbone."""

    size: tuple[int, int]  # width, height in pixels
    mean: tuple[float, ...] = IMAGENET_MEAN  # per channel, of pictures in 0–1
    std: tuple[float, ...] = IMAGENET_STD

    def decode(self, picture: AnyPicture) -> torch.Tensor:
        """uint8 [3, height, width], resized without keeping the aspect. Errors are those of `opened`."""
        return self.resize(opened(picture))

    def resize(self, shown: Image.Image) -> torch.Tensor:
        """uint8 [3, height, width] of a picture that is upright and RGB."""
        return torch.from_numpy(np.array(shown.resize(self.size, Image.Resampling.BILINEAR))).permute(2, 0, 1)

    def normalise(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures [n, 3, height, width] in 0–1, scaled per channel."""
        return (pictures - pictures.new_tensor(self.mean)[:, None, None]) / pictures.new_tensor(self.std)[:, None, None]


def opened(picture: AnyPicture) -> Image.Image:
    """A picture as it is shown: turned as its EXIF says, RGB.

    OutsideError names a file that cannot be decoded, or is not the one that a `Picture` was read from. MilairError
    refuses an array that is no picture, and a PIL picture of more than 8 bits a channel."""
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.shape[2:] != (3,) or not picture.size:
            raise MilairError(f"a picture is {picture.dtype} {picture.shape}; it must be uint8 [height, width, 3]")
        return Image.fromarray(picture)
    if isinstance(picture, Image.Image):
        if picture.mode[0] in "IF":
            raise MilairError(f"a picture holds numbers of mode {picture.mode}; convert it to 8 bits a channel")
        return ImageOps.exif_transpose(picture).convert("RGB")
    path = picture.path if isinstance(picture, Picture) else Path(picture)
    try:
        shown = open_rgb(path)
    except Unreadable as error:
        raise OutsideError(f"{path} {error}") from None
    if isinstance(picture, Picture) and sha256(path.read_bytes()).digest() != picture.content:
        raise OutsideError(f"{path} changed since it was read; start again")
    return shown


@lru_cache(maxsize=8)  # each trial opens its bank, and to decode thousands of pictures takes minutes
def statistics(pictures: tuple[Picture, ...], size: tuple[int, int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of pictures of `size`, in 0–1."""
    preprocessing, sums = Preprocessing(size), torch.zeros(2, 3, dtype=torch.float64)
    for picture in pictures:
        values = preprocessing.decode(picture).double() / 255
        sums += torch.stack([values.mean((1, 2)), values.square().mean((1, 2))])
    mean, square = sums / len(pictures)
    std = (square - mean.square()).clamp(min=_LEAST_STD**2).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())
