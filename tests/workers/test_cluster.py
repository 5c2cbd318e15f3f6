"""A search on a Ray cluster of three nodes: the same scores, and whole whatever vanishes in the middle."""

from __future__ import annotations

import os
import random
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clusters import Nodes, nodes
from faults import PATIENCE, SEED, Place, assert_one_line, assert_whole, feature_bytes, files, until
from filelock import FileLock
from safetensors.numpy import load_file

import milair
from milair import __version__, retrain, search
from milair.errors import MilairError
from milair.frames.pictures import cache_folder
from milair.study.kept import curves, outputs
from milair.workers.actor import Actor, Parcel, Terms, refuse_unheld

if TYPE_CHECKING:
    from postgres import Server

pytest_plugins = ["postgres"]

FIXED = ("--sampler", "random", "--pruner", "none", "--seed", "5")
LONG = (*FIXED, "--set", "epochs=150", "--set", "patience=150")
VIEWS = 8
BANK = (*LONG, "--views", str(VIEWS))  # one that takes seconds to make

with_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'milair[ray]'")
quietly = pytest.mark.filterwarnings("ignore")  # of Ray's own, about itself


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    with nodes(3) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def told(place: Place) -> list[object]:
    """What a study found, but for how long it took and who ran it."""
    return [
        [trial.number, trial.params, trial.state, trial.value, trial.intermediate_values, curves(trial), outputs(trial)]
        for trial in place.trials()
    ]


def has(place: Place, trials: int) -> bool:
    return place.states()["COMPLETE"] >= trials


@with_ray
@quietly
@pytest.mark.timeout(400)
def test_three_nodes_come_to_the_same_scores_as_this_machine(cluster: Nodes, tmp_path: Path) -> None:
    here, there = Place(tmp_path / "here"), Place(tmp_path / "there")
    with here.search(*FIXED, "--trials", "6") as local:
        assert local.end() == 0, local.errors
    with cluster.search(there, *FIXED, "--trials", "6", "--ship") as search:
        assert search.end() == 0, search.errors
    assert "MB of frames and weights, once to each node" in search.output
    assert search.errors == ""
    assert told(there) == told(here)
    assert cluster.alone()
    with cluster.search(there, *FIXED, "--trials", "6", "--workers", "1") as search:  # nothing to do
        assert search.end() == 0, search.errors
    assert len(there.trials()) == 6
    words = ["--study", "tiny", "--storage", there.url, "--bank", str(there.banks), "--seeds", "3"]
    ray = ["--engine", "ray", "--address", cluster.cluster.address]
    for name, more in (("one", ["--devices", "cpu"]), ("three", ray)):
        command = [sys.executable, "-m", "milair.retrain", *words, "--out", str(tmp_path / name), *more]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert (done.returncode, done.stderr) == (0, "")
        assert "difference from the trial's own metrics: 0.0e+00" in done.stdout
    for name in ("", "-seed33", "-seed34", "-ensemble"):
        one, three = (load_file(tmp_path / f"{kind}{name}" / "model.safetensors") for kind in ("one", "three"))
        assert all(value.tobytes() == three[key].tobytes() for key, value in one.items())
        assert one.keys() == three.keys()
    assert cluster.alone()


@with_ray
@quietly
@pytest.mark.timeout(400)
def test_a_node_and_a_driver_that_vanish_lose_nothing(cluster: Nodes, place: Place) -> None:
    """First a node that makes the bank of all, then one in the middle of a trial, which waits again, then the driver,
    whose actors end with it."""
    with cluster.search(place, *BANK, "--trials", "5") as search:
        assert until(lambda: feature_bytes(place.banks) or search.over, pause=0.002)
        made = cluster.making()
        assert made is not None, search.output
        cluster.kill(made)
        assert until(lambda: "\nbank     " in search.output or search.over), search.output
        cluster.add()
        assert until(lambda: place.states()["RUNNING"] == 3 or search.over)
        cluster.kill(cluster.nodes[1])
        assert until(lambda: search.output.count("is gone with its node") == 2 or search.over), search.errors
        cluster.add()
        assert until(lambda: search.output.count("joins; workers that it has room for: 1") == 2 or search.over)
        assert not search.over, search.errors
        before = place.finished()
        search.process.kill()
        search.process.wait()
        assert cluster.alone(), "actors outlive their search"
    with cluster.search(place, *BANK, "--trials", "5") as search:
        assert search.end() == 0, search.errors
    assert_whole(place.trials(), 5)
    assert files(place.banks) == place.undisturbed(place.folder / "peaceful", VIEWS)
    after = place.finished()
    assert all(after[number] == trial for number, trial in before.items())
    assert "(raylet)" not in search.output
    assert not any("deaths" in trial.user_attrs for trial in place.trials())
    assert cluster.alone()


