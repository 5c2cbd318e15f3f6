# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A night of search on two GPUs
#
# A folder of pictures with labels goes in; a model and a submission come out. The session may end at any moment: the
# study lies in a file, and the cell that was cut off goes on with it. First, in a cell of its own:
# `pip install milair`.

# %%
import subprocess
import sys
from pathlib import Path

from PIL import Image

from milair import api

DATA = Path("frames")  # pictures and their labels: competition CSV, COCO JSON, Pascal VOC, YOLO text …
STUDIES = Path("studies")  # keep this folder: it is all that a next session needs
DEVICES = "cuda:0,cuda:1"  # a worker each; "auto" takes all there are
CHOICES = {"weights": "imagenet"}  # torchvision's, by download; or a folder with <backbone>.pth
TRIALS = 40

# %% [markdown]
# ## Are the data whole?
#
# Every fault is a line with file and row. The sheets show all frames with their boxes: look at them.

# %%
subprocess.run([sys.executable, "-m", "milair.data", "check", DATA, "--draw", "sheets"], check=True)
Image.open(sorted(Path("sheets").iterdir())[0])

# %% [markdown]
# ## Search
#
# The first run computes features of all frames, once. Then each trial trains a small head on them. Of few frames a
# trial is one fold of five; those that may be the best are trained in all.

# %%
found = api.search("beyond", data=DATA, devices=DEVICES, trials=TRIALS // 2, studies=STUDIES, **CHOICES)
found.summary["trials"]

# %% [markdown]
# ## The session ends
#
# Here it does, in the middle of a trial: a search in a process of its own is killed as an ended session kills it.

# %%
words = ["--study", "beyond", "--data", DATA, "--studies", STUDIES, "--devices", DEVICES, "--trials", str(TRIALS)]
with subprocess.Popen([sys.executable, "-m", "milair.search", *words], stdout=subprocess.PIPE, text=True) as search:
    for line in search.stdout:  # until its first trial has begun
        if line.startswith("bank"):
            search.kill()

# %% [markdown]
# ## And goes on
#
# The same command. The trial that was in hand runs again, and nothing counts twice.

# %%
found = api.search("beyond", data=DATA, devices=DEVICES, trials=TRIALS, studies=STUDIES, **CHOICES)
found.summary["best"][:1], found.summary["interval"]

# %% [markdown]
# ## The report
#
# One HTML page that needs no network: the best recipes with their intervals, curves, predicted boxes.

# %%
api.report(found.study.study_name, studies=STUDIES)

# %% [markdown]
# ## Train the best again, and submit
#
# One model a fold, which together are one. Then all pictures without labels.

# %%
first, *others = api.retrain(found.study.study_name, studies=STUDIES, devices=DEVICES.split(",")[0], out=Path("model"))
submit = ["model", DATA / "images", "--csv", "submission.csv", "--draw", "drawn"]
subprocess.run([sys.executable, "-m", "milair.predict", *submit], check=True)
Image.open(sorted(Path("drawn").iterdir())[0])
