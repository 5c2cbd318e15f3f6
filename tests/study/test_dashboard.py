"""What a search writes for optuna-dashboard: notes, pictures and tables of trials, notes and figures of the study."""

import csv
import io
import json
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import optuna_dashboard
import pytest
from optuna.trial import FrozenTrial, TrialState
from PIL import Image
from tiny import SPACE, load, make, search

from milair import api, studies
from milair.study import artifacts, dashboard, drawing, kept, notes, storage

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study of three trials; nothing in it changes."""
    folder = tmp_path_factory.mktemp("searched")
    assert search(make(folder), "--trials", "3", "--pruner", "none") == 0
    return folder


def files(folder: Path, of: FrozenTrial | optuna.Study) -> dict[str, bytes]:
    """The artifacts of a trial or of a study by their names."""
    attributes = of.system_attrs if isinstance(of, FrozenTrial) else storage.of(of).get_study_system_attrs(of._study_id)
    metas = [json.loads(value) for name, value in attributes.items() if name.startswith(artifacts.PREFIX)]
    return {meta["filename"]: (folder / "studies" / "artifacts" / meta["artifact_id"]).read_bytes() for meta in metas}


def note(study: optuna.Study, trial: FrozenTrial | None = None) -> str:
    """As the dashboard reads it."""
    attributes = storage.of(study).get_study_system_attrs(study._study_id)
    number = None if trial is None else trial._trial_id
    return str(optuna_dashboard._note.get_note_from_system_attrs(attributes, number)["body"])


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_a_trial_has_a_note_pictures_and_tables(searched: Path) -> None:
    study = load(searched)
    for trial in study.trials:
        body = note(study, trial)
        assert f"Score **{trial.value:.4f}** at epoch {trial.user_attrs['epoch']} of 5 (chance baseline 0." in body
        assert "| class | linear | widths" in body
        assert f"`python -m milair.retrain --study tiny@frames --trial {trial.number} --studies {searched}" in body
        assert len(body) < notes.PIECE
        content = files(searched, trial)
        assert sorted(content) == ["curves.csv", "curves.svg", "frames.jpeg", "outputs.csv"]
        assert len(content["frames.jpeg"]) <= drawing.SHEET
        assert Image.open(io.BytesIO(content["frames.jpeg"])).size == (768, 352)  # six frames, three in a row
        curves, outputs = kept.curves(trial), rows(content["outputs.csv"])
        assert curves is not None
        assert [float(row["val iou"]) for row in rows(content["curves.csv"])] == pytest.approx(
            curves["val"]["iou"], abs=1e-5
        )
        scores = [(float(row["IoU"]) + int(row["right"])) / 2 for row in outputs]
        assert scores == sorted(scores)  # the worst first
        assert sum(scores) / len(scores) == pytest.approx(trial.value, abs=1e-3)


def test_attributes_are_small_scalars(mixed: Path) -> None:
    for trial in load(mixed).trials:
        for name, value in trial.user_attrs.items():
            assert isinstance(value, str | float | int | None)
            assert len(f"{name} {value}") <= 30, name


def test_the_study_has_a_note_and_figures(searched: Path) -> None:
    study = load(searched)
    body = note(study)
    best = study.best_trial
    for part in (
        "**How wide?**",
        f"Best: trial {best.number}, score **{best.value:.4f}**",
        "3 complete",
        "95% interval",
    ):
        assert part in body
    attributes = storage.of(study).get_study_system_attrs(study._study_id)
    figures = optuna_dashboard._custom_plot_data.get_plotly_graph_objects(attributes)
    assert sorted(figures) == ["accuracy-and-iou", "score-over-passes", "time-and-score"]
    points, line, expected = json.loads(figures["score-over-passes"])["data"]
    assert points["x"] == [10, 20, 30]  # five epochs of two views each
    assert points["y"] == pytest.approx([trial.value for trial in study.trials], abs=1e-4)
    assert line["y"] == sorted(line["y"])
    assert expected["name"] == f"trial {best.number} on other frames, 95%"
    assert expected["y"][0] <= round(study.best_value, 4)
    assert expected["error_y"]["array"][0] > 0
    assert line["y"][-1] == pytest.approx(study.best_value, abs=1e-4)


def test_the_study_has_pictures_of_its_best_trial_and_no_others(tmp_path: Path, searched: Path) -> None:
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    study, place = load(tmp_path), tmp_path / "studies" / "artifacts"
    before = files(tmp_path, study)
    assert sorted(before) == ["best-confusion.svg", "best-frames.jpeg", "best-worst.jpeg"]
    assert f"trial {study.best_trial.number}:" in before["best-confusion.svg"].decode()
    assert all(len(content) <= dashboard.SHEET for content in before.values())
    sheet = Image.open(io.BytesIO(before["best-frames.jpeg"]))
    assert sheet.width == 6 * 256
    count = len(list(place.iterdir()))
    better = optuna.create_trial(
        state=TrialState.COMPLETE,
        value=0.99,
        params=study.trials[0].params,
        distributions=study.trials[0].distributions,
        user_attrs=study.trials[0].user_attrs | {"arm": "another"},
        system_attrs={n: v for n, v in study.trials[0].system_attrs.items() if not n.startswith(artifacts.PREFIX)},
    )
    study.add_trial(better)
    options = ["--data", str(tmp_path / "frames"), "--spaces", str(tmp_path / "spaces"), "--views", "2"]
    words = ["--study", "tiny", *options, "--studies", str(tmp_path / "studies"), "--devices", "cpu", "--trials", "3"]
    assert search(words) == 0
    after = files(tmp_path, load(tmp_path))
    assert "trial 3:" in after["best-confusion.svg"].decode()
    assert len(list(place.iterdir())) == count


def test_a_note_of_a_person_stays_above_ours(tmp_path: Path, searched: Path) -> None:
    shutil.copytree(searched / "studies", tmp_path / "studies")
    study = load(tmp_path)
    optuna_dashboard.save_note(study, "mine\n\n" + "long " * 900)
    for body in ("first " * 500, "second"):
        notes.write(study, body)
        assert note(study).startswith("mine\n\nlong ")
        assert note(study).endswith(f"{notes.MARK}\n\n{body}")


def test_a_search_imports_neither_torch_nor_what_draws_slowly(tmp_path: Path) -> None:
    code = "import sys, milair.study.running; print([m for m in ('torch', 'matplotlib', 'optuna_dashboard', 'plotly')"
    code += " if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert said.stdout == "[]\n", said.stderr


def test_a_trial_that_runs_again_replaces_its_files_and_deleting_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The search dies after it has written a trial's files, and before it tells the trial."""
    options, tell = make(tmp_path), optuna.Study.tell

    def dies(self: optuna.Study, trial: optuna.Trial, *rest: Any, **named: Any) -> FrozenTrial:
        if trial.number == 1:
            raise OSError("no such disk")
        return tell(self, trial, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "tell", dies)
        assert search(options, "--trials", "2") == 1
    place = tmp_path / "studies" / "artifacts"
    before = sorted(path.name for path in place.iterdir())
    study = load(tmp_path)
    assert study.trials[1].state == TrialState.WAITING
    assert len(before) == 8
    assert "complete" in note(study, study.trials[1])
    assert search(options, "--trials", "2") == 0
    assert {path.name for path in place.iterdir()} > set(before)
    assert len(list(place.iterdir())) == 8 + 3  # the study's own
    assert len(files(tmp_path, load(tmp_path).trials[1])) == 4
    (place / "of-another-program").touch()
    assert studies.main(["delete", "tiny", "--yes", "--studies", str(tmp_path / "studies")]) == 0
    assert [path.name for path in place.iterdir()] == ["of-another-program"]
    capsys.readouterr()


