"""Every file that a verb reads, in every way in which it cannot be read: one line, exit code 2, nothing written."""

import io
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from support.commands import one_line_error, run
from support.consulting import case, write_cases
from support.paths import SAMPLE
from support.published_model import consultation, exams, publish
from support.short_run import write_dataset, write_questions

import push_to_hub
from medllm_hf.cli import main
from medllm_hf.folders import read_json, write_json

SECONDS = 20
RUN_FILES = ("manifest.json", "outputs.jsonl", "scores.jsonl", "metrics.json")
NESTED = b'{"a":' + b"[" * 100_000
BAD = {
    "folder": None,
    "pipe": None,
    "link": None,
    "empty": b"",
    "nul": b"\0" * 100,
    "digits": b'{"id": ' + b"9" * 5_000 + b"}",
    "nested": NESTED,
    "surrogate": b'{"id": "\\ud800", "architectures": ["\\ud800"], "messages": "\\udfff"}',
    "list": b"[1, 2]",
    "gbk": "{'问题': '头痛'}".encode("gbk"),
}


def spoil(path: Path, kind: str) -> None:
    """Puts something that cannot be read in the place of a file."""
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(BAD[kind])


NOWHERE = "http://127.0.0.1:9/v1#nobody"
JUDGE = f"--judge {NOWHERE} --out OUT"
SFT = "sft --output_dir OUT --use_cpu --bf16 false --report_to none --max_steps 1"
# What is spoilt, in a copy of the inputs: the command that reads it.
READERS = {
    "dialogues.jsonl": "data build IN/dialogues.jsonl --out OUT --license mit",
    "dialogues.json": "data build IN/dialogues.json --out OUT --license mit",
    "dialogues.csv": "data build IN/dialogues.csv --out OUT --license mit",
    "dialogues.parquet": "data build IN/dialogues.parquet --out OUT --license mit",
    "dialogues.jsonl.gz": "data build IN/dialogues.jsonl.gz --out OUT --license mit",
    "heldout.jsonl": "data build IN/dialogues.jsonl --out OUT --license mit --benchmarks IN/heldout.jsonl",
    "questions.jsonl": f"eval mcq --url {NOWHERE} --data IN/questions.jsonl --out OUT",
    "shots.jsonl": f"eval mcq --url {NOWHERE} --data IN/questions.jsonl --out OUT --shots 1 --examples IN/shots.jsonl",
    "prices.json": f"eval mcq --url {NOWHERE} --data IN/questions.jsonl --out OUT --prices IN/prices.json",
    "cmexam.csv": f"eval mcq --url {NOWHERE} --data cmexam --data-path IN/cmexam.csv --out OUT",
    "cases.jsonl": f"eval consult --cases IN/cases.jsonl --doctor {NOWHERE} --patient {NOWHERE} --out OUT",
    "first.jsonl": f"eval pair --first IN/first.jsonl --second IN/second.jsonl {JUDGE}",
    "second.jsonl": f"eval judge --dialogues IN/second.jsonl {JUDGE}",
    "labels.jsonl": "eval agree IN/talk/judge --labels IN/labels.jsonl --out OUT",
    "few.jsonl": "eval agree IN/talk/judge --calibrate IN/few.jsonl --out OUT",
    "rubrics.jsonl": f"eval judge --dialogues IN/rubrics.jsonl --answers IN/answers.jsonl --rubric checklist {JUDGE}",
    "answers.jsonl": f"eval judge --dialogues IN/rubrics.jsonl --answers IN/answers.jsonl --rubric checklist {JUDGE}",
    "result_1.jsonl": "eval import --scores IN/result_1.jsonl --out OUT",
    "published.jsonl": "eval import --scores IN/good_result.jsonl --dialogues IN/published.jsonl --out OUT",
    **{f"{run}/{name}": f"report IN/{run} --out OUT" for run in ("exam", "talk/judge") for name in RUN_FILES},
    "talk/manifest.json": f"eval judge --dialogues IN/talk {JUDGE}",
    "talk/dialogues.jsonl": f"eval judge --dialogues IN/talk {JUDGE}",
    **{
        f"source/{name}": "convert IN/source OUT"
        for name in ("config.json", "generation_config.json", "tokenizer.model", "pytorch_model.bin.index.json")
    },
    "source/pytorch_model-00001-of-00003.bin": "convert IN/source OUT",
    **{
        f"base/{name}": "merge IN/adapter OUT --base IN/base"
        for name in ("config.json", "tokenizer_config.json", "model.safetensors", "provenance.json")
    },
    **{
        f"adapter/{name}": "merge IN/adapter OUT --base IN/base"
        for name in ("adapter_config.json", "adapter_model.safetensors")
    },
    **{
        f"chat/{name}": "chat IN/chat --device cpu"
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    },
    "chat/model.safetensors": "web IN/chat --port 0 --device cpu",
    **{
        f"repo/{name}": "verify IN/repo"
        for name in ("config.json", "tokenizer_config.json", "model.safetensors")
    },
    "known.jsonl": "verify IN/repo --data IN/known.jsonl",
    "recipe.yaml": f"{SFT} --config IN/recipe.yaml --model_name_or_path IN/base --dataset_name IN/dataset",
    "dev.jsonl": f"{SFT} --model_name_or_path IN/base --dataset_name IN/dataset --eval_strategy steps --eval_steps 1 "
    "--dev_questions IN/dev.jsonl",
    "template.jinja": f"{SFT} --model_name_or_path IN/base --dataset_name IN/dataset --chat_template_path IN/template.jinja",
    "deepspeed.json": f"{SFT} --model_name_or_path IN/base --dataset_name IN/dataset --deepspeed IN/deepspeed.json --plan",
    "dataset/train.jsonl": f"{SFT} --model_name_or_path IN/base --dataset_name IN/dataset",
    **{
        f"trained/{name}": f"{SFT} --model_name_or_path IN/trained --dataset_name IN/dataset"
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors",
                     "chat_template.jinja")
    },
    **{
        f"pushed/{name}": "push model IN/pushed --repo-id a/b --license mit --out OUT --dry-run"
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "provenance.json",
                     "chat_template.jinja", "generation_config.json", "training.json")
    },
    **{
        f"lora/{name}": "push model IN/lora --adapter --base-model c/d --repo-id a/b --license mit --out OUT --dry-run"
        for name in ("adapter_config.json", "adapter_model.safetensors", "tokenizer_config.json")
    },
    "card/README.md": "push dataset IN/card --repo-id a/b --dry-run",
    "metric/app.py": "push metric IN/metric --repo-id a/metric --dry-run",
}  # fmt: skip