@with_ray
@quietly
def test_a_node_that_does_not_fit_is_left_out_and_banks_of_nodes_are_their_own(cluster: Nodes, place: Place) -> None:
    """One has no folder for what is shipped, one is killed as it makes its bank; the others train."""
    own = place.folder / "own"
    cluster.add(MILAIR_CACHE="/dev/null")
    cluster.add(MILAIR_CACHE=str(own))
    at = place.options.index("--bank")
    del place.options[at : at + 2]
    with cluster.search(place, *BANK, "--trials", "6", "--ship") as search:
        assert until(lambda: feature_bytes(own / "banks") or search.over, pause=0.002)
        cluster.kill(cluster.nodes[-1])
        half = feature_bytes(own / "banks")
        assert until(lambda: "does not join: /dev/null" in search.output or search.over), search.errors
        assert until(lambda: has(place, 1) or search.over)
        assert not search.over, search.output + search.errors
        search.process.terminate()
        assert search.end() == 143, search.errors
    assert place.states()["RUNNING"] == 0
    assert "(raylet)" not in search.output
    assert cluster.alone()
    cluster.kill(cluster.nodes[-1])
    peaceful = place.undisturbed(place.folder / "peaceful", VIEWS)
    assert peaceful.items() <= files(cache_folder() / "banks").items()
    assert 0 < half < feature_bytes(place.folder / "peaceful")
    assert place.undisturbed(own / "banks", VIEWS) == peaceful  # the half one goes on


@with_ray
@quietly
def test_without_nodes_a_search_waits_until_its_timeout_or_until_the_head_is_gone(cluster: Nodes, place: Place) -> None:
    """Last of those that share the cluster: nothing is left of it."""
    with cluster.search(place, *LONG, "--trials", "2") as search:
        assert until(lambda: place.states()["RUNNING"] or search.over)
        for node in [*cluster.nodes]:
            cluster.kill(node)
        assert until(lambda: "no node has room for a worker: waiting for one" in search.output or search.over)
        assert not search.over, search.errors
        assert until(lambda: not place.states()["RUNNING"])
        search.process.terminate()
        assert search.end() == 143, search.errors
    trials = len(place.trials())
    with cluster.search(place, *LONG, "--trials", "2", "--timeout", "3") as search:
        assert search.end(60) == 0, search.errors
    assert "time is over; the same command goes on" in search.output
    with cluster.search(place, *LONG, "--trials", "2", "--timeout", "3", "--name", "another") as search:
        assert_one_line(search, "no worker has joined within --timeout")
    with cluster.search(place, *LONG, "--trials", "2") as search:
        assert until(lambda: "waiting for one" in search.output or search.over)
        cluster.kill_head()
        assert_one_line(search, "the Ray cluster at ", " is gone")
    assert len(place.trials()) == trials
    with place.search(*LONG, "--trials", "2") as search:
        assert search.end() == 0, search.errors
    assert_whole(place.trials(), 2)


@with_ray
@quietly
@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_sixty_trials_survive_five_nodes_and_two_drivers(cluster: Nodes, server: Server, tmp_path: Path) -> None:
    """Any node vanishes at any moment and another joins; the study is the one of an undisturbed search here."""
    print(f"MILAIR_FAULTS_SEED={SEED}")
    chance, began = random.Random(SEED), time.monotonic()
    here, there = Place(tmp_path / "here"), Place(tmp_path / "there", url=server.database())
    options = (*FIXED, "--set", "epochs=60", "--set", "patience=60", "--trials", "60")
    strikes = chance.sample(["node"] * 5 + ["driver"] * 2, 7)
    before = there.finished()
    with ExitStack() as searches:
        search = searches.enter_context(cluster.search(there, *options))
        for strike in strikes:
            more = len(before) + chance.randint(1, 5)
            assert until(partial(has, there, more)), search.errors
            time.sleep(chance.uniform(0, 3))
            assert not search.over, search.errors
            if strike == "node":
                cluster.kill(chance.choice(cluster.nodes))
                cluster.add()
            else:
                search.process.kill()
                assert cluster.alone(), "actors outlive their search"
                search = searches.enter_context(cluster.search(there, *options))
            after = there.finished()
            assert {number: after[number] for number in before} == before, "a finished trial was lost or changed"
            before = after
        assert search.end(3 * PATIENCE) == 0, search.errors
        again = search.output.count("is gone with its node")
    assert_whole(there.trials(), 60)
    assert cluster.alone()
    print(f"{strikes}: {time.monotonic() - began:.0f} s; the last search lost {again} workers with their nodes")
    with here.search(*options, "--devices", "cpu,cpu") as local:
        assert local.end(3 * PATIENCE) == 0, local.errors
    assert told(there) == told(here)


