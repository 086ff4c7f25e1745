"""vse.train: it learns, says the same bits again, and a killed run ends where an uninterrupted one does."""

import dataclasses
import json
import os
import random
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from processes import run_training, start

from vse import train as train_module
from vse.configs import TrainConfig
from vse.encoders.image import ImageConfig
from vse.encoders.text import TextConfig
from vse.evaluate import evaluate
from vse.features.store import Features
from vse.losses import LossConfig
from vse.model import VSEConfig
from vse.runs import checkpoint
from vse.runs.checkpoint import load, load_resume, save_resume
from vse.system import precision as precision_module
from vse.system.errors import InputError
from vse.system.files import LOCK, locked
from vse.system.precision import resolve_precision
from vse.train import train

PLAIN = TrainConfig(
    model=VSEConfig(embed_dim=8, init_range=0.0, text=TextConfig(encoder="gru", word_dim=8, hidden=8)),
    epochs=3, batch_size=16, optimizer="adam", learning_rate=0.02,
)  # fmt: skip
DROPOUT = replace(
    PLAIN.model,
    image=ImageConfig(dropout=0.3),
    text=TextConfig(encoder="lstm", word_dim=8, hidden=8, dropout=0.2, word_dropout=0.1, length_groups=2),
)


def tensors(out):
    """All that decides how a run goes on and what it gives: the kept model and the resume state."""
    kept = {f"kept/{name}": value for name, value in load(out).state_dict().items()}
    saved = load_resume(out)
    return kept | (saved[0] if saved else {}), saved and saved[1]


def lines(out):
    """metrics.jsonl without the times; none where there is no such file yet."""
    path = out / "metrics.jsonl"
    read = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{k: v for k, v in line.items() if k not in ("seconds", "captions_per_s")} for line in read]


def same_bits(a, b):
    (x, counted), (y, expected) = tensors(a), tensors(b)
    assert x.keys() == y.keys() and counted == expected
    assert all(torch.equal(x[name], y[name]) for name in x)
    # The interval is nan while training, and nan is not nan.
    assert json.dumps(lines(a)) == json.dumps(lines(b))


@pytest.fixture(scope="module")
def plain(dataset, features, tmp_path_factory):
    """The run folder of PLAIN, not interrupted."""
    out = tmp_path_factory.mktemp("plain") / "run"
    train(PLAIN, dataset, features, out, device="cpu")
    return out


@pytest.mark.parametrize(
    "settings",
    [
        replace(PLAIN, epochs=12, loss=LossConfig(name="infonce", temperature=0.1)),
        replace(PLAIN, epochs=20, optimizer="sgd", learning_rate=1.0, decay=0.95, batch_size=8),
        pytest.param(replace(PLAIN, epochs=12, precision="bfloat16", average=0.9), marks=pytest.mark.bfloat16),
    ],
    ids=["infonce", "the-papers-sgd", "bfloat16-average"],
)
def test_it_learns_what_sentences_say(dataset, features, tmp_path, settings):
    """Combinations of colour and thing that were never seen together; chance is an rsum of about 330."""
    row = train(settings, dataset, features, tmp_path / "run", device="cpu")
    assert row.rsum >= 450 and row.i2t.r1 >= 40 and row.t2i.r1 >= 40
    first, last = lines(tmp_path / "run")[0], lines(tmp_path / "run")[-1]
    assert last["loss"] < 0.7 * first["loss"]


