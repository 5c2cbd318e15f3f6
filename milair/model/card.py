"""A model's card: README.md in its folder, Markdown with the YAML header that model hubs read.

It is given plain values, and knows neither study nor training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from milair.recipe import Recipe

HEADER = {
    "library_name": "milair",
    "pipeline_tag": "object-detection",
    "tags": ["milair", "object-detection", "image-classification", "single-object", "pytorch"],
    "metrics": ["accuracy", "mean_iou"],
}
_LICENCE = "# license: for you to choose; the backbone's weights and the frames have their own"
_LIMITS = """- **Frames without an object are not in the task**: each picture gets a class and a box, whatever it shows.
- Of several objects in a picture it predicts one.
- It knows the classes above and no others.
- It was scored on frames like those that it was trained on; on others it may be worse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Of a model on frames that it was not trained on: means over these, 0 to 1, and a 95% interval of the score."""

    score: float
    iou: float
    accuracy: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """All that a card says."""

    name: str  # of the model's folder
    what: str  # a sentence: one model or several, trained on what
    study: str
    trial: int | None  # None: of several trials
    trials: int  # of the study, among which it was chosen
    counts: Mapping[str, int]  # labelled frames of each class
    data: str  # the name of the frames' folder
    fingerprint: str
    split: str  # in words
    duplicates: str  # in words
    recipes: Sequence[Recipe]  # of the members
    training: str  # how long, in words
    scores: Scores | None
    expected: float | None  # the trial's score out of fold, of a model of all frames
    chance: float
    calibration: Mapping[str, Any] | None  # temperature, frames, nll and ece: before, after
    samples: Sequence[str]  # files in the folder

    def __str__(self) -> str:
        """As Markdown."""
        sections = {
            "Use": f"{_use(self.name)}\n\n{_LIMITS}",
            "Data": self._data(),
            "Training": self._training(),
            "Scores": self._scores(),
            "What a probability means": self._probability(),
            "Pictures": self._pictures(),
        }
        trial = "" if self.trial is None else f", trial {self.trial}"
        opening = (
            f"# {self.name}\n\nIt finds and classifies the one object in a picture: {_listed(self.counts)}. "
            f"{self.what}\n\nMade by milair: study `{self.study}`{trial}."
        )
        texts = [f"## {title}\n\n{text}" for title, text in sections.items() if text]
        return f"{_header()}\n\n" + "\n\n".join([opening, *texts]) + "\n"

    def _data(self) -> str:
        classes = ", ".join(f"{_code(name)} {count}" for name, count in self.counts.items())
        return (
            f"{sum(self.counts.values())} labelled frames of {_code(self.data)} (fingerprint `{self.fingerprint}`): "
            f"{classes}. {self.split} {self.duplicates}"
        )

    def _training(self) -> str:
        first, seeds = self.recipes[0], sorted({recipe.seed for recipe in self.recipes})
        same = all(recipe.to_json() | {"seed": 0} == first.to_json() | {"seed": 0} for recipe in self.recipes)
        weights = "pretrained weights" if first.weights == "pretrained" else "random weights"
        rows = {
            "backbone": f"{first.backbone}, {weights}",
            "image size": f"{first.image_size} pixels, normalisation {first.normalisation}",
            "head for the class": str(first.cls_head),
            "head for the box": str(first.reg_head),
            "looks": f"{first.looks}" + (f", crops of {first.crop_size} pixels" if first.looks > 1 else ""),
            "views of a picture in an epoch": str(first.augmentations),
            "loss": f"alpha {first.alpha:g}, box {first.box_loss}",
            "optimizer": f"{first.optimizer}, {first.schedule} learning rate {first.learning_rate:g}, "
            f"batches of {first.batch_size}",
            "seed" if len(seeds) == 1 else "seeds": ", ".join(map(str, seeds)),
        }
        others = "" if same else "\n\nThe table is of the first member; the others have other recipes."
        return f"{self.training}\n\n{_table(rows)}{others}\n\n`model.json` has the whole recipe and the preprocessing."

    def _scores(self) -> str:
        chance = f"The chance baseline (majority class, mean box) scores {self.chance:.4f} there."
        if self.scores is None:
            if self.expected is None:
                return f"Not known: no frames were left to validate on. {chance.replace(' there', ' on such frames')}"
            return (
                "No frames were left to validate on. Models of this recipe, each scored on the frames that it was not "
                f"trained on, score **{self.expected:.4f}** out of fold: that is to be expected of it. {chance}"
            )
        scores = self.scores
        rows = {"score": f"{scores.score:.4f}", "mean IoU": f"{scores.iou:.4f}", "accuracy": f"{scores.accuracy:.4f}"}
        if scores.interval is not None:
            rows["95% interval of the score"] = "{:.3f} to {:.3f}".format(*scores.interval)
        luck = (
            f"The same frames chose it among {self.trials} trials, so expect a little less on new ones."
            if self.trials > 1
            else ""
        )
        interval = "" if scores.interval is None else " The interval is over frames, not over seeds."
        return f"{_table(rows)}\n\nThe score is (mean IoU + accuracy) / 2.{interval} {chance} {luck}".rstrip()

    def _probability(self) -> str:
        if self.calibration is None:
            return "Not calibrated: no frames were left to do so on. The temperature is 1."
        (nll, later_nll), (ece, later_ece) = self.calibration["nll"], self.calibration["ece"]
        return (
            f"`predict` gives the probability of the class, calibrated by a temperature of "
            f"{self.calibration['temperature']:.4g}: log-probabilities are divided by it, and no class changes. It was "
            f"fitted on {self.calibration['frames']} validation frames, so what they say after it is a little too good."
            "\n\n"
            "| on these frames | before | after |\n| --- | --- | --- |\n"
            f"| negative log-likelihood | {nll:.4f} | {later_nll:.4f} |\n"
            f"| expected calibration error | {ece:.4f} | {later_ece:.4f} |\n\n"
            "Nothing is said of the box."
        )

    def _pictures(self) -> str:
        if not self.samples:
            return ""
        shown = "\n".join(f"![a frame with its true and its predicted box]({file})" for file in self.samples)
        return f"Validation frames, with the true box in green and the predicted one in red.\n\n{shown}"


def _header() -> str:
    return f"---\n{_LICENCE}\n{yaml.safe_dump(HEADER, sort_keys=False)}---"


def _use(name: str) -> str:
    return f"""```python
from milair import load

for prediction in load("{name}").predict(["picture.jpeg"]):
    print(prediction.label, prediction.probability, prediction.box)
```

`predict` takes paths, PIL pictures and arrays (uint8, height × width × 3, RGB). A box is xmin, ymin, xmax, ymax
in whole pixels of the picture, turned as its EXIF says."""


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def _listed(names: Mapping[str, int]) -> str:
    return ", ".join(map(_code, names))


def _code(text: str) -> str:
    """A name as it stands, also one with backticks."""
    mark = "``" if "`" in text else "`"
    return f"{mark}{text}{mark}"
