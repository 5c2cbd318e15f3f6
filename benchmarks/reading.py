"""Reading and checking many frames, against globox, which reads annotations and checks nothing.

    .venv/bin/python benchmarks/reading.py --frames 20000

Writes small frames (64x48) with their annotations in each format to a folder, and reads every format in a process of
its own: first when no picture was ever seen, then again with what is remembered of them.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

CLASSES = ("f16", "cougar", "chinook")
SIZE = 64, 48
SIDES = "xmin", "ymin", "xmax", "ymax"


def write(folder: Path, count: int) -> None:
    """Frames and, in a folder for each format, their annotations; the pictures are shared by links."""
    pictures = folder / "pictures"
    pictures.mkdir()
    random = np.random.default_rng(0)
    rows = []
    for number in range(count):
        name = f"{number:06d}"
        noise = random.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(noise).resize(SIZE).save(pictures / f"{name}.jpg")
        left, top = random.integers(0, 30, 2).tolist()
        rows.append((name, CLASSES[number % 3], left, top, left + 20, top + 15))
    for layout in ("csv", "coco", "voc/annotations", "yolo/labels", "single"):
        (folder / layout).mkdir(parents=True)
    for layout in ("csv", "coco", "voc", "yolo", "single"):
        (folder / layout / "images").symlink_to(pictures)
    with (folder / "csv" / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("filename", "class", "xmin", "ymin", "xmax", "ymax"), *((f"{row[0]}.jpg", *row[1:]) for row in rows)]
        )
    ids = {name: number for number, name in enumerate(CLASSES)}
    images = [
        {"id": number, "file_name": f"{row[0]}.jpg", "width": SIZE[0], "height": SIZE[1]}
        for number, row in enumerate(rows)
    ]
    boxes = [
        {"id": number, "image_id": number, "category_id": ids[row[1]], "bbox": [row[2], row[3], 20, 15]}
        for number, row in enumerate(rows)
    ]
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    coco = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "coco" / "instances.json").write_text(json.dumps(coco))
    (folder / "yolo" / "classes.txt").write_text("\n".join(CLASSES))
    for name, label, left, top, right, bottom in rows:
        box = "".join(f"<{k}>{v}</{k}>" for k, v in zip(SIDES, (left, top, right, bottom), strict=True))
        size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
        (folder / "voc" / "annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename>{size}"
            f"<object><name>{label}</name><bndbox>{box}</bndbox></object></annotation>"
        )
        x, y = (left + right) / 2 / SIZE[0], (top + bottom) / 2 / SIZE[1]
        (folder / "yolo" / "labels" / f"{name}.txt").write_text(f"{ids[label]} {x} {y} {20 / SIZE[0]} {15 / SIZE[1]}\n")
        (folder / "single" / f"{name}.csv").write_text(
            "filename,width,height,class,xmin,ymin,xmax,ymax\n"
            f"{name},{SIZE[0]},{SIZE[1]},{label},{left},{top},{right},{bottom}\n"
        )


def milair(folder: Path, remember: Path | None) -> None:
    from milair.frames.read import check

    frames, faults = check(folder, remember=remember)
    assert frames.labelled, faults[:1]


def globox(folder: Path, _: Path | None) -> None:
    from globox import AnnotationSet

    if folder.name == "coco":
        AnnotationSet.from_coco(folder / "instances.json")
    elif folder.name == "voc":
        AnnotationSet.from_pascal_voc(folder / "annotations")
    else:
        AnnotationSet.from_yolo_v5(folder / "labels", image_folder=folder / "images")


def measured(work: Callable[[Path, Path | None], None], folder: Path, remember: Path | None) -> tuple[float, float]:
    """Seconds of the work and peak memory in MB of a fresh process that does it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_timed, (work, folder, remember))


def _timed(work: Callable[[Path, Path | None], None], folder: Path, remember: Path | None) -> tuple[float, float]:
    start = perf_counter()
    work(folder, remember)
    return perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--frames", type=int, default=20_000)
    options = made.parse_args()
    with tempfile.TemporaryDirectory() as made_here:
        folder = Path(made_here)
        write(folder, options.frames)
        print(f"{options.frames} frames{'first':>16}{'again':>16}{'globox':>16}")
        for layout in ("csv", "single", "coco", "voc", "yolo"):
            remember = folder / f"{layout}.db"
            runs = [measured(milair, folder / layout, remember), measured(milair, folder / layout, remember)]
            if layout in ("coco", "voc", "yolo"):
                runs.append(measured(globox, folder / layout, None))
            print(f"{layout:<12}" + "".join(f"{seconds:6.1f} s{memory:5.0f} MB" for seconds, memory in runs))


if __name__ == "__main__":
    main()
