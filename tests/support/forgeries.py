"""Ways to make a published model look better than it is: (name, what is done, how its finding begins, what it names)."""

import copy
import json
import os
import shutil
import stat
from pathlib import Path

from support.tampering import (
    CIRCULAR,
    EXAM,
    RANKED,
    Change,
    appended,
    copied,
    edited,
    flipped,
    index,
    manifest,
    metrics,
    outputs,
    put,
    removed,
    replaced,
    several,
)

from medllm_hf.evaluation.exams.derive import derive, read_questions_asked
from medllm_hf.evaluation.runs.folder import read_run, write_jsonl
from medllm_hf.folders import write_json
from medllm_hf.hub.cards import SECTION_BEGINS, SECTION_ENDS, evidence_hash

CARD = "README.md"
TABLE = "| run | model |\n|---|---|\n| exam | 99.9% |\n"


def head(text: str) -> Change:
    """A card whose metadata begin with `text`."""
    return replaced(CARD, "---\n", f"---\n{text}\n")


def words(text: str) -> Change:
    """A card with a line more at its end."""
    return appended(CARD, f"\n{text}\n")


def file(name: str, content: str | bytes = "x") -> Change:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def link(name: str, target: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.symlink(target, folder / name)

    return change


def pipe(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def folder_at(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir(parents=True)

    return change


def config(name: str, **fields) -> Change:
    return edited(name, lambda found: found.update(fields))


def result(work) -> Change:
    """The card after `work` on the first result of `model-index`."""
    return index("exam", lambda metric, result: work(result))


def all_logprobs(value: float) -> Change:
    return outputs(EXAM, lambda rows: [row["logprobs"].update(A=value) for row in rows])


def unhashed(name: str) -> Change:
    """The exam's manifest without the hash of a file."""
    return edited(f"{EXAM}/manifest.json", lambda found: found["model"]["files_sha256"].pop(name))


def sparse(name: str, size: int) -> Change:
    """A file of so many bytes, none of which is written."""
    return lambda folder: os.truncate(folder / name, size)


LAUGHS = "a0: &a0 [x, x, x, x]\n" + "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9))
RECURS, RAISES = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ raise_exception('\x1b[2Jconfirmed') }}"
TRAINED = {"run": {"steps": 9}, "hardware": {"devices": 9, "device": "H200"}, "versions": {}, "settings": {}}


def second_metric(found: dict) -> None:
    """A metric of the same key with another value; a copy, which YAML writes without an alias."""
    found["metrics"].append({**copy.deepcopy(found["metrics"][0]), "value": 0.99})


def renamed(file: str, old: str, new: str) -> Change:
    """Every `old` in a file becomes `new`."""

    def change(folder: Path) -> None:
        text = (folder / file).read_text(encoding="utf-8")
        (folder / file).write_text(text.replace(old, new), encoding="utf-8")

    return change


def own(text: str) -> Change:
    """A card with a line more between the marks of the publisher's own words."""
    return replaced(CARD, f"\n{SECTION_ENDS}", f"\n{text}\n{SECTION_ENDS}")


def moved_end(folder: Path) -> None:
    """All that follows the own words becomes one with them."""
    text = (folder / CARD).read_text(encoding="utf-8").replace(f"{SECTION_ENDS}\n", "")
    (folder / CARD).write_text(f"{text}\n{SECTION_ENDS}\n", encoding="utf-8")


def twice(name: str, key: str) -> Change:
    """A JSON file whose object begins with a key that it has again."""
    return replaced(name, "{", "{" + key)


def hashed(change: Change) -> Change:
    """A change of a run's evidence after which the card has the hash of it."""

    def both(folder: Path) -> None:
        before = evidence_hash(folder / EXAM)
        change(folder)
        renamed(CARD, before, evidence_hash(folder / EXAM))(folder)

    return both


def with_note(found: dict) -> None:
    found["note"] = "FDA cleared"


def socket(name: str) -> Change:
    return lambda folder: os.mknod(folder / name, stat.S_IFSOCK | 0o600)


def copied_folder(source: str, target: str) -> Change:
    return lambda folder: shutil.copytree(folder / source, folder / target)


def encoded(name: str, encoding: str) -> Change:
    """A file in another encoding."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_text(encoding="utf-8").encode(encoding))


def second_run(folder: Path) -> None:
    """A run of the exam's settings, true in itself, whose model has chosen otherwise once."""
    shutil.copytree(folder / EXAM, folder / "eval" / "second")
    outputs("eval/second", lambda found: flipped(found[0]))(folder)
    run = read_run(folder / "eval" / "second")
    derived = derive(read_questions_asked(run["scores"]), run["outputs"], run["manifest"])
    write_jsonl(run["folder"] / "scores.jsonl", derived.scores)
    write_json(run["folder"] / "metrics.json", derived.metrics)


def sure_of_all(rows: list[dict]) -> None:
    for row in rows:
        row["logprobs"] = dict.fromkeys(row["logprobs"], -0.01)


D, N, DECLARED, UNEXAMINED = "different", "not derivable", "declared", "unexamined"

FORGERIES: list[tuple[str, Change, str, str]] = [
    # Outputs that cannot be.
    ("log-probabilities of 1e308", all_logprobs(1e308), D, f"{EXAM}/outputs.jsonl: line 1"),
    ("log-probabilities above 0", all_logprobs(0.5), D, f"{EXAM}/outputs.jsonl: line 1"),
    ("log-probabilities that are no numbers", all_logprobs(float("nan")), D, f"{EXAM}/outputs.jsonl: line 1"),
    ("infinite log-probabilities", all_logprobs(float("-inf")), D, f"{EXAM}/outputs.jsonl: line 1"),
    # Metadata.
    ("a second metric of one key", result(second_metric), D, "model-index"),
    ("a verified metric", index("exam", lambda m, r: m.update(verified=True)), D, "README.md metadata model-index"),
    ("a token of verification", index("exam", lambda m, r: m.update(verifyToken="x")), D, "README.md metadata model-index"),
    ("a source", result(lambda r: r.update(source={"name": "Board", "url": "https://x.org"})), D, "metadata model-index"),
    ("a second model of the index", head("model_index: [{name: x, results: 99.9}]"), D, "metadata model_index"),
    ("a key twice", head("license: mit"), D, "the key 'license' twice"),
    ("a tag with a score", replaced(CARD, "- medllm_hf\n", "- medllm_hf\n- cmexam-99.9%\n"), D, "README.md metadata tags"),
    ("a tag of a rank", replaced(CARD, "- medllm_hf\n", "- medllm_hf\n- sota\n"), D, "README.md metadata tags"),
    ("a tag of an approval", replaced(CARD, "- medllm_hf\n", "- medllm_hf\n- fda-approved\n"), D, "README.md metadata tags"),
    ("a tag left out", replaced(CARD, "- medical\n", ""), D, "README.md metadata tags"),
    ("scores under a key of their own", head("eval_results: {cmexam: 0.99}"), D, "README.md metadata eval_results"),
    ("another task", replaced(CARD, "pipeline_tag: text-generation", "pipeline_tag: fill-mask"), D, "metadata pipeline_tag"),
    ("a tag of no claim", replaced(CARD, "- medllm_hf\n", "- medllm_hf\n- pediatrics\n"), DECLARED, "README.md metadata tags"),
    ("another base", renamed(CARD, "org/base", "org/famous"), DECLARED, "README.md metadata base_model: org/famous"),
    # The text.
    ("true rows hidden, a false table", replaced(CARD, "| run ", f"{TABLE}\n<!--\n| run "), D, "README.md text line"),
    ("a table in HTML", words("<table><tr><td>CMExam</td><td>ninety-nine</td></tr></table>"), D, "README.md text line"),
    ("a row in a folded part", words("<details><summary>more</summary>"), D, "not of this card"),
    ("figures by entities", words("CMExam: 9&#57;&#46;9"), D, "a figure"),
    ("figures of full width", words("CMExam：９９．９"), D, "a figure"),
    ("figures with nothing between", words("CMExam: 9\u200b9\u200b.9"), D, "a figure"),
    ("figures in other digits", words("CMExam: ٩٩٫٩ %"), D, "a figure"),
    ("figures in words", words("在执业医师考试中答对九成五。"), D, "a figure"),
    ("figures in percent, by words", words("It answers ninety-nine per cent of CMExam."), D, "a figure"),
    ("so many of so many", words("It answers 127 of 128 questions."), D, "a figure"),
    ("a rank", words("The best open medical model."), D, "a rank"),
    ("a rank in Chinese", words("本模型全面超越同类模型。"), D, "a rank"),
    ("an approval", words("Approved by the FDA for triage."), D, "an approval"),
    ("an approval in Chinese", words("已获国家药监局批准上市。"), D, "an approval"),
    ("the warning left out", replaced(CARD, "**Not a medical device.", "**A medical device."), D, "Not a medical device"),
    ("a style", words("<style>table { display: none }</style>"), D, "not of this card"),
    ("a link by another name", words("[results]: https://x.org/99"), D, "not of this card"),
    ("a long line", words("x" * 5000 + " accuracy 99.9"), D, "a figure"),
    ("lines in another order", lambda folder: swap_headings(folder), D, "lines of the card in another order"),
    ("plain words", words("Thanks to all who helped. 感谢各位。"), D, "not of this card; own words stand between its marks"),
    ("a heading over the table", replaced(CARD, "| run ", "### CMExam, the whole test set\n\n| run "), D, "not of this card"),
    ("code in the code", replaced(CARD, "messages = [", "import os\nmessages = ["), D, "not of this card"),
    ("the limits left out", renamed(CARD, "The model can be wrong", "The model is right"), D, "not in the card"),
    ("a warning as code", replaced(CARD, "**Not a medical", "    **Not a medical"), D, "Not a medical device"),
    ("own words", own("Requires transformers 4.57. Use temperature 0.6."), DECLARED, "the publisher's own words"),
    ("a rank in own words", own("The best open model."), DECLARED, "a rank, in the publisher's own words"),
    ("a comment that swallows the rest", own("<!-- thanks"), D, "a comment that does not end in the section"),
    ("code that swallows the rest", own("```"), D, "a block of code that does not end in the section"),
    ("a fold that swallows the rest", own("<details>"), D, "an element that does not end in the section"),
    ("the marks around the whole card", moved_end, D, "not in the card"),
    ("the marks twice", words(f"{SECTION_BEGINS}\n{SECTION_ENDS}"), D, "marks that are not one beginning and one end"),
    ("a key of a metric twice", twice(f"{EXAM}/metrics.json", '"accuracy": 0.97, '), D, "the key 'accuracy' twice"),
    ("a key of the manifest twice", twice(f"{EXAM}/manifest.json", '"data": {"n": 6811}, '), D, "the key 'data' twice"),
    ("probabilities above one together", outputs(CIRCULAR, sure_of_all), D, f"{CIRCULAR}/outputs.jsonl: line 1"),
    ("an end before the beginning", edited(f"{EXAM}/manifest.json", lambda m: m.update(ended="1970-01-01")), D, "before it"),
    ("a claim in the manifest", hashed(edited(f"{EXAM}/manifest.json", with_note)), DECLARED, "FDA cleared"),
    ("a benchmark's bare name", manifest(EXAM, "data", name="cmexam"), D, "the name of a benchmark, for a file"),
    ("a file by a benchmark's name", manifest(EXAM, "data", name="CMExam.jsonl"), DECLARED, "bears the name of a benchmark"),
    ("a folder among the entries", folder_at(".eval_results/sub"), D, ".eval_results/sub"),
    ("a link to another folder as a run", link("eval/more", "../.."), UNEXAMINED, "eval/more: a link to ../.."),
    # What makes the model behave.
    ("another rms_norm_eps", config("config.json", rms_norm_eps=0.5), D, "model.files_sha256 config.json"),
    ("another temperature", config("generation_config.json", temperature=0.01), D, "files_sha256 generation_config.json"),
    ("another template", appended("chat_template.jinja", "{# #}"), D, "model.files_sha256 chat_template.jinja"),
    ("another tokenizer", config("tokenizer_config.json", model_max_length=7), D, "files_sha256 tokenizer_config.json"),
    ("a file the run was made without", file("special_tokens_map.json", "{}"), D, "special_tokens_map.json: in the"),
    ("no generation config", removed("generation_config.json"), D, "files_sha256 generation_config.json: not in"),
    # What nobody can derive, and what nobody looked at.
    ("a fabricated training record", file("training.json", json.dumps(TRAINED)), D, "README.md"),
    ("a fabricated provenance", file("provenance.json", json.dumps({"note": "famous"})), D, "README.md"),
    ("another date", edited(f"{EXAM}/manifest.json", lambda m: m.update(started="2020-01-01T00:00:00Z")), D, "`eval/exam`"),
    ("a pickle", file("pytorch_model.bin", b"\x80\x04."), UNEXAMINED, "pytorch_model.bin: a pickle"),
    ("a pickle by another name", file("notes.dat", b"\x80\x04."), UNEXAMINED, "notes.dat: a pickle"),
    ("code", file("modeling_x.py", "import os"), UNEXAMINED, "modeling_x.py: code"),
    ("code in a hidden folder", file(".hidden/setup.py", "import os"), UNEXAMINED, ".hidden/setup.py: code"),
    ("second weights", file("other/model.gguf"), UNEXAMINED, "other/model.gguf"),
    ("a card in another language", file("README_zh.md", "准确率 99.9%"), UNEXAMINED, "README_zh.md"),
    ("a file of a run that is none of its own", file(f"{EXAM}/more.jsonl"), D, "`eval/exam`"),
    # Files that are no files.
    ("a link out of the folder", link("notes.txt", "/etc/hostname"), UNEXAMINED, "notes.txt: a link to /etc/hostname"),
    ("a link in a circle", link("loop", "."), UNEXAMINED, "loop: a link to ."),
    ("a pipe", pipe("queue"), UNEXAMINED, "queue: a pipe or a device"),
    ("a card that is a pipe", pipe(CARD), D, "README.md: no card can be made again"),
    ("a card that is a folder", folder_at(CARD), D, "README.md: no card can be made again"),
    ("a card that is a device", link(CARD, "/dev/zero"), D, "README.md: no card can be made again"),
    ("a manifest that is a folder", folder_at(f"{EXAM}/manifest.json"), D, f"{EXAM}: found a folder"),
    ("outputs that are a device", link(f"{EXAM}/outputs.jsonl", "/dev/zero"), D, f"{EXAM}: found a pipe or a device"),
    ("an entry that is a folder", folder_at(".eval_results/best.yaml"), D, "README.md: no card can be made again"),
    # What is made to hang, to crash or to steer a terminal.
    ("YAML nested deep", head("x: " + "[" * 5000 + "]" * 5000), D, "no card can be made again"),
    ("YAML that grows", head(LAUGHS), D, "an alias in YAML"),
    ("an object of Python", head("x: !!python/object/apply:os.system ['true']"), D, "no card can be made again"),
    ("a number of many digits", head("x: " + "9" * 5000), D, "no card can be made again"),
    ("JSON nested deep", file(f"{EXAM}/metrics.json", '{"a":' * 5000 + "1" + "}" * 5000), D, f"{EXAM}: found "),
    ("a template that raises", file("chat_template.jinja", RAISES), D, "settings.prompt_sha256: found"),
    ("a template that recurs", file("chat_template.jinja", RECURS), D, "settings.prompt_sha256: found"),
    ("a template that is none", file("chat_template.jinja", "{% for"), D, "settings.prompt_sha256: found"),
    ("a tokenizer that is none", file("tokenizer.json", "[]"), D, "settings.prompt_sha256: found"),
    ("a name that steers the terminal", manifest(EXAM, "model", id="\x1b[2J\x1b[1;1Hconfirmed"), D, "`eval/exam`"),
    ("a metric that steers the terminal", metrics(EXAM, **{"\x1b[1A\x1b[2Kaccuracy": 1}), N, r"\x1b[1A\x1b[2Kaccuracy"),
    ("a file that begins a line", file("x\nconfirmed     all"), UNEXAMINED, r"x\nconfirmed     all"),
    ("a name that turns round", file("a\u202etxt.b"), UNEXAMINED, r"a\u202etxt.b"),
    ("a newer schema", edited(f"{EXAM}/manifest.json", lambda m: m.update(schema=99)), D, "a manifest of schema 99"),
    ("a run of the first schema", edited(f"{EXAM}/manifest.json", lambda m: m.update(schema="x")), D, "a manifest of schema x"),
    ("a seed of fifty digits", manifest(EXAM, "settings", seed=10**50), D, "`eval/exam`"),
    ("an entry with an alias", file(".eval_results/exam.yaml", LAUGHS), D, ".eval_results/exam.yaml: damaged"),
    # Of a later hand: readers that differ, other types, other encodings, two runs against each other.
    ("metadata with a tag of YAML", replaced(CARD, "model-index:", "!!omap model-index:"), D, "a tag in YAML"),
    ("a licence with a tag of YAML", replaced(CARD, "license: apache-2.0", "license: !!str apache-2.0"), D, "a tag in YAML"),
    ("a set of YAML", head("x: !!set {a, b}"), D, "a tag in YAML"),
    ("a figure by a merged key", head("x: {<<: {cmexam: 99.9}}"), D, "README.md metadata x: a figure"),
    ("HTML as the base", renamed(CARD, "org/base", "<img src=x>"), D, "<img src=x>, which is no id of the Hub"),
    ("an entry in JSON", file(".eval_results/exam.json", '[{"value": 0.99}]'), D, ".eval_results/exam.json: damaged"),
    ("an entry by a shorter ending", file(".eval_results/best.yml", "- value: 0.99"), N, ".eval_results/best.yml: no run best"),
    ("a run by a name of look-alikes", copied_folder(EXAM, "eval/\u0435\u0445\u0430m"), D, "model-index accuracy of \u0435"),
    ("figures that turn round", words("accuracy \u202e%9.99\u202c"), D, "a figure"),
    ("figures behind a sign for a line", words("plain\x85CMExam 99.9%"), D, "a figure"),
    ("two links in a circle", several(link("a", "b"), link("b", "a")), UNEXAMINED, "a: a link to b"),
    ("a socket", socket("s.sock"), UNEXAMINED, "s.sock: a pipe or a device"),
    ("a file that erases a line", file("a\x1b[2Kb.txt"), UNEXAMINED, r"a\x1b[2Kb.txt"),
    ("a folder that begins a line", file("d\nconfirmed     x/y.txt"), UNEXAMINED, r"d\nconfirmed     x/y.txt"),
    ("an output of ten megabytes", appended(f"{EXAM}/outputs.jsonl", f'{{"id": "{"x" * 10**7}"}}\n'), D, "row 9: no "),
    ("a metric that is no number", replaced(f"{EXAM}/metrics.json", '"n": 8', '"n": NaN'), D, "metrics.json n: nan"),
    ("a seed without end", manifest(EXAM, "settings", seed=float("inf")), D, "settings.seed is a float"),
    ("a key of an output twice", twice(f"{EXAM}/outputs.jsonl", '"id": "x", '), D, "line 1 (the key 'id' twice)"),
    ("a mark of order before the manifest", encoded(f"{EXAM}/manifest.json", "utf-8-sig"), D, f"{EXAM}: found"),
    ("a card in UTF-16", encoded(CARD, "utf-16"), D, "not UTF-8"),
    ("metrics in UTF-16", encoded(f"{EXAM}/metrics.json", "utf-16"), D, "that is not JSON"),
    ("other ends of lines", renamed(f"{EXAM}/outputs.jsonl", "\n", "\r\n"), D, "`eval/exam`"),
    ("a header of a gigabyte", file("model.safetensors", (1 << 30).to_bytes(8, "little") + b"{}"), D, "model.weights_sha256"),
    ("weights without a tensor", file("model.safetensors", (2).to_bytes(8, "little") + b"{}"), D, "model.weights_sha256"),
    ("false for a rotation", outputs(EXAM, put(0, rotation=False)), D, "rotation False"),
    ("false for a log-probability", all_logprobs(False), D, "outputs.jsonl row 1: logprobs"),
    ("false for a metric", metrics(EXAM, unparsed=False), D, "metrics.json unparsed: False"),
    ("true for a number of questions", manifest(EXAM, "data", n=True), D, "data.n is a bool"),
    ("true for the schema", edited(f"{EXAM}/manifest.json", lambda m: m.update(schema=True)), D, "a manifest of schema True"),
    ("a template that includes", file("chat_template.jinja", "{% include '/etc/passwd' %}"), D, "prompt_sha256: found"),
    ("two runs of the same settings", second_run, D, "eval/second: other answers than eval/exam"),
    ("a rank as the name of a run", copied_folder(EXAM, "eval/best-of-all"), DECLARED, "a rank, or what may be read as one"),
    ("an approval as a model's name", manifest(EXAM, "model", id="FDA-approved"), DECLARED, "in the name FDA-approved"),
    ("another number of runs", edited(f"{EXAM}/manifest.json", lambda m: m.update(runs_in_log=1)), D, "`eval/exam`"),
    ("a run in another folder", copied_folder(EXAM, "EVAL/exam"), UNEXAMINED, "EVAL/exam/metrics.json"),
    # Gaps that a later forger found.
    ("no hashes of files", manifest(EXAM, "model", files_sha256={}), D, "model.files_sha256 config.json: in the repository"),
    ("the hash of the config left out", unhashed("config.json"), D, "model.files_sha256 config.json: in the repository"),
    ("tokens added, no hashes", several(file("added_tokens.json", "{}"), manifest(EXAM, "model", files_sha256={})), D, "added"),
    ("code by a name", config("config.json", auto_map={"AutoModel": "x/y--m.M"}), UNEXAMINED, "config.json: names code"),
    ("a tokenizer by a name", config("tokenizer_config.json", auto_map=["t.T", None]), UNEXAMINED, "config.json: names"),
    ("generation by a name", config("generation_config.json", custom_generate="x/y"), UNEXAMINED, "_config.json: names"),
    ("a tokenizer of no known class", config("tokenizer_config.json", auto_map=["t.T"], tokenizer_class="T"), D, "model: can"),
    ("log-probabilities of -1e308", all_logprobs(-1e308), D, f"{EXAM}/outputs.jsonl: line 1"),
    ("log-probabilities of -1e6", all_logprobs(-1e6), D, f"{EXAM}/outputs.jsonl: line 1"),
    ("the name of another licence", head("license_name: free-for-all"), D, "metadata license_name: free-for-all, beside"),
    ("quantisation of whole weights", config("config.json", quantization_config={"load_in_4bit": True}), D, "quantization"),
    ("a figure in the config", config("config.json", accuracy=0.98), DECLARED, "config.json accuracy: a figure"),
    ("a claim in the generation config", config("generation_config.json", note="FDA approved"), DECLARED, "note: an approval"),
    ("words kept out", config("generation_config.json", bad_words_ids=[[5]]), DECLARED, "generation_config.json bad_words_ids"),
    ("a program without an ending", file("tool", b"\x7fELF\2"), UNEXAMINED, "tool: code"),
    ("a script without an ending", file("tool", "#!/bin/sh\n"), UNEXAMINED, "tool: code"),
    ("code of another language", file("hook.mjs"), UNEXAMINED, "hook.mjs: code"),
    ("an old pickle", file("notes.txt", b"cos\nsystem\n(S'true'\ntR."), UNEXAMINED, "notes.txt: a pickle"),
    ("an old pickle in a list", file("notes.txt", b"(lp0\ncos\nsystem\n(S'true'\ntRa."), UNEXAMINED, "notes.txt: a pickle"),
    ("a context of 400 digits", config("config.json", max_position_embeddings=10**400), D, "json max_position_embeddings"),
    ("fewer than no layers", config("config.json", num_hidden_layers=-2), D, "config.json num_hidden_layers"),
    ("true for a width", config("config.json", hidden_size=True), D, "config.json hidden_size"),
    ("a width in words", config("config.json", hidden_size="64"), D, "config.json hidden_size"),
    ("a tokenizer of 30 GB", sparse("tokenizer.json", 30 << 30), D, "tokenizer.json: not in the repository, or too large"),
    ("a config that is a pipe", pipe("config.json"), D, "config.json: cannot be read"),
    ("a config nested deep", file("config.json", '{"a":' * 9000 + "1" + "}" * 9000), D, "config.json: cannot be read"),
    ("a template that is a folder", folder_at("chat_template.jinja"), D, "chat_template.jinja: not in the repository"),
    ("samples that are a pipe", pipe("samples.json"), D, "model: cannot be loaded: found a pipe"),
    ("a blank line in a table", replaced(CARD, "\n| exam |", "\n\n| exam |"), D, "a blank line within a table"),
    ("an end in the future", edited(f"{EXAM}/manifest.json", lambda m: m.update(ended="2999-01-01T00:00:00Z")), D, "future"),
    ("a dataset added", replaced(CARD, "tags:\n", "datasets:\n- org/data\ntags:\n"), DECLARED, "metadata datasets: ["),
    ("a mark of the byte order", replaced(CARD, "---", "\ufeff---"), DECLARED, "metadata license"),
    ("an entry of a second run", copied(RANKED, ".eval_results/circular.yaml"), D, "circular.yaml"),
]  # fmt: skip


def swap_headings(folder: Path) -> None:
    """The lines of the results' table and of the data change places: all are there, in another order."""
    lines = (folder / CARD).read_text(encoding="utf-8").split("\n")
    one = next(place for place, line in enumerate(lines) if line.startswith("| exam |"))
    two = next(place for place, line in enumerate(lines) if line.startswith("| circular |"))
    lines[one], lines[two] = lines[two], lines[one]
    (folder / CARD).write_text("\n".join(lines), encoding="utf-8")
