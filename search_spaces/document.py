"""What do the document's own trainings come to, each repeated as it was, and does a search beyond them find better?

python -m milair.search --study document --data DIR --weights DIR
"""

from pathlib import Path

from milair.recipe import Recipe
from milair.runs import read, read_claims

from .joint import space as space

BASELINE = Recipe(normalisation="data")  # its best
RUNS = read(Path(__file__).with_suffix(".csv"))
CLAIMS = read_claims(Path(__file__).with_name("document_claims.csv"), RUNS)
