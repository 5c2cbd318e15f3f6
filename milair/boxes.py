"""Boxes as plain values: (xmin, ymin, xmax, ymax), in pixels of the frame or as shares of it (0 to 1)."""

Box = tuple[float, float, float, float]


def to_shares(box: Box, width: int, height: int) -> Box:
    """A box in pixels of a width x height frame, as shares of it."""
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def to_pixels(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """A box in shares as whole pixels inside the frame, its corners in order and at least one pixel apart."""
    left, right = _side(box[0], box[2], width)
    top, bottom = _side(box[1], box[3], height)
    return left, top, right, bottom


def _side(low: float, high: float, length: int) -> tuple[int, int]:
    low, high = sorted((low, high))
    first = min(max(round(low * length), 0), length - 1)
    return first, max(min(round(high * length), length), first + 1)
