"""Exams by likelihood: values equal to a plain computation, scores that follow from outputs, and what is refused."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from support.commands import first_word
from support.paths import SAMPLE
from support.published import cmb_rows, write_array, write_cmb
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from medllm_hf.cli import main
from medllm_hf.data.mcq import McqItem, load_items
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.evaluation.exams.derive import derive, read_questions_asked, score_row
from medllm_hf.evaluation.exams.likelihood import tokenise, zero_shot
from medllm_hf.evaluation.exams.outputs import output_row, predict
from medllm_hf.evaluation.exams.prompts import Prompts, answers, candidates, draw, present_options, read_questions
from medllm_hf.evaluation.exams.run import load_examinee, prepare_exam
from medllm_hf.evaluation.exams.settings import Settings, resolve_defaults
from medllm_hf.evaluation.exams.weights import load_network
from medllm_hf.evaluation.runs.behaviour import behaviour_hashes
from medllm_hf.evaluation.runs.folder import read_run, weights_hash
from medllm_hf.pretrained import load_tokenizer, snapshot

TRAIN, TEST = (str(SAMPLE / f"questions_{name}.jsonl") for name in ("train", "test"))


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> Path:
    """Nine single-answer questions of the sample and three of several answers."""
    rows = [json.loads(line) for line in Path(TEST).read_text(encoding="utf-8").splitlines()]
    chosen = [row for row in rows if row["kind"] == "single"][:9] + [row for row in rows if row["kind"] == "multi"][:3]
    path = tmp_path_factory.mktemp("questions") / "twelve.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen), encoding="utf-8")
    return path


def examined(tiny, questions, out, **flags) -> dict:
    """The finished run of the tiny model, whose exit code is 0."""
    assert mcq(str(tiny["base"]), str(questions), str(out), **flags) == 0
    return read_run(out)


@torch.no_grad()
def plain(network, tokenizer, prompt: str, answer: str, special: bool) -> tuple[float, int]:
    """The log-probability of what follows the prompt, one token after the other, and the number of these tokens."""
    before, ids = (tokenizer(text, add_special_tokens=special)["input_ids"] for text in (prompt, prompt + answer))
    first = len(os.path.commonprefix([before, ids]))
    logs = network(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(logs[i - 1, ids[i]].item() for i in range(first, len(ids))), len(ids) - first


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"shots": 2, "examples": TRAIN},
        {"score": "text", "normalization": "tokens"},
        {"shots": 2, "examples": TRAIN, "chat_template": False, "normalization": "bytes"},
    ],
    ids=lambda flags: "-".join(map(str, flags)) or "defaults",
)
def test_the_outputs_are_those_of_one_forward_an_answer(tiny, questions, tmp_path, flags):
    run = examined(tiny, questions, tmp_path / "run", batch_tokens=2000, **flags)
    folder, chat = Path(tiny["base"]), flags.get("chat_template", True)
    network, tokenizer = load_network(folder), load_tokenizer(folder)
    items = load_items(str(questions))
    shots = draw(load_items(TRAIN), items, flags.get("shots", 0), 0).of_kind
    prompts = Prompts(tokenizer, shots, flags.get("score", "letter"), chat)
    for item, output in zip(items, run["outputs"], strict=True):
        texts = answers(item, prompts.score, candidates(item))
        names = ["".join(letters) for letters in candidates(item)]
        assert list(output["logprobs"]) == sorted(names)
        for name, text in zip(names, texts, strict=True):
            value, tokens = plain(network, tokenizer, prompts.text(item), text + prompts.ending(item), special=not chat)
            assert output["logprobs"][name] == pytest.approx(value, abs=1e-4)
            lengths = {"none": None, "tokens": tokens, "bytes": len(text.encode())}
            assert output.get("lengths", {}).get(name) == lengths[flags.get("normalization", "none")]


def test_a_letter_that_melts_into_the_prompts_last_token_is_scored_as_it_is_written():
    """D26: with a tokenizer that has a token for a space and A, the model would write that one, not the bare letter."""
    item = McqItem("e", "Which?", {"A": "one", "B": "two"}, frozenset("A"), "", "single", "en")
    text = Prompts(None, {}, chat=False).text(item)
    vocabulary = {sign: number for number, sign in enumerate([*sorted(set(text)), " A"])}
    joining = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE(vocabulary, [(" ", "A")])))
    question = tokenise(Prompts(joining, {}, chat=False), item, text)
    assert question.prompt[-1] == vocabulary[" "]
    assert question.candidates == [[*question.prompt[:-1], vocabulary[" A"]], [*question.prompt, vocabulary["B"]]]


def test_the_prediction_follows_from_the_output():
    logprobs = {"A": -3.0, "B": -2.0, "AB": -3.5}
    assert predict({"logprobs": logprobs}) == "B"
    assert predict({"logprobs": logprobs, "lengths": {"A": 1, "B": 1, "AB": 2}}) == "AB"
    assert predict({"logprobs": {"A": -1.0, "B": -1.0}}) == "", "of equal ones none is chosen"
    assert predict({"reply": "B。因为……"}) == "B。因为……"


@pytest.mark.parametrize("flags", [{}, {"score": "text"}, {"shuffle_options": True, "seed": 5}, {"circular": True}])
def test_scores_and_metrics_follow_from_outputs(tiny, questions, tmp_path, flags):
    run = examined(tiny, questions, tmp_path / "run", **flags)
    items = load_items(str(questions))
    shown = present_options(items, flags.get("seed", 0), flags.get("shuffle_options", False), flags.get("circular", False))
    assert run["scores"] == [score_row(one, predict(output)) for one, output in zip(shown, run["outputs"], strict=True)]
    assert run["metrics"] == derive(shown, run["outputs"]).metrics
    own = {item.id: item for item in items}
    for row in run["scores"]:
        texts = {option["label"]: option["text"] for option in row["options"]}
        assert {texts[letter] for letter in row["reference"]} == {
            own[row["id"]].options[letter] for letter in own[row["id"]].answer
        }
        assert list(texts.values()) == [own[row["id"]].options[letter] for letter in row["order"]]
    if not flags.get("circular"):
        right = sum(row["prediction"] == row["reference"] for row in run["scores"])
        assert run["metrics"]["accuracy"] == right / 12
    moved = any(row["order"] != "".join(own[row["id"]].options) for row in run["scores"])
    assert moved == (flags.get("shuffle_options", False) or flags.get("circular", False))
    assert str(tmp_path) not in (tmp_path / "run" / "manifest.json").read_text()


def rotations(name: str, replies: list[str], right: str = "B") -> list[dict]:
    """The rows of one item with options A to C and these replies to its rotations."""
    items = load_items(TEST)[0]
    item = type(items)(name, "问？", {"A": "甲", "B": "乙", "C": "丙"}, frozenset(right), "", "single")
    return [score_row(one, reply) for one, reply in zip(present_options([item], 0, circular=True), replies, strict=True)]


def test_circular_is_right_only_if_all_rotations_are():
    # B is shown as B, then as A, then as C.
    rows = [
        *rotations("all right", ["B", "答案：A", "C"]),
        *rotations("always B", ["B", "B", "B"]),
        *rotations("always the same, wrong", ["A", "C", "B"]),
        *rotations("last one unread", ["B", "A", "说不好"]),
    ]
    questions = read_questions_asked(rows)
    outputs = [output_row(one, {"reply": row["prediction"]}) for one, row in zip(questions, rows, strict=True)]
    metrics = derive(questions, outputs).metrics
    assert (metrics["n"], metrics["accuracy"], metrics["unparsed"]) == (4, 0.25, 1)
    assert metrics["circular"] == {"rotations": 12, "consistent": 2, "first_accuracy": 0.75}


def test_two_runs_are_the_same_to_the_byte(tiny, questions, tmp_path):
    for name in ("one", "two"):
        examined(tiny, questions, tmp_path / name, shots=3, examples=TRAIN, seed=4, shuffle_options=True)
    for file in ("outputs.jsonl", "scores.jsonl", "metrics.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_manifest_says_what_was_asked_of_whom(tiny, questions, tmp_path):
    manifest = examined(tiny, questions, tmp_path / "run", shots=2, examples=TRAIN)["manifest"]
    assert manifest["model"]["id"] == "base" and len(manifest["model"]["weights_sha256"]) == 64
    examples = manifest["data"].pop("examples")
    assert manifest["data"]["name"] == "twelve.jsonl" and manifest["data"]["n"] == 12
    assert examples["name"] == "questions_train.jsonl" and examples["in_questions"] == 0
    drawn = draw(load_items(TRAIN), load_items(str(questions)), 2, 0).of_kind
    assert examples["ids"] == {kind: [item.id for item in items] for kind, items in drawn.items()}
    fixed = {"mode": "likelihood", "score": "letter", "normalization": "none", "shots": 2, "seed": 0, "reply_prefix": "答案："}
    assert manifest["settings"].items() >= fixed.items()


def test_during_training_the_same_is_said(tiny, questions, tmp_path):
    folder = Path(tiny["base"])
    shown = present_options(load_items(str(questions)), seed=0)
    outputs = zero_shot(load_network(folder), load_tokenizer(folder), shown)
    assert derive(shown, outputs).scores == examined(tiny, questions, tmp_path / "run")["scores"]


def test_a_benchmark_by_name_with_its_left_out_rows(tiny, tmp_path, capsys):
    write_cmb(tmp_path / "CMB")
    also_asked, *_ = cmb_rows()
    dev = [{**also_asked, "answer": "B"}, {**also_asked, "question": "示例", "answer": "A"}]
    write_array(tmp_path / "CMB" / "CMB-Exam" / "CMB-val" / "CMB-val-merge.json", dev)
    run = examined(tiny, "cmb", tmp_path / "run", data_path=str(tmp_path / "CMB"), shots=1)
    data = run["manifest"]["data"]
    assert (data["name"], data["split"], data["n"], data["licence"]) == ("cmb", "test", 3, "apache-2.0")
    assert data["left_out"] == {"needs an image": 1, "malformed": 2} and len(data["files"]) == 2
    assert "cmb test: 3 questions (1 single, 2 multi), left out: 1 needs an image, 2 malformed" in capsys.readouterr().out
    assert data["examples"]["split"] == "dev" and data["examples"]["in_questions"] == 1


def test_the_questions_are_told_before_torch_is_imported(tiny, questions, tmp_path):
    words = ("eval", "mcq", "--model", str(tiny["base"]), "--data", str(questions), "--out", str(tmp_path / "run"))
    assert first_word("medllm", *words) == ("twelve.jsonl: 12 questions (9 single, 3 multi)", [])


def test_nothing_is_said_of_questions_for_a_model_that_is_not_there(questions, tmp_path, capsys):
    words = ["eval", "mcq", "--model", str(tmp_path / "absent"), "--data", str(questions), "--out", str(tmp_path / "run")]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and f"no folder {tmp_path / 'absent'}" in err


def test_a_subset_of_a_benchmark_has_the_shots_of_the_whole(tiny, tmp_path, refused):
    """By content, under a name of its own, or as the benchmark's one file; the examples are those of the dev split."""
    write_cmb(tmp_path / "CMB")
    answered = [{**row, "answer": "A"} for row in cmb_rows()[:2]]
    write_array(tmp_path / "subset.json", answered)
    flags = {"shots": 1, "examples": f"cmb={tmp_path / 'CMB'}"}
    write_array(tmp_path / "CMB" / "CMB-Exam" / "CMB-val" / "CMB-val-merge.json", [{**answered[0], "question": "示例"}])
    data = examined(tiny, str(tmp_path / "subset.json"), tmp_path / "run", **flags)["manifest"]["data"]
    assert (data["name"], data["n"]) == ("subset.json", 2)
    assert (data["examples"]["name"], data["examples"]["split"], data["examples"]["n"]) == ("cmb", "dev", 1)
    write_array(tmp_path / "clinic.json", [{"qid": "1", "qtext": "q", "options": {"A": "1", "B": "2"}, "answer": "A"}])
    words = ("--data", "mlec-qa/clinic", "--data-path", str(tmp_path / "clinic.json"), "--shots", "2")
    command = ("eval", "mcq", "--model", str(tiny["base"]), "--out", str(tmp_path / "none"), *words)
    assert "add --examples mlec-qa/clinic=FOLDER" in refused(*command)


