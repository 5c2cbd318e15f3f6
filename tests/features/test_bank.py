"""The bank: what a picture's views really are, computed once, whoever is killed while computing it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from milair import ConvHead, LinearHead, MilairError, Recipe
from milair.errors import OutsideError
from milair.features import bank
from milair.features import table as table_
from milair.features import views as augmentation
from milair.features.bank import Bank, Part
from milair.frames.frame import Frame, Split
from milair.frames.pictures import Picture, look_at
from milair.model import backbones
from milair.model.preprocessing import IMAGENET_MEAN, Preprocessing
from milair.recipe import FeatureMap

RECIPE = Recipe(backbone="squeezenet1_1", weights="random", image_size="64x48", augmentations=2)
CPU = torch.device("cpu")


def load(split: Split, folder: Path, recipe: Recipe = RECIPE, views: int = 3, source: str = "nowhere") -> Bank:
    frames = split.train + split.val
    return bank.open_bank(recipe, split, "ab", frames=frames, views=views, source=source, folder=folder, device=CPU)


def table(folder: Path) -> Path:
    """The table of features in a folder with one bank."""
    (path,) = folder.glob("*/features.f32")
    return path


def features(part: Part) -> torch.Tensor:
    """[views + 1, n, channels, rows, columns], as a training gathers them."""
    return part.rows[part.index]


@pytest.mark.parametrize("normalisation", ["imagenet", "data"])
def test_a_row_is_what_the_backbone_makes_of_that_view(small_split: Split, tmp_path: Path, normalisation: str) -> None:
    found = load(small_split, tmp_path, RECIPE.override({"normalisation": normalisation}))
    backbone = backbones.build(FeatureMap("squeezenet1_1", "grid"))
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (found.mean, found.std))
    for part, frames in ((found.train, small_split.train), (found.val, small_split.val)):
        for index, frame in enumerate(frames):
            pixels = np.asarray(Image.open(frame.path).convert("RGB").resize((64, 48), Image.Resampling.BILINEAR))
            for number in range(part.views + 1):
                view = augmentation.view(frame.picture.content, number)
                picture = augmentation.apply(view, torch.tensor(pixels).permute(2, 0, 1) / 255)
                expected = backbone(((picture - mean) / std)[None])[0]
                assert torch.allclose(features(part)[number, index], expected, atol=1e-5)
                box, share = augmentation.move(view, frame.box)
                assert torch.allclose(part.boxes[number, index], torch.tensor(box))
                assert part.seen[number, index] == (share >= 0.5)


def test_features_are_what_they_were_bit_for_bit(small_split: Split, tmp_path: Path) -> None:
    """One picture at a time, channels last: other batches and layouts add up to other last digits.

    The figures are those of the bank before its rows were found by content."""
    train = features(load(small_split, tmp_path).train)
    assert train.double().mean((1, 2, 3, 4)).tolist() == pytest.approx([0.29795690, 0.23005711, 0.22076740, 0.21403523])
    assert train[3, 7, 0, 2, 3].item() == pytest.approx(0.67408276)
    backbone = backbones.build(FeatureMap("squeezenet1_1", "grid")).to(memory_format=torch.channels_last)
    preprocessing = Preprocessing((64, 48))
    for index, frame in enumerate(small_split.train):
        for number in range(4):
            shown = augmentation.view(frame.picture.content, number)
            picture = augmentation.apply(shown, preprocessing.decode(frame.path).float() / 255)
            normal = preprocessing.normalise(picture[None]).contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                assert torch.equal(train[number, index], backbone(normal)[0])


def test_a_bank_of_before_there_were_grids_and_stages_is_found(small_split: Split, tmp_path: Path) -> None:
    """By the key that it had then."""
    load(small_split, tmp_path)
    assert table(tmp_path).parent.name == "10e6e2e8ede46a28c38f0a9f"


def test_shapes_labels_and_classes(small_split: Split, tmp_path: Path) -> None:
    found = load(small_split, tmp_path)
    assert features(found.train).shape == (4, 10, 512, 7, 7)
    assert features(found.val).shape == (1, 4, 512, 7, 7)
    assert found.shape == (512, 7, 7)
    assert (found.train.views, found.val.views, len(found.train), len(found.val)) == (3, 0, 10, 4)
    assert found.train.labels.tolist() == [0, 1] * 5
    assert found.classes == ("a", "b")
    assert found.train.rows.dtype == found.train.boxes.dtype == torch.float32
    assert found.computed == 4 * (10 + 4)
    assert found.megabytes == pytest.approx(56 * 512 * 49 * 4 / 1e6)


def test_the_datas_own_statistics_against_numpy(small_split: Split, tmp_path: Path) -> None:
    pictures = np.stack(
        [np.asarray(Image.open(frame.path).resize((64, 48), Image.Resampling.BILINEAR)) for frame in small_split.train]
    )
    found = load(small_split, tmp_path, replace(RECIPE, normalisation="data"))
    assert found.mean == pytest.approx((pictures / 255).mean((0, 1, 2)))
    assert found.std == pytest.approx((pictures / 255).std((0, 1, 2)))
    assert load(small_split, tmp_path).mean == IMAGENET_MEAN


def test_the_second_load_computes_nothing_and_finds_the_same(small_split: Split, tmp_path: Path) -> None:
    first, second = load(small_split, tmp_path), load(small_split, tmp_path)
    assert second.computed == 0
    assert torch.equal(features(first.train), features(second.train))
    assert torch.equal(features(first.val), features(second.val))


def test_more_views_are_appended_and_fewer_are_a_part_of_what_is_there(small_split: Split, tmp_path: Path) -> None:
    few = load(small_split, tmp_path, views=2)
    before = table(tmp_path).read_bytes()
    many = load(small_split, tmp_path, views=5)
    assert many.computed == 3 * 14
    assert table(tmp_path).read_bytes().startswith(before)
    assert len(table(tmp_path).read_bytes()) == len(before) * 2
    again = load(small_split, tmp_path, views=2)
    assert again.computed == 0
    assert torch.equal(features(few.train), features(again.train))
    at_once = load(small_split, tmp_path / "at once", views=5)
    assert torch.equal(features(many.train), features(at_once.train))


@pytest.mark.parametrize("normalisation", ["imagenet", "frames"])
def test_another_split_of_the_same_frames_finds_its_features(
    small_split: Split, tmp_path: Path, normalisation: str
) -> None:
    recipe = RECIPE.override({"normalisation": normalisation})
    load(small_split, tmp_path / "bank", recipe)
    frames = small_split.train + small_split.val
    everything = Split(frames, small_split.val)  # as retraining --on all
    for split in (Split(frames[4:], frames[:4]), Split(frames[::2], frames[1::2]), everything):
        other = bank.open_bank(
            recipe, split, "ab", frames=frames, views=3, source="", folder=tmp_path / "bank", device=CPU
        )
        assert other.computed == 0
        alone = load(split, tmp_path / f"{len(split.train)}{split.train[0].label}", recipe)
        if normalisation == "imagenet":
            assert torch.equal(features(other.train), features(alone.train))
            assert torch.equal(features(other.val), features(alone.val))
        assert torch.equal(other.train.boxes, alone.train.boxes)


def test_more_frames_compute_only_what_is_new(small_split: Split, tmp_path: Path) -> None:
    few = Split(small_split.train[3:], small_split.val[1:])
    first = load(few, tmp_path)
    more = load(small_split, tmp_path)
    assert (first.computed, more.computed) == (4 * 10, 4 * 4)
    assert torch.equal(features(more.train)[:, 3:], features(first.train))
    assert load(few, tmp_path).computed == 0


def test_the_same_picture_twice_is_computed_once(small_split: Split, tmp_path: Path) -> None:
    twice = Split((*small_split.train, small_split.train[0]), small_split.val)
    rows = features(load(twice, tmp_path).train)
    assert torch.equal(rows[:, 0], rows[:, 10])
    assert len(table(tmp_path).read_bytes()) == 56 * 512 * 49 * 4


def test_frames_are_normalised_by_their_own_statistics_whatever_the_split(small_split: Split, tmp_path: Path) -> None:
    frames = small_split.train + small_split.val
    recipe = replace(RECIPE, normalisation="frames")
    means = [load(split, tmp_path, recipe).mean for split in (small_split, Split(frames, ()))]
    assert means[0] == means[1]
    assert means[0] == load(Split(frames, small_split.val), tmp_path, replace(RECIPE, normalisation="data")).mean


def test_a_picture_that_changed_since_it_was_read_is_refused(small_split: Split, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (80, 60), (1, 2, 3)).save(path)
    split = Split((*small_split.train[:4], Frame(look_at(path), "a", (0, 0, 1, 1))), small_split.val)
    content = path.read_bytes()
    Image.new("RGB", (80, 60), (1, 2, 4)).save(path)
    with pytest.raises(OutsideError) as refused:
        load(split, tmp_path / "bank")
    assert str(refused.value) == f"{path} changed since it was read; start again"
    path.write_bytes(content)
    assert load(split, tmp_path / "bank").computed > 0
    path.unlink()
    assert load(split, tmp_path / "bank").computed == 0  # its features are there


def test_a_gpu_gets_a_copy_of_the_rows_that_a_part_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_, "BATCH", 4)
    rows, index = torch.rand(20, 2, 3, 3), torch.tensor([[19, 3, 7, 3], [0, 4, 11, 19]])
    copy, new = table_._copied(rows, index, CPU)
    assert len(copy) == 6
    assert torch.equal(copy[new], rows[index])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_on_a_gpu_a_row_does_not_depend_on_what_else_is_computed(small_split: Split, tmp_path: Path) -> None:
    frames, device = small_split.train + small_split.val, torch.device("cuda")
    few = Split(small_split.train[3:], small_split.val[1:])
    parts = []
    for name, splits in (("at once", [small_split]), ("in turn", [few, small_split])):
        for split in splits:
            used = frames if split is small_split else split.train + split.val
            opened = bank.open_bank(
                RECIPE, split, "ab", frames=used, views=3, source="", folder=tmp_path / name, device=device
            )
        parts.append(opened.train)
    assert torch.equal(*map(features, parts))


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "squeezenet1_0"},
        {"pooling": "own"},
        {"grid": "full"},
        {"stages": 2},
        {"normalisation": "data"},
        {"image_size": "48x64"},
    ],
)
def test_what_features_depend_on_has_a_bank_of_its_own(
    small_split: Split, tmp_path: Path, change: dict[str, Any]
) -> None:
    load(small_split, tmp_path)
    recipe = Recipe.from_json(RECIPE.to_json() | change)
    assert load(small_split, tmp_path, recipe).computed == (44 if "normalisation" in change else 56)
    assert load(small_split, tmp_path).computed == 0


def test_what_features_do_not_depend_on_shares_a_bank(small_split: Split, tmp_path: Path) -> None:
    load(small_split, tmp_path)
    other = replace(
        RECIPE,
        augmentations=1,
        cls_head=LinearHead("8"),
        reg_head=ConvHead(0),
        alpha=0.1,
        learning_rate=0.1,
        weight_decay=0.0,
        batch_size=2,
        epochs=1,
        patience=1,
        seed=7,
    )
    assert load(small_split, tmp_path, other).computed == 0


def test_weights_count_by_content_and_not_by_place(small_split: Split, tmp_path: Path) -> None:
    recipe = replace(RECIPE, weights="pretrained")
    one, other = (torchvision.models.squeezenet1_1(weights=None).state_dict() for _ in range(2))
    for name, state in (("a", one), ("b", one), ("c", other)):
        (tmp_path / name).mkdir()
        torch.save(state, tmp_path / name / "squeezenet1_1.pth")
    computed = [load(small_split, tmp_path / "bank", recipe, source=str(tmp_path / name)).computed for name in "abc"]
    assert computed == [56, 0, 56]


def test_pictures_count_by_content_and_boxes_and_labels_not_at_all(small_split: Split, tmp_path: Path) -> None:
    load(small_split, tmp_path / "bank")
    moved = []
    for frame in small_split.train:
        path = tmp_path / f"moved-{frame.path.name}"
        path.write_bytes(frame.path.read_bytes())
        moved.append(replace(frame, picture=look_at(path), label="b", box=(0.0, 0.0, 0.5, 1.0)))
    found = load(Split(tuple(moved), small_split.val), tmp_path / "bank")
    assert found.computed == 0
    assert found.train.labels.tolist() == [1] * 10
    assert found.train.boxes[0].tolist() == [[0, 0, 0.5, 1]] * 10
    Image.new("RGB", (80, 60)).save(moved[3].path)
    moved[3] = replace(moved[3], picture=look_at(moved[3].path))
    assert load(Split(tuple(moved), small_split.val), tmp_path / "bank").computed == 4  # views of one picture


def test_an_object_that_has_left_the_view_is_not_seen(small_split: Split, tmp_path: Path) -> None:
    box = (0.01, 0.25, 0.05, 0.75)
    split = Split(tuple(replace(frame, box=box) for frame in small_split.train), small_split.val)
    seen = load(split, tmp_path, views=8).train.seen
    assert seen[0].all()
    picture = torch.zeros(3, 40, 400)
    picture[:, 10:30, 4:20] = 1
    for index, frame in enumerate(split.train):
        for number in range(9):
            view = augmentation.view(frame.picture.content, number)
            shown = augmentation.apply(replace(view, brightness=0.0, contrast=1.0, blur=False), picture)
            share = shown.sum().item() / (picture.sum().item() * view.scale**2)
            assert seen[number, index] == (share > 0.5), (view, share)
    assert not seen.all()


def test_progress_comes_to_its_total(small_split: Split, tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    bank.open_bank(
        RECIPE,
        small_split,
        "ab",
        frames=small_split.train + small_split.val,
        views=3,
        source="nowhere",
        folder=tmp_path,
        device=CPU,
        progress=lambda what, done, total: said.append((what, done, total)),
    )
    assert said == [("features", 32, 56), ("features", 56, 56)]


@pytest.mark.parametrize("kind", ["cut", "png", "empty", "gone"])
def test_a_picture_that_cannot_be_decoded_is_named_and_the_bank_is_free_again(
    small_split: Split, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"{kind}.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(
        path, "PNG" if kind == "png" else "JPEG"
    )
    content = path.read_bytes()
    path.write_bytes(b"" if kind == "empty" else content[: len(content) // 2])
    if kind == "gone":
        path.unlink()
    picture = Picture(path, 80, 60, "RGB", 1, b"", b"")  # what was known of it before it broke
    split = Split((*small_split.train[:4], Frame(picture, "a", (0, 0, 1, 1))), small_split.val)
    for _ in range(2):
        with pytest.raises(MilairError) as refused:
            load(split, tmp_path / "bank")
        assert str(refused.value).startswith(f"{path} ")
        assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pictures_of_every_mode_keep_their_light(tmp_path: Path, mode: str) -> None:
    """A grey ramp from black to white is that, however it is stored."""
    ramp = np.linspace(0, 255, 256).astype(np.uint8)[None].repeat(64, 0)
    picture = Image.fromarray(ramp)
    if mode == "I;16":
        picture = Image.fromarray(ramp.astype(np.uint16) * 257)
    elif mode in ("CMYK", "P", "RGBA"):
        picture = picture.convert("RGB").convert(mode)
    else:
        picture = picture.convert(mode)
    picture.save(tmp_path / "a.tiff")
    columns = Preprocessing((64, 64)).decode(tmp_path / "a.tiff").float().mean((0, 1))
    assert np.abs(columns.numpy() - np.linspace(0, 255, 64)).max() < (60 if mode in "1P" else 4)


def test_a_transparent_palette_is_read_without_a_warning(tmp_path: Path) -> None:
    picture = Image.new("P", (40, 40), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.save(tmp_path / "a.png", transparency=b"\x00\x80")
    assert Preprocessing((32, 32)).decode(tmp_path / "a.png")[:, 5, 5].tolist() == [10, 20, 30]


def test_a_large_picture_is_read_without_a_warning_and_a_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (80, 60), (9, 9, 9)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 80 * 60 - 1)
    assert Preprocessing((32, 32)).decode(tmp_path / "a.png").eq(9).all()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 80 * 60 // 2 - 1)
    with pytest.raises(MilairError, match=r"a\.png is too large to decode safely"):
        Preprocessing((32, 32)).decode(tmp_path / "a.png")


@pytest.mark.parametrize(
    "damage",
    [
        "no features",
        "half the features",
        "half a row",
        "an empty rows.index",
        "no rows.index",
        "half a record",
        "no record of the last rows",
    ],
)
def test_a_damaged_bank_is_mended(small_split: Split, tmp_path: Path, damage: str) -> None:
    load(small_split, tmp_path)
    path = table(tmp_path)
    whole, index = path.read_bytes(), path.parent / "rows.index"
    if damage == "no features":
        path.unlink()
    elif damage == "half the features":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "half a row":
        path.write_bytes(whole[:-1000])
    elif damage == "an empty rows.index":
        index.write_text("")
    elif damage == "no rows.index":
        index.unlink()
    else:
        index.write_bytes(index.read_bytes()[: -18 if damage == "half a record" else -36 * 5])
    found = load(small_split, tmp_path)
    assert path.read_bytes() == whole
    assert found.train.rows.numpy().tobytes() == whole


def test_the_index_grows_only_after_the_features_reached_the_disk(
    small_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, int]] = []

    def sync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        synced.append((path.name, path.stat().st_size))
        if path.name == "features.f32":
            assert path.with_name("rows.index").stat().st_size < 36 * synced[-1][1] / (4 * 512 * 49)

    monkeypatch.setattr("os.fsync", sync)
    load(small_split, tmp_path)
    assert [name for name, _ in synced] == ["features.f32", "rows.index"] * 2
    assert [size for _, size in synced[2:]] == [56 * 4 * 512 * 49, 56 * 36]


# A child of this is forked for each build, so that importing torch is paid for once.
PROGRAM = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from milair.features import bank
from milair.features import table as table_
from milair.frames.frame import Frame, Split
from milair.frames.pictures import look_at
from milair.recipe import Recipe

torch.set_num_threads(1)
task = json.loads(sys.argv[1])
frames = tuple(Frame(look_at(Path(path)), "a", (0.2, 0.2, 0.8, 0.8)) for path in task["pictures"])
split, folder = Split(frames, frames[:3]), Path(task["folder"])

def load():
    recipe = Recipe.from_json(task["recipe"])
    return bank.open_bank(
        recipe, split, ("a",), frames=frames, views=task["views"], source="", folder=folder, device=torch.device("cpu")
    )

def rows():
    return max([path.stat().st_size // 36 for path in folder.glob("*/rows.index")], default=0)

def killed(moment):
    before, child = rows(), os.fork()
    if not child:
        load()
        os._exit(0)
    while rows() == before and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.002)
    time.sleep(moment)
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
    return rows()

def together(count):
    children = []
    for _ in range(count):
        reader, writer = os.pipe()
        if not os.fork():
            os.write(writer, str(load().computed).encode())
            os._exit(0)
        os.close(writer)
        children.append(reader)
    return [int(os.read(reader, 99)) for reader in children]

if task["kills"]:
    draw = random.Random(task["seed"])
    print(json.dumps([killed(draw.uniform(0, 0.15)) for _ in range(task["kills"])]))
else:
    print(json.dumps(together(2)))
"""


