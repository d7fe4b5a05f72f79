"""`medllm verify`: all confirmed as it was published; whatever is tampered with is detected and named."""

import shutil
import sys

import pytest
from support.commands import first_word, one_line_error, run
from support.hub_on_disk import start_hub
from support.paths import ROOT
from support.published_model import consultation, exams, publish
from support.tampering import TAMPERINGS

from medllm_hf.cli import main
from medllm_hf.folders import read_json, sha256, write_json
from medllm_hf.hub.cards import own_words


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A published model with two exams and a judged consultation, and the folder of their data."""
    folder = tmp_path_factory.mktemp("whole")
    runs = [*exams(tiny["base"], folder), consultation(tiny["base"], folder)]
    return publish(tiny["base"], folder / "repository", runs, base_model="org/base", benchmarks=["exam=org/bench#task"])


def verified(folder, capsys, whole, *words):
    """The exit code and the lines of `medllm verify` with the data at hand."""
    data = [str(whole.parent / name) for name in ("eight.jsonl", "cases.jsonl")]
    capsys.readouterr()
    code = main(["verify", str(folder), "--data", *data, *words])
    return code, capsys.readouterr().out.splitlines()


def test_every_figure_of_an_untouched_model_is_confirmed(whole, capsys):
    code, lines = verified(whole, capsys, whole)
    assert code == 0
    *derived, summary, proves = [line for line in lines if not line.startswith(("declared ", "unexamined "))]
    assert all(line.startswith("confirmed ") for line in derived), lines
    assert summary.endswith(" confirmed, 0 different, 0 not derivable; 24 declared, 1 unexamined")
    assert "does not mean that these weights gave the outputs" in proves
    assert any(line.startswith("declared ") and "eval/exam/manifest.json started: " in line for line in lines)
    named = ("eval/exam/metrics.json accuracy", "eval/talk/judge/metrics.json headline", "rubric.sha256", "prompt_sha256")
    for figure in (*named, "model.weights_sha256", 'README.md "| exam |', "model-index accuracy of exam", "exam.yaml value"):
        assert any(figure in line for line in lines), figure


def test_how_many_runs_there_were_is_declared(whole, capsys):
    lines = verified(whole, capsys, whole)[1]
    # The second exam has other settings; the log is of the same weights and questions.
    assert any(line.startswith("declared ") and line.endswith("eval/exam/manifest.json runs_in_log: 2") for line in lines)
    card = (whole / "README.md").read_text(encoding="utf-8")
    assert card.count("; 2 runs of these weights on this benchmark stand in the publisher's log (declared)") == 2
    assert not list(whole.rglob("medllm_runs.jsonl"))


def test_the_first_figure_is_told_before_any_tokenizer_is_loaded(whole):
    text, loaded = first_word("medllm", "verify", str(whole))
    assert text.startswith("confirmed ") and "model.weights_sha256" in text and loaded == []


def test_what_was_confirmed_before_damage_is_met_stands(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "repository")
    manifest = tmp_path / "repository" / "eval" / "exam" / "manifest.json"
    values = read_json(manifest)
    values["settings"]["shots"] = 1  # whose examples are looked for at the end
    write_json(manifest, values)
    code, lines = verified(tmp_path / "repository", capsys, whole)
    assert code == 1 and any(line.startswith("different     eval/exam:") and "no data.examples" in line for line in lines)
    assert any(line.startswith("confirmed     eval/exam/metrics.json accuracy") for line in lines)
    # No figure of the card follows from a run that is not whole.
    assert any(line.startswith("not derivable README.md model-index accuracy of exam") for line in lines)


def test_there_are_fifty_kinds_of_tampering_and_more():
    assert len({name for name, _, _ in TAMPERINGS}) == len(TAMPERINGS) >= 50


# Each takes a second: the default suite has every third.
@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(change, named, id=name, marks=[pytest.mark.slow] * (number % 3 > 0))
        for number, (name, change, named) in enumerate(TAMPERINGS)
    ],
)
def test_tampering_is_detected_and_named(whole, tmp_path, capsys, change, named):
    shutil.copytree(whole, tmp_path / "repository")
    change(tmp_path / "repository")
    code, lines = verified(tmp_path / "repository", capsys, whole)
    assert code == 1
    wrong = [line for line in lines[:-2] if not line.startswith(("confirmed ", "declared ", "unexamined "))]
    assert any(named in line for line in wrong), wrong


def test_what_needs_the_data_is_not_derivable_without_it(whole, capsys):
    assert main(["verify", str(whole)]) == 1
    lines = capsys.readouterr().out.splitlines()
    wrong = [line for line in lines[:-2] if not line.startswith(("confirmed ", "declared ", "unexamined "))]
    assert wrong and all(line.startswith("not derivable ") for line in wrong)
    assert any("eval/exam/manifest.json data.sha256: eight.jsonl is not at hand; name it with --data" in line for line in wrong)


def test_own_words_are_declared_between_their_marks_and_kept(tiny, tmp_path, capsys):
    section = "Thanks to all who helped. 感谢各位。\n\nThe best of 2026."
    folder = publish(tiny["base"], tmp_path / "repository", section=section)
    assert own_words((folder / "README.md").read_text(encoding="utf-8")) == section
    main(["verify", str(folder)])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("declared ") and "Thanks to all" in line for line in lines)
    assert any(line.startswith("declared ") and line.endswith("a rank, in the publisher's own words") for line in lines)
    assert not any(line.startswith("different ") for line in lines)


def test_wrong_words_are_refused_on_one_line(whole, refused, tmp_path):
    assert "no folder nowhere" in refused("verify", "nowhere")
    assert "--revision with a folder" in refused("verify", str(whole), "--revision", "main")
    assert "no file gone.jsonl" in refused("verify", str(whole), "--data", "gone.jsonl")
    assert "no .safetensors" in refused("verify", str(tmp_path))


@pytest.mark.slow
def test_a_model_on_the_hub_is_verified_without_its_weights(whole, tmp_path):
    hub = start_hub(tmp_path / "hub")
    try:
        environment = hub.environment(tmp_path / "home")
        code = "from huggingface_hub import HfApi; import sys; api = HfApi(); api.create_repo('org/tiny-7b'); "
        code += "api.upload_folder(repo_id='org/tiny-7b', folder_path=sys.argv[1])"
        done = run(sys.executable, "-c", code, str(whole), env=environment)
        assert done.returncode == 0, done.stderr
        hub.requests.clear()
        data = [str(whole.parent / name) for name in ("eight.jsonl", "cases.jsonl")]
        done = run("medllm", "verify", "org/tiny-7b", "--data", *data, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert " confirmed, 0 different, 0 not derivable; " in done.stdout
        fetched = [path for _, path in hub.requests if "/resolve/" in path]
        assert any(path.endswith("outputs.jsonl") for path in fetched)
        weights = sum(size for path, size in hub.given.items() if path.endswith(sha256(whole / "model.safetensors")))
        assert 0 < weights < 200_000 < (whole / "model.safetensors").stat().st_size, (
            "of the weights their header alone is fetched"
        )
        done = run("medllm", "verify", "org/tiny-7b", "--data", *data, "--rerun", "60", cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith("up to 60 answers of each exam are computed again on the published weights (seed 0)\n")
        assert done.stdout.count("outputs.jsonl rerun: 8 of 8 items again") == 1
        assert any("/resolve/" in path and path.endswith(".safetensors") for _, path in hub.requests)
        assert "org/other" in one_line_error(run("medllm", "verify", "org/other", cwd=ROOT, env=environment))
    finally:
        hub.close()
