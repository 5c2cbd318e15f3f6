"""What do the document's own trainings come to, each repeated as it was, and does a search beyond them find better?

    python -m milair.search --study document --data DIR --weights DIR

To expect, on the competition's 189 frames with the ImageNet weights of SqueezeNet 1.0 and MobileNetV2: 47 recipes
trained, 6 that wait for weights. First seeds score from 0.68 to 0.85, the best few over three seeds 0.79 to 0.85. 4.1
hours on one core of an AMD EPYC, and half an hour for the features of all sizes. docs/document.md has them all.
"""

from functools import partial

from milair.recipe import Recipe

from ..joint import space as space
from .runs import CLAIMS, RUNS
from .sections import conclusions, linear_and_conv, published_figures

SPLIT = "stratified"
BASELINE = Recipe(normalisation="data")  # its best
FIRST = list(dict.fromkeys(run.recipe for run in RUNS))
SECTIONS = [partial(published_figures, RUNS), partial(conclusions, CLAIMS), partial(linear_and_conv, CLAIMS)]
