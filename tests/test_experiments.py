"""The README says what the committed results say, and every row names settings that exist."""

import re
import subprocess
import sys

import pytest

from experiments import RESULTS, paper, ranking, tables
from vse.errors import InputError
from vse.recipes import RECIPES

README = tables.README.read_text(encoding="utf-8")


def test_every_table_of_the_readme_is_what_the_results_give():
    assert tables.rendered(README) == README, "run: make tables"


def test_a_changed_figure_is_found(tmp_path, monkeypatch):
    assert re.search(r"<!-- table \w+ -->", README)
    row = next(line for line in README.splitlines() if line.startswith("| **ours"))
    figure = re.search(r"\d+\.\d", row)[0]
    wrong = README.replace(row, row.replace(figure, f"{float(figure) + 0.1:.1f}", 1))
    monkeypatch.setattr(tables, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(wrong)
    monkeypatch.setattr(sys, "argv", ["tables", "--check"])
    assert tables.main() == 1
    monkeypatch.setattr(sys, "argv", ["tables"])
    assert tables.main() == 0
    assert (tmp_path / "README.md").read_text() == README


@pytest.mark.parametrize("name", ranking.EXPERIMENTS)
def test_every_experiment_names_settings_features_and_members_that_exist(name):
    experiment = ranking.EXPERIMENTS[name]
    ranking.changed(RECIPES[experiment.recipe](), experiment.changes)
    assert {*experiment.members, *experiment.teachers} <= set(ranking.EXPERIMENTS)
    assert not experiment.test or len(experiment.seeds) >= 3


def test_an_unknown_setting_is_refused():
    with pytest.raises(InputError, match="loss.margins"):
        ranking.changed(RECIPES["paper"](), {"loss.margins": 0.1})


def test_every_result_is_of_an_experiment_and_has_its_settings():
    for result in tables.results():
        if "experiments.ranking" in result.get("command", ""):
            experiment = ranking.EXPERIMENTS[result["name"]]
            assert result["command"].endswith(result["name"])
            assert len(result["rows"]) == (1 if experiment.members else len(experiment.seeds))
            assert experiment.test or "test_rsum" not in result  # test is read for settled rows alone


def test_the_printed_sums_of_the_paper_are_percentages():
    for row in paper.FLICKR8K:
        for r1, r5, r10, _ in (row.i2t, row.t2i):
            assert 0 <= r1 <= r5 <= r10 <= 100


def test_missing_data_is_said_in_one_line(tmp_path):
    got = subprocess.run(
        [sys.executable, "-m", "experiments.ranking", "paper"],
        cwd=tmp_path, env={"PYTHONPATH": str(RESULTS.parent.parent), "PATH": ""},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert got.returncode == 1
    assert got.stderr.count("\n") == 1 and "vse download" in got.stderr