@with_ray
@quietly
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_where_no_cluster_is_a_search_says_so(place: Place, address: str) -> None:
    with place.search("--devices", "auto", "--engine", "ray", "--address", address) as search:
        assert_one_line(search, f"--address {address}: ")


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed here")
def test_without_ray_a_search_says_what_to_install(place: Place) -> None:
    with place.search("--devices", "auto", "--engine", "ray") as search:
        assert_one_line(search, "pip install 'milair[ray]'")


def test_options_of_another_engine_are_refused(place: Place) -> None:
    with place.search("--workers", "2") as search:
        assert search.end() == 2
    assert "are for --engine ray" in search.errors
    with place.search("--engine", "ray") as search:  # its --devices is cpu
        assert search.end() == 2
    assert "are for this machine" in search.errors


def test_the_commands_of_the_page_are_commands() -> None:
    """Their options are taken; the cluster of the page is not begun, as `ray stop` would end those of others."""
    page = Path(milair.__file__).parents[1] / "docs" / "cluster.md"
    commands = re.findall(r"python -m milair\.(search|retrain) (.*)", page.read_text().replace("\\\n", " "))
    assert len(commands) >= 5
    for command, words in commands:
        arguments = search.arguments() if command == "search" else retrain.arguments()
        assert arguments.parse_args(shlex.split(words)).engine == "ray"


def test_a_search_here_loads_no_ray() -> None:
    code = "import sys; from milair import api; from milair.workers import engines; print('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_a_node_with_other_frames_or_another_version_does_not_join(place: Place, tmp_path: Path) -> None:
    inputs, terms = place.objective().session.inputs(place.banks), Terms(__version__, None)
    fit = Actor()._fit(inputs, terms, None)
    assert fit.frames == inputs.frames
    assert fit.folder != place.banks  # in the node's own cache
    with pytest.raises(MilairError, match=r"milair .* is installed there, and the search is of 0\.0"):
        Actor()._fit(inputs, Terms("0.0", None), None)
    parcel, first = Parcel.of(inputs), inputs.frames[0].path
    first.write_bytes(inputs.frames[1].path.read_bytes())
    with pytest.raises(MilairError, match=f"{first} is another picture than that of the search; --ship"):
        Actor()._fit(inputs, terms, None)
    first.unlink()
    with pytest.raises(MilairError, match=f"{first} cannot be read .*; --ship"):
        Actor()._fit(inputs, terms, None)
    fit = Actor()._fit(inputs, terms, parcel)
    assert [frame.picture.content for frame in fit.frames] == [frame.picture.content for frame in inputs.frames]
    assert all(frame.path.is_file() and not frame.path.is_relative_to(tmp_path / "frames") for frame in fit.frames)


def test_weights_are_shipped_as_they_are_named(place: Place, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "squeezenet1_0.pth").write_bytes(b"of no use")
    inputs = place.objective().session.inputs(place.banks)
    for source, named in (("weights", ""), ("weights/squeezenet1_0.pth", "squeezenet1_0.pth")):
        parcel = Parcel.of(replace(inputs, source=str(tmp_path / source)))
        _, weights = parcel.unpack(tmp_path / "unpacked")
        assert weights is not None
        assert weights.name == named or weights.is_dir()
        assert parcel.weights == {"squeezenet1_0.pth": b"of no use"}
    assert Parcel.of(replace(inputs, source="imagenet")).unpack(tmp_path / "unpacked")[1] is None


def test_a_shared_bank_whose_locks_do_not_hold_is_refused(tmp_path: Path) -> None:
    probe = tmp_path / ".probe.lock"
    refuse_unheld(probe)  # the folder is another one here
    with FileLock(probe):
        code = (
            "from pathlib import Path; from milair.workers.actor import refuse_unheld; refuse_unheld(Path(sys.argv[1]))"
        )
        assert subprocess.run([sys.executable, "-c", f"import sys; {code}", str(probe)]).returncode == 0
    probe.touch()
    with pytest.raises(MilairError, match="locks on this disk do not hold"):
        refuse_unheld(probe)
