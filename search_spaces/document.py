"""What do the document's own trainings come to, each repeated as it was, and does a search beyond them find better?

    python -m milair.search --study document --data DIR --weights DIR

To expect, on the competition's 189 frames with ImageNet weights: 38 of the recipes scored from 0.643 to 0.818, the
best over three seeds 0.791 to 0.818, in four hours of one core of an AMD EPYC, and half an hour for the features of
all sizes. Nine that take longest were left out. docs/document.md has them all.
"""

from pathlib import Path

from milair.recipe import Recipe
from milair.runs import read, read_claims

from .joint import space as space

BASELINE = Recipe(normalisation="data")  # its best
RUNS = read(Path(__file__).with_suffix(".csv"))
CLAIMS = read_claims(Path(__file__).with_name("document_claims.csv"), RUNS)