def run(split: Split, folder: Path, kills: int, views: int) -> list[int]:
    task = {
        "pictures": [str(frame.path) for frame in split.train],
        "folder": str(folder),
        "recipe": RECIPE.to_json(),
        "kills": kills,
        "views": views,
        "seed": 1,
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(task)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    numbers: list[int] = json.loads(done.stdout)
    return numbers


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """More pictures than fit a batch."""
    folder = tmp_path_factory.mktemp("forty")
    frames = []
    for number in range(40):
        path = folder / f"{number}.png"
        noise = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        frames.append(Frame(look_at(path), "a", (0.2, 0.2, 0.8, 0.8)))
    return Split(tuple(frames), tuple(frames[:3]))


def test_a_bank_killed_again_and_again_is_in_the_end_the_bank_of_one_that_was_not(forty: Split, tmp_path: Path) -> None:
    views, total = 12, 13 * 40
    rows = run(forty, tmp_path / "killed", kills=5, views=views)
    assert rows == sorted(rows)
    assert any(0 < done < total for done in rows), rows
    mended = load(forty, tmp_path / "killed", views=views)
    assert mended.computed == total - rows[-1]
    load(forty, tmp_path / "whole", views=views)
    assert table(tmp_path / "killed").read_bytes() == table(tmp_path / "whole").read_bytes()
    assert load(forty, tmp_path / "killed", views=views).computed == 0


def test_two_processes_at_once_build_a_bank_once(forty: Split, tmp_path: Path) -> None:
    assert sum(run(forty, tmp_path / "shared", kills=0, views=3)) == 4 * 40
    load(forty, tmp_path / "alone", views=3)
    assert table(tmp_path / "shared").read_bytes() == table(tmp_path / "alone").read_bytes()