def test_what_is_kept_is_the_running_mean_of_the_weights(dataset, features, tmp_path):
    """An epoch is one step here; the mean is over few steps at first, so that the random start does not linger."""
    config, means, weights = replace(PLAIN, batch_size=1000, average=0.3), [], []
    for epoch in range(1, 6):
        train(replace(config, epochs=6), dataset, features, tmp_path, device="cpu", stop_after=epoch, resume=True)
        saved, _ = load_resume(tmp_path)
        names = [name.removeprefix("mean/") for name in saved if name.startswith("mean/")]
        means.append(torch.cat([saved[f"mean/{name}"].double().flatten() for name in names]))
        weights.append(torch.cat([saved[f"model/{name}"].double().flatten() for name in names]))
    assert not torch.equal(weights[0], weights[1])
    for step, kept in ((1, 2 / 11), (2, 3 / 12), (3, 0.3), (4, 0.3)):  # (1 + step) / (10 + step), 0.3 at most
        expected = kept * means[step - 1] + (1 - kept) * weights[step]
        torch.testing.assert_close(means[step], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_before_the_hardest_negatives_all_count_as_in_the_ranking_loss(dataset, features, tmp_path, reduction):
    for name, warmup_epochs in (("ranking", 0), ("hardest", 1)):
        loss = LossConfig(name=name, reduction=reduction, warmup_epochs=warmup_epochs)
        train(replace(PLAIN, epochs=2, loss=loss), dataset, features, tmp_path / name, device="cpu", stop_after=2)
    losses = [[line["loss"] for line in lines(tmp_path / name)] for name in ("ranking", "hardest")]
    assert losses[0][0] == losses[1][0] and losses[0][1] != losses[1][1]


def test_the_row_is_that_of_the_best_epochs_model(dataset, features, plain):
    row = train(PLAIN, dataset, features, plain, device="cpu", resume=True)  # finished: nothing is done again
    assert row == evaluate([load(plain)], dataset.split("dev"), [features])
    sums = [line["dev"]["rsum"] for line in lines(plain)]
    assert row.rsum == max(sums)
    summary = json.loads((plain / "metrics.json").read_text())
    assert summary["best_epoch"] == 1 + sums.index(max(sums)) and summary["dev"]["rsum"] == row.rsum


def test_a_finished_run_is_what_loading_needs_and_a_log(plain):
    names = sorted(path.name for path in plain.iterdir())
    assert names == [
        "config.json", "manifest.json", "metrics.json", "metrics.jsonl", "model.safetensors", "tensorboard",
        "vocabulary.txt",
    ]  # fmt: skip
    assert [line["epoch"] for line in lines(plain)] == [1, 2, 3]
    config = json.loads((plain / "config.json").read_text())
    assert checkpoint.config_from_dict(TrainConfig, config["train"]) == PLAIN


def test_the_vocabulary_is_that_of_the_training_captions(dataset, plain):
    words = load(plain).vocabulary
    assert "dog" in words and "zebra" not in words  # a dev caption has a zebra
    split = dataset.split("train")
    assert set(words.tokens[4:]) == {word for caption in split.captions for word in caption.split()}


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(dataset, features, plain, tmp_path):
    torch.manual_seed(123)  # what the process did before does not matter
    np.random.seed(5)
    train(PLAIN, dataset, features, tmp_path / "same", device="cpu")
    same_bits(plain, tmp_path / "same")
    train(PLAIN, dataset, features, tmp_path / "other", device="cpu", seed=1)
    a, b = load(plain).state_dict(), load(tmp_path / "other").state_dict()
    assert not any(torch.equal(a[name], b[name]) for name in a)


def test_the_callers_random_numbers_are_left_alone(dataset, features, tmp_path):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    train(replace(PLAIN, epochs=1, model=DROPOUT), dataset, features, tmp_path / "run", device="cpu")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


RESUMED = {
    "sgd": replace(PLAIN, optimizer="sgd", learning_rate=1.0),
    "adam": PLAIN,
    "adamw-average": replace(PLAIN, optimizer="adamw", weight_decay=0.1, average=0.9, schedule="cosine"),
    "dropout": replace(PLAIN, model=DROPOUT),
    "few": replace(PLAIN, loss=LossConfig(num_contrastive=2), warmup_steps=7),
    "hardest": replace(PLAIN, loss=LossConfig(name="hardest", warmup_epochs=2)),
    "infonce": replace(PLAIN, loss=LossConfig(name="infonce"), model=DROPOUT, average=0.9),
    "transformer": replace(
        PLAIN,
        loss=LossConfig(name="infonce"),
        optimizer="adamw",
        weight_decay=0.2,
        beta2=0.98,
        model=VSEConfig(
            embed_dim=8,
            init_range=0.0,
            image=ImageConfig(pooling="qkv", width=8, heads=2, dropout=0.1),
            text=TextConfig(
                encoder="transformer", tokens="bpe", merges=20, word_dim=8, hidden=8, layers=2, dropout=0.1
            ),
        ),
    ),
    "chunks": replace(PLAIN, loss=LossConfig(name="infonce"), model=DROPOUT, chunk_size=5),
    "extra-text": replace(PLAIN, loss=LossConfig(name="infonce"), extra_pairs=5),
}


@pytest.mark.parametrize("settings", RESUMED.values(), ids=RESUMED)
def test_resuming_after_every_epoch_equals_not_stopping(dataset, features, tmp_path, settings):
    """Two stored views, so that their draw is resumed too. Compared before the end, with optimizer and mean."""
    more = {"device": "cpu", "extra_text": dataset if settings.extra_pairs else None}
    settings = replace(settings, epochs=4)
    train(settings, dataset, features, tmp_path / "whole", stop_after=3, **more)
    for epoch in (1, 2, 3):
        train(settings, dataset, features, tmp_path / "parts", stop_after=epoch, resume=True, **more)
    same_bits(tmp_path / "whole", tmp_path / "parts")
    optimizer = {name.rsplit("/", 1)[1] for name in load_resume(tmp_path / "parts")[0] if name.startswith("opt")}
    assert optimizer == (set() if settings.optimizer == "sgd" else {"step", "exp_avg", "exp_avg_sq"})


def test_a_run_that_is_killed_at_any_moment_ends_where_an_uninterrupted_one_does(dataset, features, tmp_path):
    """Three SIGKILLs, each at a random moment of a random epoch."""
    settings = replace(PLAIN, epochs=12, model=DROPOUT, average=0.9)
    begin = time.perf_counter()
    train(settings, dataset, features, tmp_path / "whole", device="cpu")
    epoch_s = (time.perf_counter() - begin) / settings.epochs
    out, said, kills = tmp_path / "killed", tmp_path / "said.txt", []
    for first in (0, 3, 6):
        epochs, delay = random.randint(first, first + 2), random.uniform(0, epoch_s)
        process = start(run_training, said, (settings, dataset, features, out), {"resume": True})
        deadline = time.perf_counter() + 60
        while not (out / "tensorboard").exists() or len(lines(out)) < epochs:
            assert process.is_alive() and time.perf_counter() < deadline, said.read_text()
            time.sleep(0.002)
        time.sleep(delay)
        process.kill()
        process.join()
        kills.append((epochs, delay, process.exitcode))
    print("epochs, then seconds, then the exit status:", kills)
    assert kills[0][2] == -9
    train(settings, dataset, features, out, device="cpu", resume=True)
    same_bits(tmp_path / "whole", out)


def test_a_kill_while_the_best_model_is_written_repeats_the_epoch(dataset, features, plain, tmp_path, monkeypatch):
    """The worst moments, each tried: before each of the files of an epoch gets its name."""
    replace_file, names = os.replace, []

    def cut(count):
        def replaced(source, target):
            names.append(os.path.basename(target))
            if len(names) > count:
                raise KeyboardInterrupt
            replace_file(source, target)

        return replaced

    for count in range(1, 12, 2):
        names.clear()
        monkeypatch.setattr(os, "replace", cut(count))
        with pytest.raises(KeyboardInterrupt):
            train(PLAIN, dataset, features, tmp_path / str(count), device="cpu")
        monkeypatch.setattr(os, "replace", replace_file)
        train(PLAIN, dataset, features, tmp_path / str(count), device="cpu", resume=True)
        same_bits(plain, tmp_path / str(count))


def test_a_full_disk_ends_in_one_line_and_the_run_goes_on_later(dataset, features, plain, tmp_path, monkeypatch):
    out = tmp_path / "run"
    train(PLAIN, dataset, features, out, device="cpu", stop_after=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(InputError, match="No space left.*free some space") as error:
            train(PLAIN, dataset, features, out, device="cpu", resume=True)
    assert "\n" not in str(error.value)
    assert load(out)
    train(PLAIN, dataset, features, out, device="cpu", resume=True)
    same_bits(plain, out)


def test_resuming_with_nothing_saved_starts_from_the_beginning(dataset, features, plain, tmp_path):
    (tmp_path / "run" / "tensorboard").mkdir(parents=True)  # killed in its first epoch
    train(PLAIN, dataset, features, tmp_path / "run", device="cpu", resume=True)
    same_bits(plain, tmp_path / "run")


def refused(said, *args, **settings):
    with pytest.raises(InputError, match=said) as error:
        train(*args, device="cpu", **settings)
    assert "\n" not in str(error.value)


def test_a_folder_in_use_is_refused(dataset, features, plain, tmp_path):
    refused("not empty; .*--resume", PLAIN, dataset, features, plain)
    (tmp_path / "thesis.txt").write_text("mine")
    refused("not empty", PLAIN, dataset, features, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_with_other_settings_or_data_is_not_resumed(dataset, features, plain):
    refused("begun with --epochs [0-9]+, now it is 9", replace(PLAIN, epochs=9), dataset, features, plain, resume=True)
    refused("begun with --seed 0, now it is 7", PLAIN, dataset, features, plain, resume=True, seed=7)
    changed = replace(dataset, captions=("a new caption", *dataset.captions[1:]))
    refused("begun with the captions or splits of DATA", PLAIN, changed, features, plain, resume=True)
    other = Features(features.array, features.names, {"encoder": "vgg19"})
    refused("begun with --features", PLAIN, dataset, other, plain, resume=True)
    other = Features(features.array[..., :5], features.names)
    refused("begun with --features", PLAIN, dataset, other, plain, resume=True)


def test_data_that_cannot_be_learned_from_is_refused_before_the_first_step(dataset, features, tmp_path):
    out, split = tmp_path / "run", np.array(dataset.split_of_image)
    refused("no split 'dev'", PLAIN, dataset.select(split == "train"), features, out)
    bare = replace(dataset, captions=(), image_of_caption=np.zeros(0, np.int64))
    refused("no training captions", PLAIN, bare, features, out)
    kept = np.flatnonzero(split[dataset.image_of_caption] == "train")
    one_left = np.setdiff1d(np.arange(len(dataset.captions)), kept[1:])
    for rows, said in ((kept, "dev split has no captions"), (one_left, "too few")):
        fewer = replace(
            dataset,
            captions=tuple(dataset.captions[j] for j in rows),
            image_of_caption=dataset.image_of_caption[rows],
        )
        refused(said, PLAIN, fewer, features, out)
    few = Features(features.array[:9], features.names[:9])
    refused("missing", PLAIN, dataset, few, out)
    assert not any(out.iterdir())  # so the right command needs no other folder


def test_word_vectors_of_another_dimension_are_refused(dataset, features, tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("dog 1 2 3\ncat 4 5 6\n")
    refused("3 numbers: expected 8", PLAIN, dataset, features, tmp_path / "run", word_vectors=path)
    path.write_text("dog 1 2 3 4 5 6 7 8\n")
    frozen = replace(PLAIN, epochs=1, model=replace(PLAIN.model, text=replace(PLAIN.model.text, tune_words=False)))
    train(frozen, dataset, features, tmp_path / "run", device="cpu", word_vectors=path)
    model = load(tmp_path / "run")
    vector = model.text_encoder.words.vectors.weight[model.vocabulary.ids["dog"]]
    assert torch.allclose(vector / vector[0], torch.arange(1.0, 9.0))  # still in the file's direction


@pytest.mark.parametrize("schedule, rates", [("constant", [1, 1, 1]), ("exponential", [1, 0.5, 0.25])])
def test_the_learning_rate_follows_its_schedule(dataset, features, tmp_path, schedule, rates):
    settings = replace(PLAIN, schedule=schedule, decay=0.5, optimizer="sgd", learning_rate=0.5)
    train(settings, dataset, features, tmp_path / "run", device="cpu")
    assert [line["learning_rate"] for line in lines(tmp_path / "run")] == pytest.approx([0.5 * r for r in rates])


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "lion"}, {"schedule": "step"}, {"precision": "float8"}, {"epochs": 0}, {"batch_size": 1},
        {"learning_rate": 0.0}, {"min_count": 0}, {"average": 1.0}, {"extra_pairs": -3}, {"weight_decay": -1.0},
        *({name: float("nan")} for name in ("learning_rate", "decay", "gradient_norm", "weight_decay", "average")),
        {"epochs": 2.0}, {"epochs": True}, {"epochs": 2**64}, {"learning_rate": "1"},
    ],
)  # fmt: skip
def test_settings_without_sense_are_refused_in_one_line(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))) as error:
        checkpoint.config_from_dict(TrainConfig, wrong)
    assert "\n" not in str(error.value)


