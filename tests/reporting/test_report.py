"""The report: one page that needs nothing but itself, and the same as Markdown."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import optuna
import published
import pytest
import tiny
from tiny import search

from milair import report, space
from milair.frames import split
from milair.reporting import page
from milair.reporting.evidence import Evidence, batch_weights
from milair.study import storage
from milair.study.session import read_frames
from milair.training.noise import Noise


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of the published runs and some of its own, one recipe with two seeds, and another study beside it."""
    folder = tmp_path_factory.mktemp("searched")
    options = published.make(folder)
    assert search(options) == 0
    again = load(folder).trials[0].params
    load(folder).enqueue_trial(again, user_attrs={"pinned": True})
    assert search(options, "--trials", "10", "--pruner", "none") == 0
    assert search(options, "--name", "other", "--trials", "3", "--seed", "1", "--sampler", "random") == 0
    return folder


def load(folder: Path, name: str = "published@frames") -> optuna.Study:
    return storage.load_study(storage.open_storage(storage.default_url(folder / "studies"), create=False), name)


def write(folder: Path, *more: str) -> int:
    return report.main(["--studies", str(folder / "studies"), "--spaces", str(folder / "spaces"), *more])


@pytest.fixture(scope="module")
def written(searched: Path) -> Path:
    assert write(searched, "--study", "published@frames", "--against", "other") == 0
    return searched / "studies" / "reports" / "published@frames"


def evidence(folder: Path, name: str = "published@frames") -> Evidence:
    frames = read_frames(str(folder / "frames"))
    chosen = space.load("published", folder / "spaces")
    return Evidence(load(folder, name), chosen, split.split(frames.labelled), frames.classes)


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


def test_its_chapters_hold_every_run_and_say_what_waits(written: Path) -> None:
    markdown = (written / "report.md").read_text()
    chapters = markdown.split("## Published and own figures")[1].split("## What was concluded")[0]
    assert chapters.count("\n### ") == 2
    rows = {line.split(" | ")[0].strip("| "): line for line in chapters.splitlines() if line.startswith("| ")}
    assert "waits for squeezenet1_0.pth" in rows["Other"]
    assert "0.3750" in rows["One"]  # (0.5 + 0.25) / 2
    assert "0.5500" in rows["One"]  # the mean of its two test scores
    assert "Conv [1]" in rows
    assert "[1] Its accuracy, | is not given." in chapters
    assert "± " in rows["One"]
    assert rows["One"].split(" | ")[7:] == rows["One again [2]"].split(" | ")[7:]


def test_nothing_is_called_better_whose_interval_includes_no_difference(written: Path, searched: Path) -> None:
    verdicts = evidence(searched).verdicts
    words = {verdict.claim.text: verdict for verdict in verdicts}
    assert words["One is the best"].difference is None
    assert words["One is the best"].word == "not compared"
    judged = words["Conv heads are better"]
    assert judged.difference is not None
    assert (judged.word == "not told apart") == (judged.difference.low <= 0 <= judged.difference.high)
    markdown = (written / "report.md").read_text()
    for low, high, word in re.findall(r"\(([+-]\d\.\d+) to ([+-]\d\.\d+)\) \| (better|worse|not told apart)", markdown):
        assert (float(low) > 0) == (word == "better")
        assert (float(high) < 0) == (word == "worse")


def test_the_best_of_two_studies_are_compared_as_picked_ones(written: Path, searched: Path) -> None:
    mine, other = evidence(searched), evidence(searched, "other")
    difference = mine.less_best(other)
    assert difference is not None
    best = [found.noise.outcomes[found.best] for found in (mine, other)]
    assert difference.value == pytest.approx(best[0].mean() - best[1].mean())
    alone = Noise({"mine": list(best[0]), "other": list(best[1])}).difference("mine", "other")
    assert difference.low < alone.low
    assert difference.high > alone.high
    verb = {1: "is better than", 0: "cannot be told from", -1: "is worse than"}[-difference.sign]
    assert f"The best of other {verb} that of published@frames" in (written / "report.md").read_text()


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


@pytest.mark.parametrize(("frames", "batch_size"), [(48, 32), (48, 16), (48, 64), (1, 8), (33, 32), (7, 3)])
def test_batch_weights_make_a_mean_of_batches_means(frames: int, batch_size: int) -> None:
    outcome = np.random.default_rng(0).random(frames)
    means = [outcome[first : first + batch_size].mean() for first in range(0, frames, batch_size)]
    assert (outcome * batch_weights(frames, batch_size)).mean() == pytest.approx(np.mean(means))


def test_own_less_published_is_taken_over_batches_as_theirs(written: Path, searched: Path) -> None:
    found = evidence(searched)
    run = next(run for run in found.space.runs if run.name == "One")
    key = found.key(run)
    weights = batch_weights(len(found.split.val), key.batch_size)
    assert run.score is not None
    difference, plain = found.less_published(key, run.score), found.noise.against(key, run.score)
    assert difference.value == pytest.approx((found.noise.outcomes[key] * weights).mean() - run.score)
    assert difference.high - difference.low == pytest.approx(plain.high - plain.low)
    assert f"| {difference} |" in (written / "report.md").read_text()


def test_importances_are_shares_of_what_was_varied(written: Path, searched: Path) -> None:
    found = evidence(searched)
    assert [sum(shares.values()) for shares in found.importances()] == pytest.approx([1, 1])
    rows = (written / "report.md").read_text().split("## Importance of what was varied")[1].split("\n## ")[0]
    for name in found.trials[found.best][0].params:
        assert f"| {name} |" in rows


def test_answers_are_those_of_which_the_score_is(searched: Path) -> None:
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
    assert found.noise.spread == pytest.approx((pooled, freedom), abs=1e-5)  # answers are kept to so many digits


def test_a_study_of_one_trial_without_runs_has_a_report_too(tmp_path: Path) -> None:
    options = tiny.make(tmp_path)
    assert search(options, "--trials", "1", "--epochs", "2") == 0
    assert write(tmp_path, "--study", "tiny", "--out", str(tmp_path / "out")) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.startswith("# tiny@frames")
    assert "Published" not in text.split("## Time and memory")[0]
    assert "Only from 10 complete trials on; here they are 1." in text


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
