"""The report: one page that needs nothing but itself, and the same as Markdown."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import first
import numpy as np
import optuna
import pytest
import tiny
from tiny import search

from milair import ConvHead, LinearHead, Recipe, report, space
from milair.errors import UsageError
from milair.model import heads
from milair.recipe import Head
from milair.reporting import page, sections
from milair.reporting.evidence import Evidence
from milair.study import storage
from milair.study.kept import trained
from milair.study.results import stored_settings
from milair.study.session import Session, read_frames
from milair.training.noise import Noise


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of the first recipes and some of its own, one recipe with two seeds, and another study beside it."""
    folder = tmp_path_factory.mktemp("searched")
    options = first.make(folder)
    assert search(options) == 0
    again = load(folder).trials[0].params
    load(folder).enqueue_trial(again, user_attrs={"pinned": True})
    assert search(options, "--trials", "10", "--pruner", "none") == 0
    assert search(options, "--name", "other", "--trials", "3", "--seed", "1", "--sampler", "random") == 0
    return folder


def load(folder: Path, name: str = "first@frames") -> optuna.Study:
    return storage.load_study(storage.open_storage(storage.default_url(folder / "studies"), create=False), name)


def write(folder: Path, *more: str) -> int:
    return report.main(["--studies", str(folder / "studies"), "--spaces", str(folder / "spaces"), *more])


@pytest.fixture(scope="module")
def written(searched: Path) -> Path:
    assert write(searched, "--study", "first@frames", "--against", "other") == 0
    return searched / "studies" / "reports" / "first@frames"


def session(folder: Path, name: str = "first@frames") -> Session:
    frames, study = read_frames(str(folder / "frames")), load(folder, name)
    return Session(stored_settings(study), frames, space.load("first", folder / "spaces"), study)


def evidence(folder: Path, name: str = "first@frames") -> Evidence:
    return Evidence(session(folder, name))


