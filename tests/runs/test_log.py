"""vse.runs.log where TensorBoard is not installed; with it, the tests of training look at what it leaves."""

import json

from vse.runs import log as module


def test_a_run_without_tensorboard_has_metrics_and_says_so_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "SummaryWriter", None)
    log = module.RunLog(tmp_path)
    lines = [{"epoch": epoch, "loss": 1.0, "dev": {"rsum": 300.0, "i2t": {"r1": 30.0}}} for epoch in (1, 2)]
    for line in lines:
        log.epoch(line)
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == lines
    assert capsys.readouterr().out.count('pip install ".[tensorboard]"') == 1
