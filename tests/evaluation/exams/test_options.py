"""What everybody expects of `medllm eval mcq`: a limit, the place and precision, one name for any model, adapters."""

import json
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.chat_server import ChatServer
from support.exam_ranks import results
from support.paths import SAMPLE
from transformers import AutoModelForCausalLM

from medllm_hf.checkpoint.adapted import adapted_tokenizer, read_adapted
from medllm_hf.checkpoint.merge import merge
from medllm_hf.cli import build_parser, main
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.evaluation.commands.report import report
from medllm_hf.evaluation.exams import ready
from medllm_hf.evaluation.exams.batching import CPU_WORK, tokens_for
from medllm_hf.evaluation.exams.settings import BATCH_TOKENS, Settings, resolve_defaults
from medllm_hf.evaluation.runs.behaviour import behaviour_hashes
from medllm_hf.evaluation.runs.folder import read_run, weights_hash
from medllm_hf.hub.publish import check_runs
from medllm_hf.pretrained import load_tokenizer

TRAIN, TEST = (str(SAMPLE / f"questions_{name}.jsonl") for name in ("train", "test"))
URL = "http://127.0.0.1:9/v1#m"


def examined(model: object, out: Path, data: str = TEST, **flags: object) -> dict:
    """The finished run of a model on the first six questions of the sample, whose exit code is 0."""
    assert mcq(str(model) if model else None, data, str(out), **{"limit": 6, **flags}) == 0
    return read_run(out)


def test_a_limit_asks_the_first_questions_and_says_so_everywhere(tiny, tmp_path, capsys, refused):
    lines = Path(TEST).read_text(encoding="utf-8").splitlines()[:10]
    (tmp_path / "ten.jsonl").write_text("\n".join(lines), encoding="utf-8")
    flags = {"shots": 1, "examples": TRAIN, "data": str(tmp_path / "ten.jsonl")}
    run = examined(tiny["base"], tmp_path / "run", **flags)
    assert "limited to 6 of 10 questions" in capsys.readouterr().out
    assert [row["id"] for row in run["outputs"]] == [json.loads(line)["id"] for line in lines[:6]]
    data = run["manifest"]["data"]
    assert (data["n"], data["of"], run["metrics"]["limited_to"]) == (6, 10, {"n": 6, "of": 10})
    whole = examined(tiny["base"], tmp_path / "whole", limit=None, **flags)
    assert "of" not in whole["manifest"]["data"] and "limited_to" not in whole["metrics"]
    drawn = whole["manifest"]["data"]["examples"]["ids"]
    assert data["examples"]["ids"].items() <= drawn.items(), "the examples do not depend on the limit"
    report([str(tmp_path / "run"), str(tmp_path / "whole")], str(tmp_path / "report"))
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert text.count("Limited to the first 6 of 10 questions: a trial") == 1
    assert len(json.loads((tmp_path / "report" / "results.json").read_text(encoding="utf-8"))["datasets"]) == 2
    with pytest.raises(Exception, match="limited to 6 of 10 questions; expected a run of all"):
        check_runs(Path(tiny["base"]), [str(tmp_path / "run")])
    assert check_runs(Path(tiny["base"]), [str(tmp_path / "whole")])
    words = ["--model", str(tiny["base"]), "--data", flags["data"], "--out", str(tmp_path / "run")]
    words += ["--shots", "1", "--examples", TRAIN]
    assert "data.n 7, where the run in" in refused("eval", "mcq", *words, "--limit", "7")


def test_a_limit_beyond_the_questions_is_none(tiny, tmp_path):
    assert "of" not in examined(tiny["base"], tmp_path / "run", limit=500)["manifest"]["data"]


def test_a_model_may_be_the_address_of_an_endpoint():
    asked = resolve_defaults(Settings(URL, "q.jsonl"))
    assert asked == resolve_defaults(Settings(None, "q.jsonl", url=URL)) and asked.model is None


def test_an_endpoint_is_asked_by_either_name(tmp_path):
    with ChatServer(lambda body: "答案：B") as server:
        runs = [
            examined(spec, tmp_path / name, url=url, limit=2)
            for name, spec, url in (("model", f"{server.url}#m", None), ("url", None, f"{server.url}#m"))
        ]
    assert runs[0]["manifest"]["model"] == runs[1]["manifest"]["model"] == {"id": "m", "endpoint": server.url}
    assert runs[0]["outputs"] == runs[1]["outputs"] and runs[0]["outputs"][0]["reply"] == "答案：B"