# Each of these that cannot be read is one finding of `verify` beside others, see tests/support/forgeries.py.
EXAMINED = ("repo/config.json", "repo/tokenizer_config.json")


def is_bad(file: str, kind: str) -> bool:
    """A template may be any text, and of a file that is only hashed the content does not matter."""
    if file in ("known.jsonl", "repo/model.safetensors"):
        return kind in ("folder", "pipe", "link")
    return not file.endswith(".jinja") or kind in ("folder", "pipe", "link", "gbk")


@pytest.fixture(scope="module")
def inputs(tiny, tmp_path_factory) -> Path:
    """Good inputs of every verb."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("good")
    write_questions(folder / "questions.jsonl")
    write_dataset(folder / "dataset", write_questions(folder / "dev.jsonl"))
    for name in ("shots", "heldout", "known"):
        shutil.copyfile(SAMPLE / "questions_test.jsonl", folder / f"{name}.jsonl")
    shutil.copyfile(SAMPLE / "dialogues.jsonl", folder / "dialogues.jsonl")
    write_cases(folder / "cases.jsonl", [case(1)])
    turns = [{"role": "patient", "content": "头痛两天"}, {"role": "doctor", "content": "请休息。"}]
    for name in ("first", "second"):
        write_cases(folder / f"{name}.jsonl", [{"id": f"{name}/1", "case_id": "1", "model": name, "turns": turns}])
    points = [{"criterion": "问多久", "points": 1}]
    asked = {"prompt_id": "1", "prompt": [{"role": "user", "content": "头痛"}], "rubrics": points}
    write_cases(folder / "rubrics.jsonl", [asked])
    write_cases(folder / "answers.jsonl", [{"prompt_id": "1", "response": "多久了？"}])
    prompt = "[start of conversation]\npatient: 头痛\ndoctor: 休息\n[end of conversation]"
    row = {"id": "1", "model": "m", "source": "CMD", "scores": "Accuracy: 4", "prompt": prompt}
    write_cases(folder / "good_result.jsonl", [row])
    shutil.copytree(tiny["source"], folder / "source")
    for name in ("base", "chat", "trained", "pushed"):
        shutil.copytree(tiny["base"], folder / name)
    for name in ("adapter", "lora"):
        shutil.copytree(tiny["base"], folder / name, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
        adapter_of(tiny["base"], folder / name)
    runs = [*exams(tiny["base"], folder), consultation(tiny["base"], folder)]
    publish(tiny["base"], folder / "repo", runs)
    return folder


def adapter_of(base: Path, folder: Path) -> None:
    from safetensors.torch import save_file

    settings = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 4,
        "base_model_name_or_path": str(base),
        "target_modules": ["q_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    save_file(
        {f"{name}A.weight": torch.ones(2, 64), f"{name}B.weight": torch.ones(64, 2)}, folder / "adapter_model.safetensors"
    )


def outcome(words: list[str], capsys) -> tuple[object, list[str]]:
    """The exit code of a command and the lines of its standard error."""

    def late(*_):
        raise AssertionError(f"{words} takes more than {SECONDS} seconds")

    capsys.readouterr()
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        code = push_to_hub.main(words[1:]) if words[0] == "push" else main(words)
    except SystemExit as stop:
        code = stop.code
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    bars = re.compile(r"\d (examples|rows)?.*\[.*/s|it/s\]|^$")
    return code, [line for line in re.split(r"[\r\n]+", capsys.readouterr().err) if not bars.search(line)]


@pytest.mark.parametrize(("file", "kind"), [(file, kind) for file in READERS for kind in BAD if is_bad(file, kind)])
def test_one_line(inputs, tmp_path, capsys, monkeypatch, file, kind):
    place = tmp_path / "in"
    shutil.copytree(inputs, place, copy_function=os.link)
    (place / file).parent.mkdir(exist_ok=True)
    spoil(place / file, kind)
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"exit\n"), encoding="utf-8"))
    words = [word.replace("IN", str(place)).replace("OUT", str(tmp_path / "out")) for word in READERS[file].split()]
    code, lines = outcome(words, capsys)
    if file in EXAMINED:
        assert (code, lines) == (1, []), "what else there is is verified all the same"
        return
    assert code == 2, (code, lines)
    assert len(lines) == 1 and len(lines[0]) < 1500, lines
    assert sorted(os.listdir(tmp_path)) == ["in"]


@pytest.mark.parametrize(
    "file", ["dialogues.jsonl", "exam/manifest.json", "source/config.json", "adapter/adapter_config.json", "recipe.yaml"]
)
def test_files_without_the_right_to_read_them(inputs, tmp_path, file):
    """Whoever runs these tests may be root, who has every right until the two that go past permissions are taken away."""
    place = tmp_path / "in"
    shutil.copytree(inputs, place)
    (place / file).touch()
    (place / file).chmod(0)
    words = [word.replace("IN", str(place)).replace("OUT", str(tmp_path / "out")) for word in READERS[file].split()]
    before = [] if os.getuid() else [shutil.which("setpriv"), "--bounding-set", "-dac_override,-dac_read_search"]
    if None in before:
        pytest.skip("root can give up its rights by setpriv only, which is not here")
    done = run(*before, sys.executable, "-m", "medllm_hf", *words, cwd=tmp_path)
    line = one_line_error(done)
    assert Path(file).name in line and ("no right" in line or "Permission denied" in line)


@pytest.mark.parametrize("name", ["长" * 100, "x" * 300, os.fsdecode("问题".encode("gbk"))])
def test_names_of_any_kind(inputs, tmp_path, capsys, monkeypatch, name):
    """Too long for a file, or bytes that are not UTF-8: of input and output."""
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    for command in {*READERS.values()} - {None}:
        if "sft" in command.split() or "web" in command.split():
            continue
        words = [word.replace("IN", str(tmp_path / name)).replace("OUT", str(tmp_path / "out")) for word in command.split()]
        code, lines = outcome(words, capsys)
        assert (code, len(lines)) == (2, 1), (words, lines)


def test_a_name_in_other_bytes_is_written_and_printed(inputs, tmp_path):
    name = os.fsdecode("问题".encode("gbk"))
    (tmp_path / f"{name}.jsonl").write_bytes((SAMPLE / "dialogues.jsonl").read_bytes())
    out = tmp_path / name
    words = ("medllm", "data", "build", str(tmp_path / f"{name}.jsonl"), "--license", "mit", "--out")
    done = run(*words, str(tmp_path / "built"))
    assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "built/README.md").read_text(encoding="utf-8")
    assert "which is not UTF-8" in one_line_error(run(*words, str(out)))
    assert run("medllm", "data", "check", str(tmp_path / f"{name}.jsonl"), "--list", str(tmp_path / "list")).returncode == 0
    shutil.copytree(inputs / "chat", out)
    for words in (["chat"], ["convert", "x"]):
        assert "which is not UTF-8" in one_line_error(run("medllm", words[0], str(out), *words[1:], cwd=tmp_path))
    write_json(tmp_path / "record.json", {"name": name})
    assert read_json(tmp_path / "record.json", names=True) == {"name": name}
