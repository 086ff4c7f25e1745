"""A difference is that of the figures, its interval that of images drawn in pairs, and its seeds' spread is said."""

import json
import sys

import numpy as np
import pytest

from experiments import RESULTS, compare, per_image, ranking, trained
from experiments import results as results_module
from experiments.caption_metrics import evaluate_captions
from experiments.compare import differences
from experiments.per_image import captions_row, ranking_row
from vse.metrics import Recall, bootstrap_rsum, rsum
from vse.system.errors import InputError

OWNER = np.repeat(np.arange(40), 5)


def row(name: str, seed: int, seeds: int = 2, worst: int = 20, pairs_with: str = "test"):
    """A ranking row of random ranks."""
    draw = np.random.default_rng(seed)
    i2t, t2i = (draw.integers(1, worst, (seeds, size)) for size in (40, 200))
    return ranking_row(name, pairs_with, i2t, t2i, OWNER), i2t, t2i


def test_the_means_are_those_of_the_metrics_over_seeds():
    (a, *ranks), (b, *_) = row("a", 0, seeds=3), row("b", 1)
    found = differences(a, b, draws=10)
    of_seeds = [(Recall.of(i2t), Recall.of(t2i)) for i2t, t2i in zip(*ranks, strict=True)]
    assert found["i2t R@5"]["a"] == pytest.approx(np.mean([i2t.r5 for i2t, _ in of_seeds]))
    assert found["t2i R@10"]["a"] == pytest.approx(np.mean([t2i.r10 for _, t2i in of_seeds]))
    sums = [rsum(*both) for both in of_seeds]
    assert found["rsum"]["a"] == pytest.approx(np.mean(sums))
    assert found["rsum"]["seeds"] == [3, 2]
    assert found["rsum"]["seeds_sd"][0] == pytest.approx(np.std(sums, ddof=1))
    sd_a, sd_b = found["rsum"]["seeds_sd"]
    assert found["rsum"]["seeds_error"] == pytest.approx(np.sqrt(sd_a**2 / 3 + sd_b**2 / 2))
    assert found["rsum"]["difference"] == pytest.approx(found["rsum"]["a"] - found["rsum"]["b"])


def test_the_interval_against_nothing_is_that_of_a_row_alone():
    """Against a row that never hits, A - B is A: its interval must be `bootstrap_rsum`'s."""
    a, i2t, t2i = row("a", 0, seeds=1)
    never = ranking_row("never", "test", np.full_like(i2t, 99), np.full_like(t2i, 99), OWNER)
    low, high = differences(a, never, draws=20_000)["rsum"]["interval"]
    assert (low, high) == pytest.approx(bootstrap_rsum(i2t[0], t2i[0], OWNER, draws=20_000), rel=0.01)


def test_images_are_drawn_in_pairs():
    """B loses R@1 at 8 of 40 images and is A elsewhere: only which of the 8 are drawn matters."""
    i2t, t2i = np.tile([1, 30], 20)[None], np.full((1, 200), 30)
    worse = i2t.copy()
    worse[0, :16:2] = 2
    a, b = (ranking_row("x", "test", ranks, t2i, OWNER) for ranks in (i2t, worse))
    found = differences(a, b, draws=20_000)["i2t R@1"]
    assert found["difference"] == pytest.approx(20.0)
    drawn = 100 * np.random.default_rng(1).binomial(40, 0.2, 20_000) / 40
    assert found["interval"] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=2.6)
    assert found["below_zero"] == 0.0 and found["real"]


def test_a_row_against_itself_is_no_difference():
    a, *_ = row("a", 0)
    for own in differences(a, a, draws=100).values():
        assert own["difference"] == own["below_zero"] == 0.0 and own["interval"] == [0.0, 0.0] and not own["real"]


def test_swapping_the_rows_turns_the_sign():
    (a, *_), (b, *_) = row("a", 0), row("b", 1)
    there, back = differences(a, b, draws=500)["rsum"], differences(b, a, draws=500)["rsum"]
    assert there["difference"] == -back["difference"]
    assert there["interval"] == pytest.approx([-back["interval"][1], -back["interval"][0]])