def test_the_defaults_are_the_papers():
    values = dataclasses.asdict(TrainConfig())
    text, loss = values["model"]["text"], values["loss"]
    assert (text["encoder"], text["hidden"], text["word_dim"], text["pooling"]) == ("lstm", 300, 300, "last")
    assert (values["model"]["embed_dim"], values["model"]["init_range"]) == (300, 0.08)
    assert (loss["name"], loss["margin"], values["optimizer"], values["learning_rate"]) == ("ranking", 0.2, "sgd", 1.0)
    assert (values["batch_size"], values["schedule"]) == (40, "exponential")


# --- What goes wrong, and what goes on on another machine ------------------------------------------------------------


def test_a_run_that_diverges_keeps_its_last_good_state(dataset, features, tmp_path, monkeypatch):
    """Nothing that is not finite is saved, and the user is told what was."""
    first = replace(PLAIN, epochs=3)
    train(first, dataset, features, tmp_path / "run", device="cpu", stop_after=1)
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.is_file()}
    monkeypatch.setattr(train_module._Training, "epoch", lambda self: float("nan"))
    with pytest.raises(InputError, match="diverged in epoch 2 .*its best epoch, 1, is kept; give a lower"):
        train(first, dataset, features, tmp_path / "run", device="cpu", resume=True)
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.is_file()}


