"""The files of a search space: its own, and those beside it that it imports. Found by reading, without running any."""

import ast
from collections.abc import Iterator
from pathlib import Path

from milair.errors import MilairError, first_line

_PACKAGE = "search_spaces"  # what the folder is called while a space is loaded


def sources(name: str, folder: Path) -> dict[str, Path]:
    """Files by their names below `folder`: NAME.py or all of the folder NAME, and what these import, and so on.

    MilairError if there is no such space, or a file is no Python."""
    files, waiting = dict[str, Path](), [name]
    while waiting:
        unit = waiting.pop()
        own = _unit(unit, folder)
        if unit == name and not own:
            raise MilairError(f"{folder / name}.py: there is no such search space; --spaces DIR names its folder")
        for path in own:
            below = path.relative_to(folder)
            if below.as_posix() not in files:
                files[below.as_posix()] = path
                waiting += _imports(path, below.parent.parts) if path.suffix == ".py" else []
    return files


def _unit(name: str, folder: Path) -> list[Path]:
    """The file of a module, or all files of a package, but for hidden ones and compiled ones; none of others."""
    if (file := folder / f"{name}.py").is_file():
        return [file]
    if not (folder / name / "__init__.py").is_file():
        return []
    return [
        path
        for path in sorted((folder / name).rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(folder).parts)
    ]


def _imports(path: Path, package: tuple[str, ...]) -> Iterator[str]:
    """Names at the top of the folder that a file, of a package below it, may import."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise MilairError(f"{path}: cannot be read as Python ({first_line(error)})") from None
    for node in ast.walk(tree):
        for dotted in _dotted(node, package):
            yield dotted[0]


def _dotted(node: ast.AST, package: tuple[str, ...]) -> Iterator[list[str]]:
    """What a node imports from the folder, as parts of dotted names."""
    if isinstance(node, ast.Import):
        for name in node.names:
            first, *rest = name.name.split(".")
            if first == _PACKAGE and rest:
                yield rest
    elif isinstance(node, ast.ImportFrom):
        parts = node.module.split(".") if node.module else []
        if node.level == 0 and parts[:1] != [_PACKAGE]:
            return
        base = list(package[: len(package) - node.level + 1]) + parts if node.level else parts[1:]
        yield from [base] if base else ([name.name] for name in node.names)