def test_seeds_that_spread_make_a_sure_interval_unreal():
    hit, miss = np.ones((1, 40), int), np.full((1, 40), 30)
    t2i = np.full((2, 200), 30)
    b = ranking_row("b", "test", np.repeat(miss, 2, 0), t2i, OWNER)
    lucky = ranking_row("lucky", "test", np.concatenate([hit, miss]), t2i, OWNER)  # one seed has all, one nothing
    found = differences(lucky, b, draws=200)["i2t R@1"]
    assert found["interval"][0] > 0 and found["seeds_error"] == pytest.approx(50.0) and not found["real"]


def test_images_without_captions_have_no_rank():
    owner = np.array([0, 0, 2])  # image 1 has none
    found = ranking_row("a", "test", np.array([[1, 9]]), np.array([[1, 9, 1]]), owner)
    figures = per_image.recalls(found.images.sum(1))
    assert figures["i2t R@1"] == 50.0 and figures["t2i R@1"] == pytest.approx(200 / 3)


def test_rows_of_other_images_are_refused():
    with pytest.raises(InputError, match="a is of test, b is|b of dev; expected rows of the same images"):
        differences(row("a", 0)[0], row("b", 0, pairs_with="dev")[0])


REFERENCES = [["a brown dog runs on grass", "the dog runs"], ["two kids play ball", "children playing outside"],
              ["a man on a red bike rides fast"]]  # fmt: skip
CAPTIONS = [["a dog runs on the grass", "two kids play outside", "a man rides a bike"],
            ["a cat", "kids", "a man on a red bike"]]  # fmt: skip