def test_a_temperature_that_runs_away_is_a_run_that_diverges(dataset, features, tmp_path):
    config = replace(PLAIN, optimizer="adam", learning_rate=1e30, loss=LossConfig(name="infonce"))
    with pytest.raises(InputError, match="diverged in epoch 1 .*nothing was saved; give a lower"):
        train(config, dataset, features, tmp_path / "run", device="cpu")


def test_what_was_chosen_is_said_and_saved(plain, capsys, dataset, features, tmp_path):
    train(PLAIN, dataset, features, tmp_path / "run", device="cpu", stop_after=1)
    chosen = resolve_precision("auto")
    assert capsys.readouterr().out.count(f"precision: {chosen}, on ") == 1
    config = json.loads((plain / "config.json").read_text())
    assert (config["precision"], config["train"]["precision"]) == (chosen, "auto")


def test_a_run_goes_on_on_a_machine_of_the_other_kind(dataset, features, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(precision_module, "has_bfloat16", lambda kind="cpu": True)
    train(PLAIN, dataset, features, tmp_path / "run", device="cpu", stop_after=1)
    monkeypatch.setattr(precision_module, "has_bfloat16", lambda kind="cpu": False)
    train(PLAIN, dataset, features, tmp_path / "run", device="cpu", resume=True)
    assert "begun in bfloat16, goes on in float32" in capsys.readouterr().out


def test_two_trainings_in_one_folder(dataset, features, tmp_path):
    with locked(tmp_path / "run"), pytest.raises(InputError, match="is writing there"):
        train(PLAIN, dataset, features, tmp_path / "run", device="cpu")
    train(replace(PLAIN, epochs=1), dataset, features, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_resume_file_of_another_shape(dataset, features, tmp_path):
    train(PLAIN, dataset, features, tmp_path / "run", device="cpu", stop_after=1)
    tensors, counters = load_resume(tmp_path / "run")
    for name in ("model/image_encoder.W_I.weight", next(n for n in tensors if n.startswith("optimizer/"))):
        wrong = tensors | {name: torch.zeros(3, 3)}
        save_resume(tmp_path / "run", wrong, {k: v for k, v in counters.items() if k != "version"})
        with pytest.raises(InputError, match="damaged"):
            train(PLAIN, dataset, features, tmp_path / "run", device="cpu", resume=True)


def test_word_vectors_of_the_same_name_are_told_apart(dataset, features, tmp_path):
    """By their content."""
    for folder, number in (("a", 0.5), ("b", 0.25)):
        (tmp_path / folder).mkdir()
        line = " ".join([str(number)] * (PLAIN.model.text.word_dim - 1) + ["1.0"])
        (tmp_path / folder / "v.txt").write_text(f"dog {line}\nred {line}\n")
    files = [tmp_path / folder / "v.txt" for folder in "ab"]
    train(PLAIN, dataset, features, tmp_path / "run", device="cpu", word_vectors=files[0], stop_after=1)
    with pytest.raises(InputError, match="--word-vectors v.txt"):
        train(PLAIN, dataset, features, tmp_path / "run", device="cpu", word_vectors=files[1], resume=True)


def test_word_vectors_without_a_word_of_the_captions(dataset, features, tmp_path):
    line = " ".join(["0.5"] * PLAIN.model.text.word_dim)
    (tmp_path / "v.txt").write_text(f"hund {line}\nrot {line}\n")
    with pytest.raises(InputError, match="has none of the"):
        train(PLAIN, dataset, features, tmp_path / "run", device="cpu", word_vectors=tmp_path / "v.txt")