def test_a_trial_that_is_not_trained_says_why(tmp_path: Path) -> None:
    search(make(tmp_path), "--trials", "2", "--limit", "parameters=10")
    study = load(tmp_path)
    assert "trained all of its epochs" in note(study, study.trials[0])  # the baseline is pinned
    assert "**pruned**: not trained: over the limit parameters=10." in note(study, study.trials[1])
    assert files(tmp_path, study.trials[1]) == {}


def test_a_disk_that_takes_no_picture_ends_a_search_and_its_trial_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = make(tmp_path)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "artifacts").write_text("no folder")
    assert search(options, "--trials", "1") == 1
    error = capsys.readouterr().err
    assert error.startswith("milair: ")
    assert error.count("\n") == 1
    assert [trial.state for trial in load(tmp_path).trials] == [TrialState.WAITING]
    (tmp_path / "studies" / "artifacts").unlink()
    assert search(options, "--trials", "1") == 0
    assert len(files(tmp_path, load(tmp_path).trials[0])) == 4


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The study's page, served as `milair dashboard` does."""
    with api.dashboard("tiny", studies=folder / "studies") as server:
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        yield server.url
        server.inner.shutdown()
        thread.join()


def test_it_is_served_to_this_machine_with_its_pictures(searched: Path) -> None:
    study = load(searched)
    trial = study.trials[0]
    (sheet,) = [name for name, value in trial.system_attrs.items() if "frames.jpeg" in str(value)]
    with served(searched) as url:
        assert url.startswith("http://127.0.0.1:")
        place = f"{url.partition('/dashboard')[0]}/artifacts/{study._study_id}/{trial._trial_id}/"
        with urllib.request.urlopen(place + sheet.removeprefix(artifacts.PREFIX), timeout=20) as answer:
            assert answer.headers["Content-Type"] == "image/jpeg"
            assert answer.read() == files(searched, trial)["frames.jpeg"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study: a reference, a complete trial, a pruned one, one that failed, and another complete one."""
    folder = tmp_path_factory.mktemp("mixed")
    options, prune = make(folder), optuna.Trial.should_prune
    text = SPACE.replace("\n\ndef", "\nREFERENCES = [replace(BASELINE, reg_head=ConvHead(0), seed=5)]\n\ndef")
    fails = "    if getattr(trial, 'number', 0) == 3:\n        raise ValueError('no luck ' * 30)\n"
    (folder / "spaces" / "tiny.py").write_text(text.replace("    return", fails + "    return"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optuna.Trial, "should_prune", lambda self: self.number == 2 or prune(self))
        search(options, "--trials", "4")
    states = [trial.state.name for trial in load(folder).trials]
    assert states == ["COMPLETE", "COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    return folder


@pytest.mark.filterwarnings("ignore:Some regimes")  # of the dashboard, in so small a study
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_its_pages_fit_a_browser_and_show_the_pictures(mixed: Path) -> None:
    """The dashboard's own two dates, which are never folded, are wider than a page of 800 pixels has room for."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    dates = (
        "document.querySelectorAll('*').forEach(e => { if (/^\\w{3} \\w{3} \\d.*GMT/.test(e.textContent)) e.remove() })"
    )
    with served(mixed) as url, playwright.sync_playwright() as engines:
        browser = engines.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width in (1280, 800):
            page = browser.new_page(viewport={"width": width, "height": 1000})
            for place, seen, pictures in (
                ("", "Score over passes", 3),  # of the best trial
                ("/note", "How wide?", 0),
                ("/trials?numbers=0", "frames.jpeg", 2),  # the reference
                ("/trials?numbers=1", "frames.jpeg", 2),  # complete
                ("/trials?numbers=2", "frames.jpeg", 2),  # pruned
                ("/trials?numbers=3", "no luck", 0),  # failed
            ):
                page.goto(url + place)
                page.get_by_text(seen).first.wait_for(timeout=30_000)
                page.wait_for_load_state("networkidle")
                if width == 800 and "trials" in place:
                    page.evaluate(dates)
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (width, place)
                page.wait_for_function(
                    "count => document.images.length === count"
                    " && [...document.images].every(image => image.complete && image.naturalWidth > 200)",
                    arg=pictures,
                )
        browser.close()
