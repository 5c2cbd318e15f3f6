"""Disks that are full, for real: one clear line, nothing corrupt, and all goes on once there is room."""

import sqlite3
import subprocess
from pathlib import Path

import pytest
import torch
from faults import Place, Search, assert_one_line, assert_whole, feature_bytes, files, fill, resize, small_disk, until
from tiny import SPACE, search

from milair.errors import MilairError, OutsideError
from milair.features.bank import open_bank
from milair.frames.frame import Split
from milair.model import backbones, checkpoint
from milair.model.detector import Detector
from milair.model.heads import Heads
from milair.model.preprocessing import Preprocessing
from milair.recipe import LinearHead, Recipe
from milair.study import kept

CPU = torch.device("cpu")
RECIPE = Recipe(backbone="squeezenet1_1", weights="random", image_size="64x48", cls_head=LinearHead("8"))


def test_a_bank_goes_on_where_a_full_disk_ended_it(tmp_path: Path, small_split: Split) -> None:
    def compute(folder: Path, progress: object = None) -> None:
        everything, options = small_split.train + small_split.val, {"folder": folder, "progress": progress}
        open_bank(RECIPE, small_split, "ab", frames=everything, views=3, source="", device=CPU, **options)  # type: ignore[arg-type]

    compute(tmp_path / "peace")
    with small_disk(tmp_path / "disk", 16) as disk:
        for pages in (0, 1, 2, 100, 300):  # what is left: not even a small file, a small file, a part of a batch
            fillers: list[Path] = []

            def full(*_: object, fillers: list[Path] = fillers, pages: int = pages) -> None:
                if not fillers:
                    fillers.append(fill(disk, leave=4096 * pages))

            with pytest.raises(OutsideError, match="No space left on device") as caught:
                compute(disk / str(pages), full)
            assert "\n" not in str(caught.value)
            fillers[0].unlink()
            compute(disk / str(pages))
            assert files(disk / str(pages)) == files(tmp_path / "peace")
            subprocess.run(["rm", "-r", str(disk / str(pages))], check=True)


def test_a_search_whose_banks_do_not_fit_goes_on_once_they_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "banks", 1) as disk:
        place = Place(tmp_path)
        assert search([*place.options, "--trials", "2"]) == 1
        line = capsys.readouterr().err
        assert line.startswith(f"milair: {disk}: ")
        assert "MB of features do not fit" in line
        assert line.count("\n") == 1
        assert place.states() == {"WAITING": 1}
        resize(disk, 16)
        assert search([*place.options, "--trials", "2"]) == 0
        assert_whole(place.trials(), 2)
        assert files(disk) == place.undisturbed(tmp_path / "peace")


@pytest.mark.faults
def test_a_search_whose_banks_have_no_room_any_more_goes_on_once_there_is_some(tmp_path: Path) -> None:
    with small_disk(tmp_path / "banks", 64) as disk:
        place = Place(tmp_path, text=SPACE.replace("64x48", "256x192"))
        options = [*place.options, "--views", "12", "--trials", "3"]
        with Search(options) as running:
            assert until(lambda: feature_bytes(disk) > 0 or running.over, pause=0.001)
            filler = fill(disk)
            assert_one_line(running, "No space left on device", str(disk))
            assert running.workers() == []
        assert place.states() == {"WAITING": 1}
        assert running.errors == f"milair: {place.trials()[0].user_attrs['error']}\n"
        filler.unlink()
        assert search(options) == 0
        assert_whole(place.trials(), 3)
        assert all(not kept.error(trial) for trial in place.trials())
        assert files(disk) == place.undisturbed(tmp_path / "peace", views=12)


def test_a_study_whose_database_has_no_room_goes_on_once_there_is_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "studies", 6) as disk:
        place = Place(tmp_path)
        options = ("--set", "epochs=30", "--set", "patience=30", "--trials", "6")
        filler = fill(disk)  # there is no study yet
        assert search([*place.options, *options]) == 1
        said = capsys.readouterr().err
        assert said.startswith("milair: ")
        assert "full" in said
        assert said.count("\n") == 1
        filler.unlink()
        with place.search(*options) as running:
            assert until(lambda: len(place.finished()) > 1 or running.over)
            before = place.finished()
            filler = fill(disk)
            assert_one_line(running, "the database of studies", "full")
            assert running.workers() == []
        assert search([*place.options, *options]) == 1
        assert capsys.readouterr().err == "milair: the database of studies: database or disk is full\n"
        filler.unlink()
        database = sqlite3.connect(disk / "milair.db")
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        database.close()
        assert before.items() <= place.finished().items()
        assert len(place.finished()) < 6
        assert search([*place.options, *options]) == 0
        assert before.items() <= place.finished().items()
        assert_whole(place.trials(), 6)


def test_an_old_checkpoint_stays_whole_where_a_new_one_has_no_room(tmp_path: Path) -> None:
    def detector(seed: int) -> Detector:
        torch.manual_seed(seed)
        backbone = backbones.build(RECIPE.feature_map)
        return Detector(Preprocessing(RECIPE.size), backbone, Heads(RECIPE, (512, 7, 7), 2), RECIPE, "ab").eval()

    picture = torch.zeros(1, 3, 48, 64, dtype=torch.uint8)
    with small_disk(tmp_path / "disk", 48) as disk, torch.inference_mode():
        checkpoint.save(disk / "model", detector(0), {})
        first = [part.tolist() for part in checkpoint.load(disk / "model", CPU)(picture)]
        filler = fill(disk, leave=1 << 20)
        with pytest.raises(MilairError, match="No space left on device; the model was not saved") as caught:
            checkpoint.save(disk / "model", detector(1), {})
        assert "\n" not in str(caught.value)
        assert [part.tolist() for part in checkpoint.load(disk / "model", CPU)(picture)] == first
        assert sorted(path.name for path in (disk / "model").iterdir()) == ["model.json", "model.safetensors"]
        filler.unlink()
        checkpoint.save(disk / "model", detector(1), {})
        assert [part.tolist() for part in checkpoint.load(disk / "model", CPU)(picture)] != first
