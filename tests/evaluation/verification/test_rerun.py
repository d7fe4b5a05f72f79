"""Published answers computed again: honest ones pass however they were computed, others are refuted, and the power is told."""

import json
import shutil
from dataclasses import replace
from math import inf, log
from weakref import ref

import pytest
import torch
from pytest import approx
from safetensors.torch import load_file, save_file
from support.commands import run as run_command
from support.paths import SAMPLE
from support.published_model import consultation, publish

from medllm_hf.cli import main
from medllm_hf.data.mcq import McqItem
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.evaluation.exams.outputs import PRESENT, Rules
from medllm_hf.evaluation.exams.prompts import present_options
from medllm_hf.evaluation.exams.weights import load_network
from medllm_hf.evaluation.runs.folder import read_run, weights_hash
from medllm_hf.evaluation.verification.exams import draw, exam
from medllm_hf.evaluation.verification.findings import CONFIRMED, DECLARED, DIFFERENT, UNKNOWN, Known, Rerun
from medllm_hf.evaluation.verification.power import Apart, check_items, systematic
from medllm_hf.evaluation.verification.reply_check import reader
from medllm_hf.evaluation.verification.rerun import compare, finding
from medllm_hf.folders import read_json, sha256, write_json
from medllm_hf.pretrained import load_tokenizer