def test_caption_figures_are_those_of_the_corpus_for_every_draw(monkeypatch):
    """Drawing an image twice is a corpus that has it twice. Without Java, which the figures do not hang on."""
    monkeypatch.setenv("PATH", "")
    found = captions_row("a", "dev", REFERENCES, CAPTIONS)
    for drawn in ([0, 1, 2], [0, 0, 2]):
        weights = np.bincount(drawn, minlength=3)[None].astype(float)
        for captions, images in zip(CAPTIONS, found.images, strict=True):
            figures = per_image.caption_figures(weights @ images)
            corpus = evaluate_captions([REFERENCES[i] for i in drawn], [captions[i] for i in drawn])
            assert "meteor" not in figures
            for k in (1, 2, 3, 4):
                assert figures[f"bleu{k}"][0] == pytest.approx(corpus[f"bleu{k}"], abs=1e-2)
            assert figures["rouge_l"][0] == pytest.approx(corpus["rouge_l"])
            if drawn == [0, 1, 2]:  # document frequencies are those of the whole split
                assert figures["cider"][0] == pytest.approx(corpus["cider"])


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A results folder with one ranking row of `linear` and its ranks."""
    _, i2t, t2i = row("linear", 0, seeds=1)
    half = {way: {f"r{k}": 100 * np.mean(r <= k) for k in per_image.KS} for way, r in (("i2t", i2t), ("t2i", t2i))}
    for module in (compare, per_image, results_module):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    (tmp_path / "linear.json").write_text(json.dumps({"rows": [{"dev": half}]}))
    (tmp_path / "ranks").mkdir()
    arrays = {"data": np.array("x"), "dev_i2t": i2t, "dev_t2i": t2i, "dev_owner": OWNER}
    np.savez(tmp_path / "ranks" / "linear.npz", **arrays)
    return tmp_path, arrays


def test_kept_ranks_are_read_and_only_if_they_give_the_results_figures(results, monkeypatch):
    folder, arrays = results
    assert per_image.read_ranking("linear", "dev").images.shape == (1, 40, 8)
    with pytest.raises(InputError, match="no test row"):
        per_image.read_ranking("linear", "test")
    monkeypatch.setattr(per_image, "ranks_of_runs", lambda name: arrays)
    stale = arrays | {"dev_i2t": arrays["dev_i2t"] + 5}
    np.savez(folder / "ranks" / "linear.npz", **stale)
    assert per_image.read_ranking("linear", "dev").images[0, :, 0].sum() == np.sum(arrays["dev_i2t"] == 1)  # made anew
    monkeypatch.setattr(per_image, "ranks_of_runs", lambda name: stale)
    np.savez(folder / "ranks" / "linear.npz", **stale)
    with pytest.raises(InputError, match="linear.json: not the figures of the runs"):
        per_image.read_ranking("linear", "dev")
    (folder / "ranks" / "linear.npz").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(InputError, match="cannot be read"):
        per_image.read_ranking("linear", "dev")


def test_results_that_cannot_be_compared_are_refused(results):
    folder, _ = results
    (folder / "captions-x.json").write_text("{}")
    assert compare.row_name(str(folder / "linear.json")) == compare.row_name("linear") == "linear"
    with pytest.raises(InputError, match="best: no such result in .*captions-x, linear"):
        compare.row_name("best")
    with pytest.raises(InputError, match="the same kind"):
        compare.compare("linear", "captions-x")


def test_kept_ranks_of_the_project_give_its_results():
    """In CI too: no run, no photo is needed."""
    kept = sorted((RESULTS / "ranks").glob("*.npz"))
    for path in kept:
        rows = json.loads((RESULTS / f"{path.stem}.json").read_text())["rows"]
        with np.load(path, allow_pickle=False) as arrays:
            assert per_image.agrees(dict(arrays), rows), f"{path.stem}: run experiments.compare again"
    for path in RESULTS.glob("compare-*.json"):
        result = json.loads(path.read_text())
        assert path.stem == f"compare-{result['a']}-{result['b']}"
        if {result["a"], result["b"]} <= {p.stem for p in kept}:
            split = result["images"].partition(" ")[0]
            again = compare.compare(result["a"], result["b"], split, draws=500)["figures"]["rsum"]
            committed = result["figures"]["rsum"]
            assert again["difference"] == pytest.approx(committed["difference"])
            assert again["interval"] == pytest.approx(committed["interval"], abs=2.0)


def test_the_command_writes_what_it_shows_and_says_mistakes_in_one_line(results, monkeypatch, capsys):
    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["compare", *map(str, arguments)])
        status = compare.main()
        return status, *capsys.readouterr()

    folder, _ = results
    asked = (folder / "linear.json", "linear", "--split", "dev", "--draws", 50)
    status, out, err = command(*asked, "--json", folder / "o")
    assert status == 0 and "95 % interval" in out and err == ""
    written = json.loads((folder / "o").read_text())
    assert written["figures"]["rsum"]["difference"] == 0.0 and written["draws"] == 50
    for wrong in (("linear", "nothing"), ("linear", "linear", "--split", "dev", "--draws", 0)):
        status, out, err = command(*wrong)
        assert status == 1 and out == "" and err.count("\n") == 1 and err.startswith("experiments.compare: ")


def test_captions_are_kept_and_read_again_in_the_order_of_their_images(results, monkeypatch, dataset):
    monkeypatch.setenv("PATH", "")
    dev = dataset.split("dev")
    own = {image: dev.captions[list(dev.image_of_caption).index(i)] for i, image in enumerate(dev.images)}
    images = dev.images[::-1][:4]
    per_image.save_texts("captions-x", "dev", images, [{"seed": 0, "captions": [own[image] for image in images]}])
    found = per_image.read_captions_row("captions-x", dataset)
    assert per_image.caption_figures(found.images[0].sum(0, keepdims=True))["bleu1"] == pytest.approx(100)
    per_image.save_texts("captions-y", "dev", ["other.jpg"], [{"seed": 0, "captions": ["a dog"]}])
    with pytest.raises(InputError, match="other.jpg is no dev photo"):
        per_image.read_captions_row("captions-y", dataset)
    with pytest.raises(InputError, match="captions-z.json: no captions kept"):
        per_image.read_captions_row("captions-z", dataset)


class Model:
    """Points that a seed says."""

    def __init__(self, seed: int):
        self._draw = np.random.default_rng(seed)

    def encode_images(self, features):
        return self._draw.normal(size=(3, 4)).astype(np.float32)

    def encode_texts(self, texts):
        return self._draw.normal(size=(len(texts), 4)).astype(np.float32)


class Rows:
    def take(self, names):
        return names


def test_an_ensemble_scores_as_the_mean_of_its_models():
    both = trained.Scorer([Model(0), Model(1)], [Rows(), Rows()])
    alone = [trained.Scorer([Model(seed)], [Rows()]) for seed in (0, 1)]
    scores = [scorer.images(["a", "b", "c"]) @ scorer.texts(["x", "y"]).T for scorer in (both, *alone)]
    np.testing.assert_allclose(scores[0], (scores[1] + scores[2]) / 2, rtol=1e-5)


def test_rows_without_a_run_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(ranking, "RUNS", tmp_path)
    with pytest.raises(InputError, match="best-0: not there.*experiments.ranking best"):
        trained.scorers("ensemble")
    with pytest.raises(InputError, match="nothing: no such row; expected one of paper"):
        trained.scorers("nothing")
