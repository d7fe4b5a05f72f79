"""The base beside the model in a card: the same questions by the same settings, the paired difference, and what is refused."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from support.published_model import exams, publish

from medllm_hf.cli import main
from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.derive import check_run
from medllm_hf.evaluation.exams.report import comparison
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.folders import read_json


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    """A model made of the tiny base, its exams, and those of the base."""
    folder = tmp_path_factory.mktemp("base-runs")
    model = shutil.copytree(tiny["base"], folder / "tuned")
    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if name.endswith("q_proj.weight"))
    weights[name] = -3 * weights[name]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    (folder / "of-base").mkdir()
    return {"model": model, "after": exams(model, folder), "before": exams(tiny["base"], folder / "of-base"), "folder": folder}


@pytest.fixture(scope="module")
def repository(runs):
    told = {"base_model": "org/base", "base_runs": list(map(str, runs["before"]))}
    return publish(runs["model"], runs["folder"] / "repository", runs["after"], **told)


def lines_of(folder, capsys, data):
    capsys.readouterr()
    code = main(["verify", str(folder), "--data", str(data)])
    return code, capsys.readouterr().out.split("\n")[:-3]


def test_the_card_has_both_and_the_difference_on_the_same_questions(runs, repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    after, before = (check_run("x", read_run(str(runs[name][0]))) for name in ("after", "before"))
    found = comparison(after, before)
    shares = [f"{100 * (found['both'] + found[side]) / 8:.1f}%" for side in ("only_second", "only_first")]
    change = f"{100 * found['difference']:+.1f}"
    ends = f"{100 * found['interval_low']:+.1f} to {100 * found['interval_high']:+.1f}"
    assert f"| {' | '.join(shares)} | {change} | {ends} |" in text
    assert "| eight.jsonl (all rotations 全部轮换) | likelihood |" in text and "| eight.jsonl | likelihood |" in text
    assert "| exam | this model 本模型 |" in text and "| eval-base/exam | base 基座 org/base |" in text
    assert "- `eval-base/exam`: `" in text


def test_verify_derives_both_and_declares_whose_weights_the_base_is(runs, repository, capsys):
    code, lines = lines_of(repository, capsys, runs["folder"] / "eight.jsonl")
    assert code == 0, [line for line in lines if not line.startswith(("confirmed", "declared"))]
    assert any(line.startswith("confirmed     eval-base/exam/metrics.json accuracy") for line in lines)
    assert any(line.startswith("declared      eval-base/exam/manifest.json model.weights_sha256") for line in lines)
    assert any(line.startswith("confirmed     eval-base/exam/manifest.json settings.prompt_sha256") for line in lines)
    rows = [line for line in lines if "| eval-base/" in line]
    assert len(rows) == 2 and all(line.endswith("the figures; whose weights they are of is declared") for line in rows)


def edit_scores(folder):
    path = folder / "eval-base/exam/metrics.json"
    path.write_text(path.read_text().replace('"accuracy": 0', '"accuracy": 1', 1))


def edit_outputs(folder):
    path = folder / "eval-base/exam/outputs.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["logprobs"] = {name: -1.0 - place for place, name in enumerate(row["logprobs"])}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def edit_weights(folder):
    path = folder / "eval-base/exam/manifest.json"
    own = read_json(folder / "eval/exam/manifest.json")["model"]["weights_sha256"]
    found = read_json(path)
    found["model"]["weights_sha256"] = own
    path.write_text(json.dumps(found))


def edit_settings(folder):
    path = folder / "eval-base/exam/manifest.json"
    found = read_json(path)
    found["settings"]["normalization"] = "tokens"
    path.write_text(json.dumps(found))


def edit_hash(folder):
    path = folder / "eval-base/exam/manifest.json"
    found = read_json(path)
    found["model"]["files_sha256"]["config.json"] = "zzz"
    path.write_text(json.dumps(found))


def edit_weights_to_zeros(folder):
    path = folder / "eval-base/exam/manifest.json"
    found = read_json(path)
    found["model"]["weights_sha256"] = "0" * 64
    path.write_text(json.dumps(found))


def edit_kind(folder):
    path = folder / "eval-base/exam/manifest.json"
    path.write_text(json.dumps({**read_json(path), "kind": "pair"}))


@pytest.mark.parametrize(
    "change", [edit_scores, edit_outputs, edit_weights, edit_settings, edit_kind, edit_hash, edit_weights_to_zeros]
)
def test_a_base_made_worse_is_told(runs, repository, tmp_path, capsys, change):
    folder = shutil.copytree(repository, tmp_path / "repository")
    change(folder)
    code, lines = lines_of(folder, capsys, runs["folder"] / "eight.jsonl")
    assert code == 1 and any(line.startswith("different     eval-base/exam") for line in lines), lines


def test_a_base_by_other_settings_or_of_the_same_weights_is_refused(runs, tmp_path):
    with pytest.raises(UserError, match="no exam of this model like it, which differs in settings.circular"):
        publish(runs["model"], tmp_path / "out", runs["after"][:1], base_runs=[str(runs["before"][1])])
    with pytest.raises(UserError, match="no exam of this model like it; expected"):
        publish(runs["model"], tmp_path / "out", base_runs=[str(runs["before"][0])])
    other = shutil.copytree(runs["before"][0], tmp_path / "quantised")
    manifest = read_json(other / "manifest.json")
    manifest["settings"]["quantization"] = "4bit"
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="which differs in settings.quantization"):
        publish(runs["model"], tmp_path / "out", runs["after"][:1], base_runs=[str(other)])
    with pytest.raises(UserError, match="of this very model"):
        publish(runs["model"], tmp_path / "out", runs["after"], base_runs=[str(runs["after"][0])])
    assert not (tmp_path / "out").exists()