def test_the_names_of_other_tools():
    words = [
        "--model",
        "m",
        "--tasks",
        "cmexam",
        "--output_path",
        "o",
        "--num_fewshot",
        "3",
        "--batch_size",
        "4",
        "--limit",
        "9",
    ]
    found = vars(build_parser("eval mcq").parse_args(words))
    assert (found["data"], found["out"], found["shots"], found["batch_size"], found["limit"]) == (["cmexam"], "o", 3, 4, 9)
    assert vars(build_parser("eval mcq").parse_args([*words, "--batch-size", "auto"]))["batch_size"] is None


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--device", "cpu", "--model", URL), "--device with --url"),
        (("--dtype", "float32", "--url", URL), "--dtype with --url"),
        (("--quantization", "4bit", "--url", URL), "--quantization with --url"),
        (("--revision", "main", "--url", URL), "--revision with --url"),
        (("--batch-size", "2", "--url", URL), "--batch-size with --url"),
        (("--base", "b", "--url", URL), "--base with --url"),
        (("--limit", "0"), "--limit 0"),
        (("--batch-size", "0"), "--batch-size 0"),
        (("--batch-size", "many"), "--batch-size"),
        (("--device", "gpu 1"), "device 'gpu 1'"),
        (("--device", "cuda:7000"), "device 'cuda:7000'"),
        (("--device", "meta"), "device 'meta'"),
        (("--dtype", "float8"), "float8"),
        (("--quantization", "4bit", "--device", "cpu"), "quantization 4bit on cpu"),
        (("--revision", "main"), "--revision with the folder"),
        (("--base", "b"), "which is no adapter"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_used_is_refused_early(tiny, tmp_path, refused, words, named):
    model = () if URL in words else ("--model", str(tiny["base"]))
    assert named in refused("eval", "mcq", "--data", TEST, "--out", str(tmp_path / "run"), *model, *words)
    assert not (tmp_path / "run").exists()


def test_place_and_precision_are_used_and_recorded(tiny, tmp_path):
    runs = {dtype: examined(tiny["base"], tmp_path / dtype, dtype=dtype, device="cpu") for dtype in ("auto", "bfloat16")}
    for dtype, run in runs.items():
        settings = run["manifest"]["settings"]
        assert (settings["device"], settings["dtype"], settings["batch_tokens"]) == ("cpu", dtype, BATCH_TOKENS)
        assert "quantization" not in settings and "batch_size" not in settings
    low, full = ([row["logprobs"]["A"] for row in runs[dtype]["outputs"]] for dtype in ("bfloat16", "auto"))
    assert low != full and low == pytest.approx(full, abs=0.1)


def test_the_size_of_a_batch_is_a_limit_beside_its_tokens(tiny, tmp_path, monkeypatch):
    from medllm_hf.evaluation.exams import likelihood

    real, sizes = likelihood.flattened, []
    monkeypatch.setattr(
        likelihood, "flattened", lambda network, trees, *more: sizes.append(len(trees)) or real(network, trees, *more)
    )
    run = examined(tiny["base"], tmp_path / "run", batch_size=2)
    assert sizes and max(sizes) == 2 and run["manifest"]["settings"]["batch_size"] == 2


def test_a_forward_on_a_cpu_is_small_for_a_large_model():
    assert tokens_for("cpu", 10**6) == tokens_for("cuda:0", 7 * 10**9) == BATCH_TOKENS
    assert tokens_for("cpu", 5 * 10**8) == CPU_WORK // (5 * 10**8) < BATCH_TOKENS // 2
    assert tokens_for("cpu", 10**12) == tokens_for("cpu", 10**11) > 0


@pytest.fixture(scope="module")
def adapter(tiny, tmp_path_factory) -> Path:
    """A LoRA on attention, head-less, whose weights are no zeros, with a tokenizer beside it."""
    folder = tmp_path_factory.mktemp("lora") / "adapter"
    torch.manual_seed(1)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny["base"]), LoraConfig(r=4, lora_alpha=12, task_type="CAUSAL_LM")
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    load_tokenizer(tiny["base"]).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("flags", [{}, {"mode": "reply", "max_new_tokens": 4}], ids=["likelihood", "written"])
def test_an_adapter_answers_as_its_merged_weights_do(tiny, adapter, tmp_path, flags):
    merge(str(adapter), str(tmp_path / "merged"))
    run = examined(adapter, tmp_path / "adapter", **flags)
    examined(tmp_path / "merged", tmp_path / "run", **flags)
    assert results(tmp_path / "adapter") == results(tmp_path / "run")
    model = run["manifest"]["model"]
    assert model["id"] == "adapter" and model["weights_sha256"] != model["base"]["weights_sha256"]
    hashes = {"weights_sha256": weights_hash(tiny["base"]), "files_sha256": behaviour_hashes(Path(tiny["base"]))}
    assert model["base"] == {"id": Path(tiny["base"]).name, **hashes}