WRITTEN = {"mode": "reply", "max_new_tokens": 8}
WAYS = {
    "letters": {},
    "other batches": {"batch_tokens": 64},
    "rotations": {"circular": True},
    "own orders": {"shuffle_options": True, "seed": 5},
    "texts": {"score": "text"},
    "texts by tokens": {"score": "text", "normalization": "tokens"},
    "texts by bytes": {"score": "text", "normalization": "bytes", "batch_tokens": 64},
    "plain": {"chat_template": False},
    "examples": {"shots": 1, "examples": str(SAMPLE / "questions_train.jsonl")},
    "replies": WRITTEN,
    "replies one by one": {**WRITTEN, "batch_size": 1},
    "plain replies": {**WRITTEN, "chat_template": False},
    "replies asked once more": {**WRITTEN, "finish": "letters"},
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A file of six questions, of which two have several right letters."""
    lines = (SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()
    kinds = {kind: [line for line in lines if json.loads(line)["kind"] == kind] for kind in ("single", "multi")}
    file = tmp_path_factory.mktemp("asked") / "six.jsonl"
    file.write_text("\n".join([*kinds["single"][:4], *kinds["multi"][:2]]) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def other(tiny, tmp_path_factory):
    """The tiny model with other weights, and nothing else that is another."""
    folder = shutil.copytree(tiny["base"], tmp_path_factory.mktemp("other") / "base")
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(3)
    changed = {name: one + 0.02 * torch.randn(one.shape, generator=generator).to(one.dtype) for name, one in weights.items()}
    save_file(changed, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def ending(tiny, tmp_path_factory):
    """The tiny model whose replies end at tokens that it writes early."""
    folder = shutil.copytree(tiny["base"], tmp_path_factory.mktemp("ending") / "base")
    settings = read_json(folder / "generation_config.json")
    tokenizer = load_tokenizer(folder)
    ends = [tokenizer(text, add_special_tokens=False)["input_ids"][-1] for text in ("贫", "利", "走", "胃溃疡", "住", "凉")]
    write_json(folder / "generation_config.json", {**settings, "eos_token_id": ends})
    return folder


def answered(model, asked, out, **settings):
    assert mcq(str(model), str(asked), str(out), **settings) == 0
    return out


def rerun(model, asked, folder, count=60, seed=0):
    """The findings on a run folder that are of a rerun."""
    known = {sha256(file): file for file in (asked, SAMPLE / "questions_train.jsonl")}
    found = exam("eval/x", read_run(folder), Known(weights_hash(model), model, known, Rerun(count, seed)))
    return [one for one in found if "rerun" in one.figure]


def edit(folder, file, work):
    """The rows of a file of a run after `work` on each (number, row)."""
    rows = [json.loads(line) for line in (folder / file).read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows):
        work(number, row)
    (folder / file).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", WAYS)
def test_honest_answers_pass_however_they_were_computed(tiny, asked, tmp_path, way, dtype):
    folder = answered(tiny["base"], asked, tmp_path / "run", dtype=dtype, **WAYS[way])
    found, *more = rerun(tiny["base"], asked, folder)
    assert found.state == CONFIRMED, found
    total = len(read_run(folder)["outputs"])
    assert f"{total} of {total} items again" in found.why and f"{dtype} on " in found.why
    assert "this draw would find it with" in found.why
    finishing = [(one.state, one.why) for one in more]
    assert finishing == ([(DECLARED, "not rerun: 6 answers to being asked once more")] if "finish" in WAYS[way] else [])


def test_a_model_makes_room_before_it_is_loaded_in_another_precision(tiny, asked, tmp_path, monkeypatch):
    loaded = []

    def load(*how):
        assert not [one for one in loaded if one() is not None]
        network = load_network(*how)
        loaded.append(ref(network))
        return network

    model = shutil.copytree(tiny["base"], tmp_path / "model")  # that of other tests may be there already
    folders = {dtype: answered(model, asked, tmp_path / dtype, dtype=dtype) for dtype in ("bfloat16", "float32")}
    monkeypatch.setattr("medllm_hf.evaluation.exams.weights.load_network", load)
    for dtype in ("float32", "bfloat16", "bfloat16", "float32"):
        assert rerun(model, asked, folders[dtype], count=1)[0].state == CONFIRMED
    assert len(loaded) == 3


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--mode", "reply", "--max-new-tokens", "8")])
def test_honest_answers_of_other_kernels_pass(tiny, asked, tmp_path, words):
    kernels = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
    command = ["medllm", "eval", "mcq", "--model", str(tiny["base"]), "--data", str(asked), "--out", str(tmp_path / "run")]
    for dtype in ("float32", "bfloat16"):
        done = run_command(*command, "--overwrite", "--dtype", dtype, *words, env={**kernels, "OMP_NUM_THREADS": "2"})
        assert done.returncode == 0, done.stderr
        assert rerun(tiny["base"], asked, tmp_path / "run")[0].state == CONFIRMED


@pytest.mark.parametrize("way", ["letters", "texts by tokens", "rotations", "replies", "plain replies"])
def test_answers_of_other_weights_are_refuted(tiny, other, asked, tmp_path, way):
    folder = answered(other, asked, tmp_path / "run", dtype="float32", **WAYS[way])
    (found,) = rerun(tiny["base"], asked, folder)
    assert found.state == DIFFERENT and " are not what these weights give (float32 on " in found.why


def test_answers_by_another_template_are_refuted(tiny, asked, tmp_path):
    turned = shutil.copytree(tiny["base"], tmp_path / "model")
    template = (turned / "chat_template.jinja").read_text(encoding="utf-8")
    (turned / "chat_template.jinja").write_text("{{ '现在开始。' }}" + template, encoding="utf-8")
    right, wrong = (answered(model, asked, tmp_path / f"{model.name} run", dtype="float32") for model in (tiny["base"], turned))
    for name in ("outputs.jsonl", "scores.jsonl", "metrics.json"):  # every hash is the published template's
        shutil.copyfile(wrong / name, right / name)
    assert rerun(tiny["base"], asked, right)[0].state == DIFFERENT


def test_a_log_probability_that_was_edited_is_named(tiny, asked, tmp_path):
    folder = answered(tiny["base"], asked, tmp_path / "run", dtype="float32")

    def swap(number, row):
        if number == 2:
            best, second = sorted(row["logprobs"], key=row["logprobs"].__getitem__)[-1:-3:-1]
            row["logprobs"][best], row["logprobs"][second] = row["logprobs"][second], row["logprobs"][best]

    edit(folder, "outputs.jsonl", swap)
    (found,) = rerun(tiny["base"], asked, folder)
    assert found.state == DIFFERENT and found.why.startswith("1 of 6 items drawn from 6 are not") and "test-a-03" in found.why


def test_lengths_that_were_edited_are_refuted(tiny, asked, tmp_path):
    folder = answered(tiny["base"], asked, tmp_path / "run", dtype="float32", score="text", normalization="tokens")
    edit(folder, "outputs.jsonl", lambda number, row: row["lengths"].update(A=row["lengths"]["A"] + 1) if not number else None)
    assert rerun(tiny["base"], asked, folder)[0].state == DIFFERENT


EDITS = {
    "another word": lambda row: row.update(reply="乙" + row["reply"][1:]),
    "a letter at the end": lambda row: row.update(reply=row["reply"] + "B"),
    "cut": lambda row: row.update(reply=row["reply"][:3]),
    "ended": lambda row: row.update(finish="stop"),
    "an end token and more": lambda row: row.update(reply=row["reply"] + "</s>答案是B", finish="stop"),
    "nothing": lambda row: row.update(reply="", finish="stop"),
}


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("chat", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_reply_that_was_edited_is_named(tiny, asked, tmp_path, name, chat):
    folder = answered(tiny["base"], asked, tmp_path / "run", dtype="float32", chat_template=chat, **WRITTEN)
    edit(folder, "outputs.jsonl", lambda number, row: EDITS[name](row) if number == 1 else None)
    (found,) = rerun(tiny["base"], asked, folder)
    assert found.state == DIFFERENT and found.why.startswith("1 of 6 items drawn from 6 are not"), found


@pytest.mark.parametrize("chat", [True, False])
def test_replies_that_end_by_themselves_pass_and_their_cuts_do_not(ending, asked, tmp_path, chat):
    folder = answered(ending, asked, tmp_path / "run", dtype="float32", chat_template=chat, **WRITTEN)
    ends = {row["finish"] for row in read_run(folder)["outputs"]}
    assert "stop" in ends
    assert rerun(ending, asked, folder)[0].state == CONFIRMED
    edit(folder, "outputs.jsonl", lambda number, row: row.update(reply=row["reply"][:2]))
    assert rerun(ending, asked, folder)[0].state == DIFFERENT


def test_what_is_not_computed_again_says_so(tiny, asked, tmp_path):
    folder = answered(tiny["base"], asked, tmp_path / "run", dtype="float32")
    manifest = read_json(folder / "manifest.json")

    def after(**settings):
        write_json(folder / "manifest.json", {**manifest, "settings": {**manifest["settings"], **settings}})
        (found,) = rerun(tiny["base"], asked, folder)
        return found.state, found.why

    assert after(quantization="4bit") == (UNKNOWN, "not rerun: computed with weights in 4bit, which are not those published")
    state, why = after(dtype="save")
    assert state == DIFFERENT and "dtype 'save'" in why
    assert after(batch_tokens=-(10**40), batch_size="x")[0] == CONFIRMED  # how it is computed here is not asked of the run
    assert after(prompt_sha256="0" * 64) == (UNKNOWN, "its prompts are not confirmed")


def test_a_template_that_goes_on_for_ever_at_one_question_is_ended(tiny, asked, tmp_path, monkeypatch):
    monkeypatch.setattr("medllm_hf.evaluation.verification.exams.LOADING", 2)
    model = shutil.copytree(tiny["base"], tmp_path / "model")
    folder = answered(model, asked, tmp_path / "run", dtype="float32")
    template, word = (model / "chat_template.jinja"), json.loads(asked.read_text(encoding="utf-8").splitlines()[0])["question"]
    slow = "{% for i in range(99999) %}{% for j in range(99999) %}{{ '' }}{% endfor %}{% endfor %}"
    text = template.read_text(encoding="utf-8")
    template.write_text(f"{{% if {word!r} in messages[-1].content %}}{slow}{{% endif %}}{text}", encoding="utf-8")
    manifest = read_json(folder / "manifest.json")
    from medllm_hf.evaluation.exams.prompts import Prompts, read_questions

    manifest["settings"]["prompt_sha256"] = Prompts(load_tokenizer(model), {}).digest(read_questions(str(asked)).items)
    write_json(folder / "manifest.json", manifest)
    (found,) = rerun(model, asked, folder)
    assert found.state == DIFFERENT and "that takes more than" in found.why


def test_an_adapter_is_refused_before_any_base_is_fetched(tiny, asked, tmp_path):
    model = shutil.copytree(tiny["base"], tmp_path / "model")
    folder, weights = answered(model, asked, tmp_path / "run", dtype="float32"), weights_hash(model)
    write_json(model / "adapter_config.json", {"base_model_name_or_path": "org/none"})
    found = list(exam("eval/x", read_run(folder), Known(weights, model, {sha256(asked): asked}, Rerun(6, 0))))[-1]
    assert found.state == DIFFERENT and "an adapter in" in found.why


def questions(count):
    items = [McqItem(str(i), "问", {"A": "甲", "B": "乙"}, frozenset("A"), "", "single", "zh") for i in range(count)]
    return present_options(items, 0, False, False)


def test_the_draw_follows_from_the_seed():
    pairs = [(one, {}) for one in questions(50)]
    one, again, another = (draw(pairs, Rerun(10, seed)) for seed in (1, 1, 2))
    assert one == again != another and len({pair[0].key for pair in one}) == 10
    assert draw(pairs, Rerun(60, 1)) == pairs


def test_distances_are_of_scored_tokens_and_of_differences():
    one, exact = questions(1)[0], {"A": -1.0, "B": -1.2}

    def check(theirs, own=exact, normalization="none", tokens=1, **more):
        again = {"logprobs": exact, "lengths": {"A": tokens, "B": tokens}}
        return compare(one, {"logprobs": theirs, **more}, again, own, normalization)

    # What moves both is counted once, what moves them apart twice.
    assert check({"A": -1.1, "B": -1.3}).published == pytest.approx(0.1)
    assert check({"A": -1.1, "B": -1.1}, {"A": -1.0, "B": -1.25}) == Apart("0", approx(0.2), approx(0.05), approx(0.2))
    assert check(exact).altered == approx(0.2)  # the difference of the best two
    assert check({"A": -1.0}).published == check({"A": float("nan"), "B": -1.0}).published == inf
    # Four tokens may part twice as far, and each counts a quarter.
    four = {"A": 4, "B": 4}
    assert check({"A": -1.2, "B": -1.2}, normalization="tokens", tokens=4, lengths=four).published == approx(0.1)
    assert check(exact, normalization="tokens", tokens=4, lengths={"A": 1, "B": 4}).published == inf
    assert (
        check(exact, normalization="bytes").published == check(exact, normalization="bytes", lengths={"A": 1}).published == inf
    )
    # By bytes the best two meet elsewhere: at -0.5 a byte of A, of which there are two, is no more than -0.5 of B.
    assert check({"A": -1.0, "B": -0.5}, normalization="bytes", lengths={"A": 2, "B": 1}).altered == approx(0.7)


def apart(published, own=0.01, altered=0.2, count=1):
    return [Apart(str(i), published, own, altered) for i in range(count)]


def test_one_item_may_lie_twice_as_far_as_the_furthest_that_rounding_moves():
    honest = [*apart(0.019, count=98), *apart(0.0, own=0.02)]  # of a hundred items, 4% further
    assert [one.refuted for one in check_items([*honest, *apart(0.0415)])] == [False] * 100
    assert check_items([*honest, *apart(0.0417)])[-1].refuted
    assert [one.seen for one in check_items([*apart(0, altered=0.059), *apart(0, altered=0.061)])] == [False, True]
    # Of one item, five times as far.
    assert not check_items(apart(0.099))[0].refuted and check_items(apart(0.101))[0].refuted
    # Where nothing is rounded that can be seen here, other programs do a little.
    assert not check_items(apart(0.0004, own=0.0))[0].refuted and check_items(apart(0.0006, own=0.0))[0].refuted
    assert "no finite numbers" in finding("x", apart(0.0, own=inf), 1, "").why


def test_many_items_that_each_lie_a_little_off_are_refuted_together():
    steady = [Apart(str(i), 0.021, 0.01, 1.0) for i in range(30)] + apart(0.0, own=0.02)
    assert not any(one.refuted for one in check_items(steady)) and systematic(steady) == 30
    assert "30 of 31 items drawn from 99 are further from float32 than rounding explains" in finding("x", steady, 99, "").why
    half = steady[:15] + apart(0.019, count=15) + steady[30:]
    assert systematic(half) == 0 and finding("x", half, 99, "").state == CONFIRMED
    assert systematic(steady[:7]) == 0 and systematic(steady[:8]) == 8  # seven of seven is chance in 1 of 128


def test_letters_of_altered_replies_are_read_by_the_rules_of_the_run():
    one = questions(1)[0]
    output = {"id": "0", "rotation": 0, "order": "AB", "reply": "答案：A", "finish": "length"}
    new, old = (reader(one, output, "", "reply", rules) for rules in (PRESENT, Rules(by_kind=False)))
    assert (new("答案：B"), new("答案：AB")) == ("B", None) and old("答案：AB") == "AB"
    # What a prompt has opened is a thought still, unless the reply ends it.
    thinking = reader(one, output, "<think>\n", "reasoning", PRESENT)
    assert (thinking("答案：B"), thinking("想</think>答案：B")) == (None, "B")


def test_what_is_found_is_told_in_words():
    found = [Apart(str(i), 0.03 * i, 0.1, 0.4 * i) for i in range(8)]
    text = finding("x", found, 100, "float32 on cpu, seed 4").why
    said = "8 of 100 items again, at most 70.0% of the tolerance apart, which is 0.3 by these items (float32 on cpu, seed 4); "
    assert text.startswith(said)
    assert "an altered answer is seen in 87.5% of items; if 5% of the answers had been altered (5 of 100)" in text
    wrong = finding("x", [replace(one, published=log(0.5) + 2) for one in found], 100, "float32")
    assert wrong.why == "8 of 8 items drawn from 100 are not what these weights give (float32): 0, 1, 2, 3, 4 …"


def test_the_verb_passes_the_honest_and_refutes_swapped_weights(tiny, other, asked, tmp_path, capsys):
    runs = [answered(tiny["base"], asked, tmp_path / "exam"), answered(tiny["base"], asked, tmp_path / "texts", score="text")]
    honest = publish(tiny["base"], tmp_path / "honest", [*runs, consultation(tiny["base"], tmp_path)])
    for folder in runs:
        manifest = read_json(folder / "manifest.json")
        manifest["model"]["weights_sha256"] = weights_hash(other)
        write_json(folder / "manifest.json", manifest)
    forged = publish(other, tmp_path / "forged", runs)
    data = ["--data", str(asked), str(tmp_path / "cases.jsonl")]
    capsys.readouterr()
    assert main(["verify", str(forged), *data]) == 0
    assert "does not mean that these weights gave the outputs" in capsys.readouterr().out
    assert main(["verify", str(forged), *data, "--rerun", "6"]) == 1
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.endswith("(seed 0)")
    wrong = [line for line in lines if line.startswith("different ")]
    assert len(wrong) == 2 and all("outputs.jsonl rerun: 6 of 6 items drawn from 6 are not" in line for line in wrong)
    code = main(["verify", str(honest), *data, "--rerun", "4", "--seed", "9"])
    first, *lines, proves = capsys.readouterr().out.splitlines()
    assert code == 0, lines
    assert first == "up to 4 answers of each exam are computed again on the published weights (seed 9)"
    assert sum("outputs.jsonl rerun: 4 of 6 items again" in line for line in lines) == 2
    declared = [line for line in lines if line.startswith("declared ") and "not rerun" in line]
    assert ["eval/talk/outputs.jsonl rerun" in declared[0], "eval/talk/judge/outputs.jsonl rerun" in declared[1]] == [True] * 2
    assert "the drawn answers are those of these weights" in proves
