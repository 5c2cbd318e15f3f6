"""What do the document's own trainings come to, each repeated as it was, and does a search beyond them find better?

    python -m milair.search --study document --data DIR --weights DIR

To expect, on the competition's 189 frames with the ImageNet weights of SqueezeNet 1.0 and MobileNetV2: 47 recipes
trained, 6 that wait for weights. First seeds score from 0.68 to 0.85, the best few over three seeds 0.79 to 0.85. 4.1
hours on one core of an AMD EPYC, and half an hour for the features of all sizes. docs/document.md has them all.
"""

from pathlib import Path

from milair.recipe import Recipe
from milair.runs import read, read_claims

from .joint import space as space

BASELINE = Recipe(normalisation="data")  # its best
RUNS = read(Path(__file__).with_suffix(".csv"))
CLAIMS = read_claims(Path(__file__).with_name("document_claims.csv"), RUNS)
