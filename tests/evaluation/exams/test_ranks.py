"""Several ranks answer one exam: the same bytes as one, one writer, and one line when another rank is gone."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.exam_ranks import KILLED, results, run_ranks
from support.paths import SAMPLE

from medllm_hf.evaluation.exams import ranks
from medllm_hf.evaluation.exams.batching import Share
from medllm_hf.evaluation.runs.folder import read_run

TEST, TRAIN = str(SAMPLE / "questions_test.jsonl"), str(SAMPLE / "questions_train.jsonl")


@pytest.mark.parametrize(("size", "count"), [(1, 5), (2, 5), (2, 4), (3, 2), (4, 9)])
def test_ranks_share_all_portions_and_each_batch_falls_to_one(size, count):
    batches = [[0, 1], [2], [3, 4], [5]]
    computed = []
    for rank in range(size):
        share = Share(rank, size)
        for portion, split in share.portions(list(range(count))):
            takes = share.takes({0, 2, 4, 5}, split)
            computed += [(portion, tuple(batch)) for batch in batches if takes(batch)]
    assert sorted(computed) == [(portion, tuple(batch)) for portion in range(count) for batch in batches]


def test_a_batch_without_a_lacking_question_falls_to_nobody():
    takes = Share(0, 2).takes({3, 4, 5})
    assert [takes(batch) for batch in ([0, 1], [2], [3], [4], [5])] == [False, False, True, False, True]


@pytest.mark.parametrize("numbers", [("2", "2"), ("x", "2"), ("0", "0"), ("-1", "2")])
def test_numbers_of_no_launcher_are_refused(monkeypatch, refused, tmp_path, numbers):
    for name, value in zip(("RANK", "WORLD_SIZE"), numbers, strict=True):
        monkeypatch.setenv(name, value)
    line = refused("eval", "mcq", "--model", "m", "--data", TEST, "--out", str(tmp_path / "run"))
    assert f"RANK={numbers[0]} and WORLD_SIZE={numbers[1]}" in line


def test_without_a_launcher_nobody_is_waited_for(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks.meet.cache_clear()
    alone = ranks.meet()
    assert alone.is_first and list(alone.gathered(iter([(0, {})]))) == [(0, {})]
    alone.begin({1}, {})
    alone.end()


@pytest.fixture(scope="module")
def words(tiny, tmp_path_factory) -> list[str]:
    """Twenty questions and the tiny model in bfloat16, where a value depends on its neighbours in the batch."""
    folder = tmp_path_factory.mktemp("ranks")
    model = folder / "model"
    model.mkdir()
    for file in Path(tiny["base"]).iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    weights = load_file(model / "model.safetensors")
    save_file(
        {name: (8 * one).to(torch.bfloat16) for name, one in weights.items()}, model / "model.safetensors", {"format": "pt"}
    )
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    lines = Path(TEST).read_text(encoding="utf-8").splitlines()[:20]
    (folder / "twenty.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return ["eval", "mcq", "--model", str(model), "--data", str(folder / "twenty.jsonl")]


def one_rank(words: list[str], out: Path) -> dict[str, bytes]:
    [(code, said, err)] = run_ranks([*words, "--out", str(out)], 1)
    assert code == 0, err
    return results(out)


LETTERS = ("--shots", "1", "--examples", TRAIN, "--batch-tokens", "600")


@pytest.mark.slow
@pytest.mark.parametrize("way", [LETTERS, ("--mode", "reply", "--max-new-tokens", "5", "--batch-tokens", "900")])
def test_two_ranks_equal_one_to_the_byte(words, tmp_path, way):
    expected = one_rank([*words, *way], tmp_path / "one")
    (code, said, err), (other, nothing, silent) = run_ranks([*words, *way, "--out", str(tmp_path / "two")], 2)
    assert (code, other) == (0, 0), err + silent
    assert results(tmp_path / "two") == expected
    assert said.count("accuracy") == 1 and nothing == "", "the first rank alone prints"
    run = read_run(tmp_path / "two")
    assert run["manifest"]["hardware"]["ranks"] == 2 and len(run["outputs"]) == 20


@pytest.mark.slow
@pytest.mark.parametrize("dying", [0, 1])
def test_a_killed_rank_ends_the_other_with_one_line_and_the_run_goes_on(words, tmp_path, dying):
    flags, out = [*words, *LETTERS], tmp_path / "run"
    expected = one_rank(flags, tmp_path / "one")
    ended = run_ranks([*flags, "--out", str(out)], 2, death=(dying, 4))
    assert ended[dying][0] == KILLED
    code, _, err = ended[1 - dying]
    assert code == 1 and len(err.strip().splitlines()) == 1, err
    assert f"rank {dying} of 2 gone" in err and "run the same command again" in err
    kept = (out / "outputs.jsonl").read_bytes().count(b"\n")
    assert 0 < kept < 20 and not (out / "metrics.json").exists()
    assert [code for code, *_ in run_ranks([*flags, "--out", str(out)], 2)] == [0, 0]
    assert results(out) == expected


@pytest.mark.slow
def test_what_the_first_rank_refuses_is_told_once(words, tmp_path):
    (tmp_path / "file").write_text("")
    codes = run_ranks([*words, "--shots", "3", "--examples", str(tmp_path / "absent"), "--out", str(tmp_path / "run")], 2)
    assert [code for code, *_ in codes] == [2, 1]
    assert "absent" in codes[0][2] and codes[1][1:] == ("", "")
