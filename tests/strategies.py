"""Hypothesis strategies for the values of milair."""

from __future__ import annotations

from hypothesis import strategies as st

from milair import ConvHead, DenseHead, LinearHead, Recipe
from milair.boxes import Box

linear_heads = st.lists(st.integers(1, 4096), max_size=5).map(lambda sizes: LinearHead("-".join(map(str, sizes))))
conv_heads = st.builds(ConvHead, blocks=st.integers(0, 64), filters=st.integers(1, 8192))
dense_heads = st.builds(
    DenseHead,
    channels=st.integers(1, 8192),
    blocks=st.integers(0, 16),
    dropout=st.floats(0, 1, exclude_max=True),
    cells=st.integers(0, 99),
)
heads = linear_heads | conv_heads | dense_heads
image_sizes = st.tuples(st.integers(32, 4096), st.integers(32, 4096)).map(lambda size: f"{size[0]}x{size[1]}")

recipes = st.builds(
    Recipe,
    backbone=st.sampled_from(["squeezenet1_0", "resnet18", "swin_t"]),
    weights=st.sampled_from(["pretrained", "random"]),
    pooling=st.sampled_from(["grid", "global", "own"]),
    normalisation=st.sampled_from(["imagenet", "data", "frames"]),
    grid=st.sampled_from(["7x7", "12x8", "full"]),
    stages=st.integers(1, 2),
    image_size=image_sizes,
    augmentations=st.integers(1, 1000),
    cls_head=heads,
    reg_head=heads,
    alpha=st.floats(0, 1),
    label_smoothing=st.floats(0, 1, exclude_max=True),
    box_loss=st.sampled_from(["iou", "giou", "ciou"]),
    l1=st.floats(0, 100),
    optimizer=st.sampled_from(["adam", "adamw"]),
    schedule=st.sampled_from(["constant", "cosine", "onecycle"]),
    warmup=st.floats(0, 1, exclude_max=True),
    ema=st.floats(0, 1, exclude_max=True),
    learning_rate=st.floats(0, 1, exclude_min=True),
    weight_decay=st.floats(0, 1),
    batch_size=st.integers(2, 65536),
    epochs=st.integers(1, 100_000),
    patience=st.integers(1, 100_000),
    seed=st.integers(0, 2**31 - 1),
    looks=st.integers(1, 2),
    crop_size=st.integers(32, 4096),
    crop_margin=st.floats(1, 4),
    iterations=st.integers(1, 10),
    decides=st.sampled_from(["first", "second", "mean"]),
)


@st.composite
def pixel_boxes(draw: st.DrawFn, width: int, height: int) -> tuple[int, int, int, int]:
    """A box of whole pixels in a width x height frame, at least one pixel large."""
    xmin, ymin = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return xmin, ymin, draw(st.integers(xmin + 1, width)), draw(st.integers(ymin + 1, height))


@st.composite
def share_boxes(draw: st.DrawFn, smallest: float = 0.01) -> Box:
    """A box in shares, its sides at least `smallest`."""
    xmin, ymin = draw(st.floats(0, 1 - smallest)), draw(st.floats(0, 1 - smallest))
    return xmin, ymin, draw(st.floats(xmin + smallest, 1)), draw(st.floats(ymin + smallest, 1))
