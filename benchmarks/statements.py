"""How much code there is: statements of milair/ and search_spaces/, counted by ast, room by room.

python benchmarks/statements.py [REV]      (REV: of git, else the working tree)
"""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent


def sources(rev: str | None) -> dict[str, str]:
    """Text of each product file, by its path."""
    listing = ["ls-files"] if rev is None else ["ls-tree", "-r", "--name-only", rev]
    paths = [path for path in _git(*listing, "milair", "search_spaces").splitlines() if path.endswith(".py")]
    return {path: (ROOT / path).read_text() if rev is None else _git("show", f"{rev}:{path}") for path in paths}


def statements(text: str) -> int:
    """Every ast.stmt: imports and docstrings too."""
    return sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(text)))


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    rooms: Counter[str] = Counter()
    for path, text in sources(sys.argv[1] if len(sys.argv) > 1 else None).items():
        parts = Path(path).parts
        rooms["/".join(parts[:2]) if len(parts) > 2 else parts[0]] += statements(text)
    for room, count in [*sorted(rooms.items()), ("all", rooms.total())]:
        print(f"{count:>6}  {room}")