def test_bad_questions_and_models_are_refused(tiny, tmp_path, refused):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "1", "question": "q"}\n')
    command = ("eval", "mcq", "--out", str(tmp_path / "run"))
    base = ("--model", str(tiny["base"]))
    assert "line 1" in refused(*command, *base, "--data", str(bad))
    assert "source" in refused(*command, "--model", str(tiny["source"]), "--data", TEST)
    assert "no file and no benchmark cmexm" in refused(*command, *base, "--data", "cmexm")
    assert "no split val of cmb" in refused(*command, *base, "--data", "cmb", "--split", "val", "--data-path", str(tmp_path))
    (tmp_path / "model.gguf").touch()
    assert "URL#MODEL" in refused(*command, "--model", str(tmp_path / "model.gguf"), "--data", TEST)
    assert "give its folder" in refused(*command, "--model", TEST, "--data", TEST)
    assert "no folder and no Hub repository org/absent" in refused(*command, "--model", "org/absent", "--data", TEST)
    assert not (tmp_path / "run").exists()


URL = ("--url", "http://127.0.0.1:9/v1#m")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--mode", "likelihood", *URL), "--mode likelihood with --url"),
        (("--no-chat-template", *URL), "--no-chat-template with --url"),
        (("--batch-tokens", "9", *URL), "--batch-tokens with --url"),
        (("--model", "m", *URL), "not allowed with"),
        ((), "required"),
        (("--score", "text", "--mode", "generate"), "--score text with --mode reply"),
        (("--normalization", "tokens", "--mode", "generate"), "--normalization with --mode reply"),
        (("--score", "text", "--shuffle-options"), "--score letter"),
        (("--score", "text", "--circular"), "--score letter"),
        (("--circular", "--shuffle-options"), "--circular and --shuffle-options"),
        (("--examples", "x.jsonl"), "--examples without --shots"),
        (("--shots", "2"), "add --examples FILE, or the benchmark"),
        (("--shots", "2", "--examples", "cmbx"), "no file and no benchmark cmbx"),
        (("--shots", "-1"), "--shots -1"),
        (("--shots", "500", "--examples", TRAIN), "500 for --shots"),
        (("--concurrency", "3"), "--concurrency without --url"),
        (("--concurrency", "0", *URL), "concurrency 0"),
        (("--budget", "3"), "--budget with a local --model"),
        (("--key-env", "KEY"), "--key-env without --url"),
        (("--max-new-tokens", "9"), "--max-new-tokens with likelihood"),
        (("--max-new-tokens", "9", "--mode", "likelihood,reasoning"), "--max-new-tokens with likelihood"),
        (("--max-new-tokens", "9", "--mode", "reasoning"), "--max-new-tokens with reasoning"),
        (("--reasoning-tokens", "9", "--mode", "reply"), "--reasoning-tokens with reply"),
        (("--reasoning-tokens", "0", "--mode", "reasoning"), "--reasoning-tokens 0"),
        (("--finish", "letters"), "--finish with likelihood"),
        (("--mode", "likelihood,guess"), "--mode 'guess'"),
        (("--mode", ""), "--mode ''"),
        (("--mode", "likelihood,reply", *URL), "--mode likelihood with --url"),
        (("--max-new-tokens", "0", "--mode", "generate"), "--max-new-tokens 0"),
        (("--batch-tokens", "0"), "--batch-tokens 0"),
        (("--split", "dev"), "--data-path or --split"),
        (("--data-path", "x"), "--data-path or --split"),
        (("--url", "http://127.0.0.1:9/v1"), "without a model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_flags_that_do_not_go_together(tiny, tmp_path, refused, words, named):
    model = () if "--url" in words or not words else ("--model", str(tiny["base"]))
    assert named in refused("eval", "mcq", "--data", TEST, "--out", str(tmp_path / "run"), *model, *words)
    assert not (tmp_path / "run").exists()


def test_a_model_of_the_hub_is_found_in_the_cache(tiny, tmp_path, monkeypatch):
    """As the Hub's client keeps it: the run records the id and the commit, and the folder's weights."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "cache" / "models--org--tiny"
    shutil.copytree(tiny["base"], repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    folder, revision = snapshot("org/tiny")
    assert (folder.name, revision) == (commit, commit)
    assert load_examinee(resolve_defaults(Settings("org/tiny", TEST))).record == {
        "id": "org/tiny", "revision": commit, "weights_sha256": weights_hash(tiny["base"]),
        "files_sha256": behaviour_hashes(folder),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "leave the question out"),
        (("--score", "text"), "leave the question out"),
        (("--mode", "reply", "--max-new-tokens", "5"), "5 of its reply"),
        (("--mode", "likelihood,reasoning"), "question long"),
    ],
)
def test_a_question_longer_than_the_models_context_is_refused_before_any_is_asked(tiny, tmp_path, refused, words, named):
    rows = [json.loads(line) for line in (SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()[:2]]
    rows[1] |= {"id": "long", "question": "患者反复咳嗽，夜间加重。" * 300}
    (tmp_path / "long.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    asked = (
        "eval",
        "mcq",
        "--model",
        str(tiny["base"]),
        "--data",
        str(tmp_path / "long.jsonl"),
        "--out",
        str(tmp_path / "run"),
    )
    told = refused(*asked, *words)
    assert "question long" in told and "1,024 positions" in told and named in told
    assert not (tmp_path / "run").exists()


def test_a_reply_that_the_context_has_no_room_for_is_refused_with_what_fits(tiny, questions, tmp_path, refused):
    asked = ("eval", "mcq", "--model", str(tiny["base"]), "--data", str(questions), "--out", str(tmp_path / "run"))
    told = refused(*asked, "--mode", "reasoning", "--reasoning-tokens", "8192")
    assert "8,192 of its reply" in told
    most = re.search("--reasoning-tokens to at most ([0-9]+)", told)[1]
    assert 0 < int(most) < 1024
    # What is compared behind a reply needs its place too: the last token is scored and never read.
    with_cue = refused(*asked, "--mode", "reasoning", "--reasoning-tokens", "8192", "--finish", "letters")
    fewer = re.search("--reasoning-tokens to at most ([0-9]+)", with_cue)[1]
    assert "(those of --finish included)" in with_cue and 3 < int(most) - int(fewer) < 24
    # Where nobody has asked for so many, it is what fits.
    settings = resolve_defaults(Settings(str(tiny["base"]), str(questions), mode="reasoning"))
    assert prepare_exam(settings, read_questions(str(questions))).manifest["settings"]["max_new_tokens"] == int(most)