class Page(HTMLParser):
    """What a page asks for, and how its elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br", "hr", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # <img />

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_holds_all_it_shows(written: Path) -> None:
    text = (written / "report.html").read_text()
    shown = Page(text)
    assert shown.open == []
    assert all(source.startswith("data:image/") for source in shown.sources)
    assert not re.search(r"https?://|@import|<script", re.sub(r"base64,[^\"]*", "", text))
    assert "link" not in shown.tags
    markdown = (written / "report.md").read_text()
    pictures = re.findall(r"!\[[^]]*\]\(<?([^)>]+)>?\)", markdown)
    assert all((written / name).is_file() for name in pictures)
    assert len(pictures) == len(shown.sources)
    for trial in (0, 1, 2, 3, 4):
        assert f"curves/trial-{trial}.svg" in pictures


def test_sections_of_the_space_stand_in_its_report(written: Path, searched: Path) -> None:
    markdown, recipes = (written / "report.md").read_text(), len(evidence(searched).trials)
    own = markdown.index(f"## Of its own\n\n{recipes} recipes\n\n![a picture](count.svg)\n\n## ")
    assert markdown.index("## The highest scores") < own < markdown.index("## Importance")


def test_the_best_of_two_studies_are_compared_as_picked_ones(written: Path, searched: Path) -> None:
    mine, other = evidence(searched), evidence(searched, "other")
    difference = mine.less_best(other)
    assert difference is not None
    best = [found.noise.outcomes[found.best] for found in (mine, other)]
    assert difference.value == pytest.approx(best[0].mean() - best[1].mean())
    (alone,) = Noise({"mine": list(best[0]), "other": list(best[1])}).differences([("mine", "other")])
    assert difference.low < alone.low
    assert difference.high > alone.high
    verb = {1: "is better than", 0: "cannot be told from", -1: "is worse than"}[-difference.sign]
    assert f"The best of other {verb} that of first@frames" in (written / "report.md").read_text()


def test_the_highest_scores_say_which_recipes_may_be_the_best(written: Path, searched: Path) -> None:
    found = evidence(searched)
    assert found.best in found.rivals
    markdown = (written / "report.md").read_text()
    known = len(found.noise.outcomes)
    everyone = f"None of the {known} recipes can be ruled out"
    assert (everyone if len(found.rivals) == known else f"among {len(found.rivals)} of the {known} recipes") in markdown
    rows = markdown.split("## The highest scores")[1].split("\n## ")[0].splitlines()
    marks = [row.rsplit(" | ", 1)[1].strip("| ") for row in rows if row.startswith("| ")][1:]
    assert marks.count("yes") == len(found.rivals)


def test_importances_are_shares_of_what_was_varied(written: Path, searched: Path) -> None:
    found = evidence(searched)
    assert [sum(shares.values()) for shares in found.importances()] == pytest.approx([1, 1])
    rows = (written / "report.md").read_text().split("## Importance of what was varied")[1].split("\n## ")[0]
    for name in found.trials[found.best][0].params:
        assert f"| {name} |" in rows


def test_predictions_are_those_of_which_the_score_is(searched: Path) -> None:
    found = evidence(searched)
    for trials in found.trials.values():
        for trial in trials:
            outcome = found.outcome(trial)
            assert outcome.mean(0) == pytest.approx([trial.user_attrs["iou"], trial.user_attrs["accuracy"]], abs=1e-4)
            assert outcome.mean() == pytest.approx(trial.value, abs=1e-4)
    several = [[trial.value or 0 for trial in trials] for trials in found.trials.values() if len(trials) > 1]
    freedom = sum(len(values) - 1 for values in several)
    assert freedom >= 1
    pooled = (sum((len(values) - 1) * np.var(values, ddof=1) for values in several) / freedom) ** 0.5
    assert found.noise.spread == pytest.approx((pooled, freedom), abs=1e-5)  # predictions are kept to so many digits


def test_a_study_of_one_trial_without_runs_has_a_report_too(tmp_path: Path) -> None:
    options = tiny.make(tmp_path)
    assert search(options, "--trials", "1", "--epochs", "2") == 0
    assert write(tmp_path, "--study", "tiny", "--out", str(tmp_path / "out")) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.startswith("# tiny@frames")
    assert "Of its own" not in text
    assert "Only from 10 complete trials on; here they are 1." in text


def test_a_study_of_the_first_versions_has_a_report_without_intervals(searched: Path, tmp_path: Path) -> None:
    """They kept neither predictions nor curves."""
    old = optuna.create_study(study_name="old", direction="maximize")
    for trial in load(searched).trials:
        old.add_trial(
            optuna.trial.create_trial(
                state=trial.state, value=trial.value, user_attrs=trial.user_attrs | {"recipe": trained(trial)}
            )
        )
    found, new = evidence(searched), session(searched)
    text = sections.write(tmp_path, replace(new, study=old), new).with_suffix(".md").read_text()
    assert f"**{found.mean(found.best, 'score'):.4f}** is the highest score" in text
    assert "interval" not in text.split("## The highest scores")[0].replace("intervals are", "")
    assert "nothing can be said of their difference" in text


@pytest.mark.parametrize("backbone", ["squeezenet1_0", "resnet18", "mobilenet_v2", "efficientnet_v2_s", "swin_t"])
@pytest.mark.parametrize("head", [LinearHead("8"), ConvHead(1, 8)])
def test_the_table_of_layers_counts_all_parameters(backbone: str, head: Head) -> None:
    recipe = Recipe(backbone=backbone, image_size="96x64", cls_head=head, reg_head=head)
    printed, size = sections.layers(recipe, 3), heads.size(recipe, 3)
    assert f"Total params: {size.total:,}\n" in printed
    assert f"Trainable params: {size.trainable:,}\n" in printed


def test_another_split_cannot_be_compared_with(searched: Path, tmp_path: Path) -> None:
    mine, other = session(searched), session(searched, "other")
    other.settings = replace(other.settings, split={"kind": "grouped"})
    with pytest.raises(UsageError, match="--against other: its training or validation frames are not those of first"):
        sections.write(tmp_path / "out", mine, other)
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_is_one_line(searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(searched, folder)
    assert write(folder, "--study", "nothing") == 1
    assert write(folder, "--study", "other", "--spaces", str(tmp_path)) == 1
    (folder / "frames" / "train.csv").write_text(
        "\n".join((folder / "frames" / "train.csv").read_text().splitlines()[:-1]) + "\n"
    )
    assert write(folder, "--study", "other", "--data", str(folder / "frames")) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["milair:"] * 3
    assert "there is no such search space" in lines[1]
    assert "other frames or labels" in lines[2]


def test_tables_scroll_and_markup_in_a_cell_is_text(tmp_path: Path) -> None:
    text = page.table(["a", "b"], [["x|y", 1.5], [None, "<b>"]])
    html = page.to_html(text, "a < b", tmp_path)
    assert '<div class="table"><table>' in html
    assert "x|y" in html
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert "<title>a &lt; b</title>" in html
