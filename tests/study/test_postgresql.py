"""Searches whose study lives in a real PostgreSQL server: kills, a server that fails, a password that nobody sees."""

from __future__ import annotations

import random
import shlex
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest
import tiny
from faults import Place, Storm, assert_one_line, assert_whole, kept, until
from optuna.trial import FrozenTrial, TrialState

from milair.errors import MilairError
from milair.retrain import main
from milair.study import lock, packing, storage

if TYPE_CHECKING:
    from postgres import Server

pytest_plugins = ["postgres"]

TWO = ("--devices", "cpu,cpu")
LONG = ("--set", "epochs=60", "--set", "patience=60", "--pruner", "none")


@pytest.fixture
def place(server: Server, tmp_path: Path) -> Place:
    return Place(tmp_path, url=server.database())


def a_trial_is_finished_and_another_runs(place: Place) -> bool:
    states = place.states()
    return states["COMPLETE"] > 0 and states["RUNNING"] > 0


@pytest.mark.timeout(3600)
@pytest.mark.faults
def test_kills_at_random_moments_lose_no_trial(place: Place) -> None:
    storm = Storm(place, 30, total=4, longest=4, epochs=30)
    assert_whole(storm.run(), storm.total)


@pytest.mark.faults
def test_a_server_that_fails_ends_a_search_in_one_line_and_the_next_finishes_it(
    place: Place, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with place.search(*TWO, *LONG, "--trials", "3") as search:
        assert until(lambda: a_trial_is_finished_and_another_runs(place) or search.over)
        before = place.finished()
        server.stop("immediate")
        try:
            assert search.end(60) == 1
            assert search.alone(20)
        finally:
            server.start()
        assert search.errors.startswith("milair: ")
        assert search.errors.count("\n") == 1
        assert "connection" in search.errors
        assert server.password not in search.output + search.errors
    assert tiny.search([*place.options, *LONG, "--trials", "3"]) == 0
    said = "".join(capsys.readouterr())
    assert server.password not in said
    _, *retrain = shlex.split(said[said.index("next\n") :].splitlines()[1])
    assert before.items() <= place.finished().items()
    assert_whole(place.trials(), 3)
    monkeypatch.setenv("PGPASSWORD", server.password)
    assert main(retrain[2:]) == 0


@pytest.mark.faults
def test_another_search_is_refused_with_who_holds_the_study(place: Place) -> None:
    options = (*LONG, "--trials", "4")
    with place.search(*options) as one:
        assert until(lambda: place.states()["RUNNING"] == 1 or one.over)
        with place.search(*options) as other:
            assert_one_line(other, f"is being searched by process {one.process.pid} on ", "--devices")
        assert place.states()["RUNNING"] == 1
        one.process.send_signal(signal.SIGTERM)
        assert one.end() == 128 + signal.SIGTERM
    assert place.states()["RUNNING"] == 0
    with place.search(*options) as other:
        assert other.end() == 0
    assert_whole(place.trials(), 4)


def test_a_search_whose_connection_is_cut_tells_nothing_and_the_next_one_finishes(place: Place, server: Server) -> None:
    with place.search(*TWO, *LONG, "--trials", "4") as search:
        assert until(lambda: a_trial_is_finished_and_another_runs(place) or search.over)
        assert lock.is_held(place.study())
        holder = "application_name ~ '^milair tiny@frames on '"
        server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {holder}")
        before = place.trials()
        assert_one_line(search, "the connection that holds the study is lost")
        assert search.alone(5)
        assert server.password not in search.output + search.errors
    assert [trial.state for trial in place.trials()] == [trial.state for trial in before], "told after it was cut"
    with place.search(*TWO, *LONG, "--trials", "4") as search:
        assert search.end() == 0, search.errors
    assert kept(before).items() <= place.finished().items()
    assert_whole(place.trials(), 4)


@pytest.mark.faults
def test_a_server_that_hangs_holds_no_signal_up(place: Place, server: Server) -> None:
    with place.search(*TWO, *LONG, "--trials", "1000") as search:
        assert until(lambda: a_trial_is_finished_and_another_runs(place) or search.over)
        with server.hanging():
            time.sleep(1)  # the search waits for an answer by now
            search.process.send_signal(signal.SIGTERM)
            assert search.end(5) == 143
            assert search.workers() == []
    assert search.errors == "milair: interrupted\n"
    before = place.finished()
    with place.search(*TWO, *LONG, "--trials", str(len(before) + 2)) as search:
        assert search.end() == 0, search.errors
    assert before.items() <= place.finished().items()
    assert_whole(place.trials(), len(before) + 2)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seconds", [0, 1, 5])
def test_a_server_that_restarts_in_the_middle_of_a_search_loses_no_trial(
    place: Place, server: Server, seconds: float
) -> None:
    total = 0
    for _ in range(3):
        total += 4
        with place.search(*TWO, *LONG, "--trials", str(total)) as search:
            assert until(lambda: place.states()["RUNNING"] > 0 or search.over)
            time.sleep(random.uniform(0, 8))
            before = place.finished()
            server.stop("immediate")
            time.sleep(seconds)
            server.start()
            status = search.end()
            assert search.errors.count("\n") == status, search.errors
        assert before.items() <= place.finished().items()
    with place.search(*TWO, *LONG, "--trials", str(total)) as search:
        assert search.end() == 0, search.errors
    assert before.items() <= place.finished().items()
    assert_whole(place.trials(), total)


def test_connections_that_the_server_closed_while_they_idled_are_opened_again(server: Server) -> None:
    study = optuna.create_study(storage=storage.open_storage(server.database()))
    server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname <> 'postgres'")
    with lock.held(study):
        study.add_trial(optuna.create_trial(value=1))
    assert study.best_value == 1


def test_a_study_moves_to_a_server_and_back(server: Server, tmp_path: Path) -> None:
    assert tiny.search(tiny.make(tmp_path), "--trials", "2") == 0
    urls = [storage.default_url(tmp_path / "studies"), server.database(), storage.default_url(tmp_path / "back")]
    studies = [tiny.load(tmp_path)]
    odd = {1: float("nan"), 2: 0.1 + 0.2}
    studies[0].add_trial(optuna.create_trial(state=TrialState.FAIL, intermediate_values=odd))
    for number, url in enumerate(urls[1:]):
        file = tmp_path / f"{number}.zip"
        packing.pack(studies[-1], file, tmp_path / "spaces", tmp_path / "studies" / "artifacts")
        studies.append(packing.unpack(file, url, tmp_path / "studies").study)

    def facts(study: optuna.Study) -> list[list[str]]:
        """Servers give attributes in any order, and NaN is not itself."""
        return [
            sorted(
                map(repr, [t.number, t.state, t.values, *(pair for values in by_name(t) for pair in values.items())])
            )
            for t in study.trials
        ]

    def by_name(trial: FrozenTrial) -> tuple[dict[Any, Any], ...]:
        return trial.params, trial.distributions, trial.intermediate_values, trial.user_attrs, trial.system_attrs

    assert facts(studies[0]) == facts(studies[1]) == facts(studies[2])
    assert {lock.SEARCH: None, **studies[2].user_attrs} == studies[0].user_attrs
    with lock.held(studies[1]), pytest.raises(MilairError, match="it can be packed when that has ended"):
        packing.pack(studies[1], tmp_path / "held.zip", tmp_path / "spaces", tmp_path / "studies" / "artifacts")


@pytest.mark.parametrize("wrong", ["password", "database"])
def test_a_server_that_refuses_is_quoted_in_one_line(server: Server, wrong: str) -> None:
    url = server.url("nowhere" if wrong == "database" else "postgres")
    with pytest.raises(MilairError) as caught:
        storage.open_storage(url if wrong == "database" else url.replace(server.password, server.password.upper()))
    said = str(caught.value)
    refused = 'database "nowhere" does not exist' if wrong == "database" else 'authentication failed for user "milair"'
    assert refused in said
    assert "\n" not in said
    assert server.password not in said.lower()