def test_an_adapter_has_the_template_and_the_end_that_it_was_trained_with(tiny, adapter, tmp_path):
    trained = tmp_path / "adapter"
    trained.mkdir()
    for file in adapter.iterdir():
        (trained / file.name).write_bytes(file.read_bytes())
    own = "{% for m in messages %}{{ m['content'] }}{{ '<unk>' if m['role'] == 'assistant' }}{% endfor %}"
    (trained / "chat_template.jinja").write_text(own)
    settings = json.loads((trained / "tokenizer_config.json").read_text())
    (trained / "tokenizer_config.json").write_text(json.dumps({**settings, "eos_token": "<unk>"}))
    tokenizer = adapted_tokenizer(read_adapted(trained, str(tiny["base"])))
    assert (tokenizer.chat_template, tokenizer.eos_token) == (own, "<unk>")


def test_an_adapter_whose_base_is_gone_or_quantised_is_refused(adapter, tmp_path, refused):
    config = json.loads((adapter / "adapter_config.json").read_text())
    lost = tmp_path / "lost"
    lost.mkdir()
    for file in adapter.iterdir():
        (lost / file.name).write_bytes(file.read_bytes())
    (lost / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(tmp_path / "moved")}))
    command = ("eval", "mcq", "--data", TEST, "--limit", "2", "--out", str(tmp_path / "run"), "--model")
    assert "name it with --base" in refused(*command, str(lost))
    assert main([*command, str(lost), "--base", config["base_model_name_or_path"]]) == 0


@pytest.mark.parametrize("package", ["torch", "transformers", "tqdm"])
def test_a_missing_package_is_told_before_anything_is_read(tiny, tmp_path, refused, monkeypatch, package):
    monkeypatch.setattr(ready, "find_spec", lambda name: None if name == package else object())
    monkeypatch.setattr("medllm_hf.evaluation.commands.mcq.read_benchmarks", lambda *_: pytest.fail("nothing is read yet"))
    line = refused("eval", "mcq", "--model", str(tiny["base"]), "--data", TEST, "--out", str(tmp_path / "run"))
    assert f"no package {package}" in line and "pip install" in line


def test_no_evaluate_is_needed(tiny, tmp_path, monkeypatch):
    """It was asked for after all answers, by a user who had installed medllm_hf alone."""
    monkeypatch.setitem(sys.modules, "evaluate", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert examined(tiny["base"], tmp_path / "run")["metrics"]["n"] == 6


def test_what_is_wrong_with_the_paths_is_told_before_torch_is_imported(tiny, tmp_path, refused, monkeypatch):
    monkeypatch.setattr("medllm_hf.evaluation.exams.readings.load_examinee", lambda *_: pytest.fail("torch is imported"))
    (tmp_path / "file").write_text("")
    command = ("eval", "mcq", "--data", TEST, "--out")
    base = ("--model", str(tiny["base"]))
    assert f"a file at {tmp_path / 'file'}" in refused(*command, str(tmp_path / "file" / "run"), *base)
    assert f"files in {tmp_path}" in refused(*command, str(tmp_path), *base)
    untemplated = tmp_path / "untemplated"
    untemplated.mkdir()
    for file in Path(tiny["base"]).iterdir():
        if file.name != "chat_template.jinja":
            (untemplated / file.name).write_bytes(file.read_bytes())
    assert "no chat template in" in refused(*command, str(tmp_path / "run"), "--model", str(untemplated))
    assert f"no config.json in {tmp_path}" in refused(*command, str(tmp_path / "run"), "--model", str(tmp_path))
    absent = ("eval", "mcq", *base, "--out", str(tmp_path / "run"), "--data")
    assert "no file and no benchmark cmexm" in refused(*absent, "cmexm")
