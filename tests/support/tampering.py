"""Ways to tamper with a published model: (name, what is done to its folder, what the findings must name)."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml
from safetensors.torch import load_file, save_file

Change = Callable[[Path], None]
EXAM, CIRCULAR, TALK, JUDGE = "eval/exam", "eval/circular", "eval/talk", "eval/talk/judge"
RANKED = ".eval_results/exam.yaml"


def replaced(file: str, old: str, new: str) -> Change:
    """The first `old` in a file becomes `new`."""

    def change(folder: Path) -> None:
        text = (folder / file).read_text(encoding="utf-8")
        assert old in text, (file, old)
        (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def edited(file: str, work: Callable[[dict], object]) -> Change:
    """A JSON or YAML file after `work` on its content."""

    def change(folder: Path) -> None:
        load, dump = (yaml.safe_load, yaml.safe_dump) if file.endswith(".yaml") else (json.loads, json.dumps)
        value = load((folder / file).read_text(encoding="utf-8"))
        work(value)
        (folder / file).write_text(dump(value), encoding="utf-8")

    return change


def rows(file: str, work: Callable[[list[dict]], object]) -> Change:
    """A file of JSON lines after `work` on the list of its rows."""

    def change(folder: Path) -> None:
        found = [json.loads(line) for line in (folder / file).read_text(encoding="utf-8").split("\n") if line]
        work(found)
        text = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in found)
        (folder / file).write_text(text, encoding="utf-8")

    return change


def index(run: str, work: Callable[[dict, dict], object]) -> Change:
    """The card after `work` on the first metric of a run in `model-index` and the result that has it."""

    def change(folder: Path) -> None:
        _, head, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
        metadata = yaml.safe_load(head)
        results = metadata["model-index"][0]["results"]
        work(*next((metric, result) for result in results for metric in result["metrics"] if metric["args"]["run"] == run))
        text = yaml.safe_dump(metadata, allow_unicode=True)
        (folder / "README.md").write_text(f"---\n{text}---\n{body}", encoding="utf-8")

    return change


def manifest(run: str, part: str, **fields) -> Change:
    """The manifest of a run with other `fields` in one of its parts."""
    return edited(f"{run}/manifest.json", lambda found: found[part].update(fields))


def metrics(run: str, **fields) -> Change:
    """The metrics of a run with other `fields`."""
    return edited(f"{run}/metrics.json", lambda found: found.update(fields))


def outputs(run: str, work: Callable[[list[dict]], object]) -> Change:
    """The outputs of a run after `work`."""
    return rows(f"{run}/outputs.jsonl", work)


def scores(run: str, work: Callable[[list[dict]], object]) -> Change:
    """The scores of a run after `work`."""
    return rows(f"{run}/scores.jsonl", work)


def ranked(**fields) -> Change:
    """The exam's entry for the leaderboard with other `fields`."""
    return edited(RANKED, lambda found: found[0].update(fields))


def several(*changes: Change) -> Change:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def removed(name: str) -> Change:
    def change(folder: Path) -> None:
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()

    return change


def copied(source: str, target: str) -> Change:
    return lambda folder: shutil.copyfile(folder / source, folder / target)


def appended(file: str, text: str) -> Change:
    return lambda folder: (folder / file).write_text((folder / file).read_text("utf-8") + text, encoding="utf-8")


def other_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] += 0.01
    save_file(weights, folder / "model.safetensors")


def flipped(row: dict) -> None:
    """The least probable answer becomes the most probable."""
    row["logprobs"][min(row["logprobs"], key=row["logprobs"].get)] = 0.0


def put(place: int, **fields) -> Callable[[list[dict]], None]:
    return lambda found: found[place].update(fields)


def swap(found: list) -> None:
    found[0], found[1] = found[1], found[0]


def other_key(found: list[dict]) -> None:
    """Another answer to the first question is called right, in a way that agrees with itself."""
    found[0]["reference"] = next(one["label"] for one in found[0]["options"] if one["label"] != found[0]["reference"])


def said(text: str) -> Callable[[list[dict]], None]:
    return lambda found: found[-1].update(reply=text)


FIVES = "Proactivity: 5\nAccuracy: 5\nHelpfulness: 5\nLinguistic Quality: 5"
METRIC_EDITS = {"accuracy": 0.9, "n": 80, "unparsed": 3, "interval_low": 0.2, "interval_high": 0.3, "macro_accuracy": 0.99,
                "partial_credit": 0.5, "groups": []}  # fmt: skip

TAMPERINGS: list[tuple[str, Change, str]] = [
    *(
        (f"metric {name}", metrics(EXAM, **{name: value}), f"{EXAM}/metrics.json {name}")
        for name, value in METRIC_EDITS.items()
    ),
    (
        "a group's accuracy",
        edited(f"{EXAM}/metrics.json", lambda m: m["groups"][0].update(accuracy=1.0)),
        f"{EXAM}/metrics.json groups",
    ),
    (
        "consistency",
        edited(f"{CIRCULAR}/metrics.json", lambda m: m["circular"].update(consistent=8)),
        f"{CIRCULAR}/metrics.json circular",
    ),
    ("a figure of no metric", metrics(EXAM, f1=0.9), f"{EXAM}/metrics.json f1"),
    ("a metric left out", edited(f"{EXAM}/metrics.json", lambda m: m.pop("unparsed")), f"{EXAM}/metrics.json unparsed"),
    ("a changed score", scores(EXAM, put(3, prediction="E")), f"{EXAM}/scores.jsonl: row 4"),
    ("a dropped score", scores(EXAM, lambda r: r.pop()), f"{EXAM}/scores.jsonl"),
    ("a score twice", scores(EXAM, lambda r: r.append(r[0])), f"{EXAM}/scores.jsonl"),
    ("scores in another order", scores(EXAM, swap), f"{EXAM}/scores.jsonl: row 1"),
    ("another reference", scores(EXAM, other_key), f"{EXAM}/scores.jsonl"),
    ("another reference, named as data", scores(EXAM, other_key), f"{EXAM}/manifest.json data.sha256"),
    ("another question", scores(EXAM, put(2, question="别的题")), f"{EXAM}/scores.jsonl: row 3"),
    ("another option", scores(EXAM, lambda r: r[1]["options"][0].update(text="别的")), f"{EXAM}/scores.jsonl: row 2"),
    ("another subject", scores(EXAM, put(0, group="别的")), f"{EXAM}/scores.jsonl: row 1"),
    ("another kind", scores(EXAM, put(0, kind="multi")), f"{EXAM}/scores.jsonl: row 1"),
    ("a rotation's order", scores(CIRCULAR, put(1, order="ABCDE")), f"{CIRCULAR}/scores.jsonl: row 2"),
    ("a logprob that flips an answer", outputs(EXAM, lambda r: flipped(r[0])), f"{EXAM}/scores.jsonl: row 1"),
    ("a logprob that flips nothing", outputs(EXAM, lambda r: r[0]["logprobs"].update(A=-99.0, B=-98.0)), "`eval/exam`"),
    ("a candidate left out", outputs(EXAM, lambda r: r[4]["logprobs"].pop("A")), f"{EXAM}/outputs.jsonl: line 5"),
    ("a dropped output", outputs(EXAM, lambda r: r.pop(2)), f"{EXAM}/outputs.jsonl: no "),
    ("an output twice", outputs(EXAM, lambda r: r.insert(0, r[0])), f"{EXAM}/outputs.jsonl"),
    ("outputs in another order", outputs(EXAM, swap), f"{EXAM}/outputs.jsonl: another order"),
    ("an output of no question", outputs(EXAM, lambda r: r.append({**r[0], "id": "new"})), f"{EXAM}/outputs.jsonl: new"),
    ("an output's order", outputs(CIRCULAR, put(6, order="ABCDE")), f"{CIRCULAR}/outputs.jsonl: line 7"),
    (
        "a rotation left out",
        several(outputs(CIRCULAR, lambda r: r.pop(4)), scores(CIRCULAR, lambda r: r.pop(4))),
        f"{CIRCULAR}/outputs.jsonl: no ",
    ),
    (
        "a question left out throughout",
        several(outputs(EXAM, lambda r: r.pop()), scores(EXAM, lambda r: r.pop())),
        f"{EXAM}/manifest.json data.sha256",
    ),
    ("the number of questions", manifest(EXAM, "data", n=800), f"{EXAM}/manifest.json data.n"),
    ("hash of the questions", manifest(EXAM, "data", sha256="0" * 64), f"{EXAM}/manifest.json data.sha256"),
    ("name of the questions", manifest(EXAM, "data", name="cmexam"), 'README.md "| exam'),
    ("name of the model", manifest(EXAM, "model", id="gpt-9"), 'README.md "- `eval/exam`'),
    ("hash of the prompts", manifest(EXAM, "settings", prompt_sha256="1" * 64), "settings.prompt_sha256"),
    ("how it was scored", manifest(EXAM, "settings", score="letter"), "settings.prompt_sha256"),
    ("the mode", manifest(EXAM, "settings", mode="generate"), f"{EXAM}/outputs.jsonl: line 1"),
    ("circular", manifest(CIRCULAR, "settings", circular=False), f"{CIRCULAR}/outputs.jsonl"),
    ("shuffled", manifest(EXAM, "settings", shuffle_options=True), f"{EXAM}/outputs.jsonl"),
    ("the run's weights", manifest(EXAM, "model", weights_sha256="2" * 64), f"{EXAM}/manifest.json model.weights"),
    ("other weights", other_weights, f"{EXAM}/manifest.json model.weights_sha256"),
    ("one shard more", copied("model.safetensors", "more.safetensors"), f"{EXAM}/manifest.json model.weights_sha256"),
    ("another chat template", appended("chat_template.jinja", "{# #}"), f"{CIRCULAR}/manifest.json settings.prompt_sha256"),
    ("swapped outputs", copied(f"{CIRCULAR}/outputs.jsonl", f"{EXAM}/outputs.jsonl"), f"{EXAM}/outputs.jsonl"),
    ("swapped scores", copied(f"{CIRCULAR}/scores.jsonl", f"{EXAM}/scores.jsonl"), f"{EXAM}/scores.jsonl"),
    ("swapped metrics", copied(f"{CIRCULAR}/metrics.json", f"{EXAM}/metrics.json"), f"{EXAM}/metrics.json accuracy"),
    ("no manifest", removed(f"{EXAM}/manifest.json"), "no manifest.json"),
    ("no outputs", removed(f"{EXAM}/outputs.jsonl"), "no outputs.jsonl"),
    ("no metrics", removed(f"{EXAM}/metrics.json"), "no metrics.json"),
    ("no run", removed(EXAM), "README.md text line"),
    ("no evidence", removed("eval"), "no run from which figures follow"),
    ("a broken line", appended(f"{EXAM}/outputs.jsonl", '{"id": '), "damaged"),
    ("an unfinished run", edited(f"{EXAM}/manifest.json", lambda m: m.pop("ended")), "unfinished run"),
    ("accuracy in the table", replaced("README.md", "| 25.0% |", "| 95.0% |"), 'README.md "| exam'),
    ("interval in the table", replaced("README.md", "7.1 to 59.1%", "24.1 to 26.1%"), 'README.md "| exam'),
    ("n in the table", replaced("README.md", "59.1% | 20.0% | 8 |", "59.1% | 20.0% | 8000 |"), 'README.md "| exam'),
    (
        "a row of no run",
        replaced("README.md", "| exam |", "| best | base | cmexam | 91.0% | 90.0 to 92.0% | 9 | 0 |\n| exam |"),
        "text line",
    ),
    ("a claim in the text", replaced("README.md", "## Data", "It reaches 99.9% on CMExam.\n\n## Data"), "README.md text line"),
    ("a claim in Chinese", replaced("README.md", "## Data", "准确率高达９９。\n\n## Data"), "README.md text line"),
    ("the shape in the text", replaced("README.md", "2 layers", "32 layers"), 'README.md "| architecture'),
    ("the evidence's hash", replaced("README.md", "- `eval/exam`: `", "- `eval/exam`: `0"), "`eval/exam`"),
    ("accuracy in model-index", index("exam", lambda m, r: m.update(value=0.99)), "README.md model-index accuracy of exam"),
    ("n in model-index", index("exam", lambda m, r: m["args"].update(n=900)), "README.md model-index accuracy of exam args"),
    (
        "a name in model-index",
        index("exam", lambda m, r: m.update(name="accuracy, n=9999")),
        "model-index accuracy of exam name",
    ),
    (
        "the dataset in model-index",
        index("exam", lambda m, r: r["dataset"].update(name="CMExam")),
        "model-index accuracy of exam dataset",
    ),
    (
        "one metric more in model-index",
        index("exam", lambda m, r: r["metrics"].append({"type": "f1", "value": 1.0})),
        "model-index f1",
    ),
    ("no card", removed("README.md"), "README.md: no README.md"),
    ("no metadata", replaced("README.md", "---\n", ""), "README.md: no card can be made again"),
    ("value on the leaderboard", ranked(value=0.9), ".eval_results/exam.yaml value"),
    ("notes on the leaderboard", ranked(notes="n=99"), ".eval_results/exam.yaml notes"),
    ("a date on the leaderboard", ranked(date="2020-01-01"), ".eval_results/exam.yaml date"),
    ("another benchmark", edited(RANKED, lambda e: e[0]["dataset"].update(id="a/b")), "`.eval_results/exam.yaml`"),
    ("a second entry", edited(RANKED, lambda e: e.append(e[0])), RANKED),
    ("an entry of no run", copied(RANKED, ".eval_results/best.yaml"), ".eval_results/best.yaml"),
    ("no entry", removed(RANKED), RANKED),
    ("a verdict", outputs(JUDGE, said(FIVES)), f"{JUDGE}/scores.jsonl: row 2"),
    ("a verdict on a canary", outputs(JUDGE, put(1, reply=FIVES)), f"{JUDGE}/metrics.json headline"),
    ("no canary", outputs(JUDGE, lambda r: r.pop(0)), f"{JUDGE}/outputs.jsonl: no canary"),
    ("a judge's score", scores(JUDGE, lambda r: r[0]["scores"].update(accuracy=5.0)), f"{JUDGE}/scores.jsonl: row 1"),
    (
        "a judge's mean",
        edited(f"{JUDGE}/metrics.json", lambda m: m["systems"]["doctor-model"].update(overall=5.0)),
        f"{JUDGE}/metrics.json systems",
    ),
    ("a rubric's hash", manifest(JUDGE, "rubric", sha256="3" * 64), f"{JUDGE}/manifest.json rubric.sha256"),
    ("a rubric's version", manifest(JUDGE, "rubric", version=9), f"{JUDGE}/manifest.json rubric.version"),
    ("another rubric", manifest(JUDGE, "rubric", name="disc-medllm-plain"), f"{JUDGE}/manifest.json rubric"),
    ("the judge's name", manifest(JUDGE, "judge", id="gpt-9"), 'README.md "| talk/judge'),
    ("the failure limit", manifest(JUDGE, "settings", failure_limit=1), f"{JUDGE}/metrics.json failures"),
    ("no judge's run", removed(JUDGE), "README.md text line"),
    ("a judge's unfinished run", edited(f"{JUDGE}/manifest.json", lambda m: m.pop("ended")), f"{JUDGE}: found an unfinished"),
    ("a judge's run without a rubric", edited(f"{JUDGE}/manifest.json", lambda m: m.pop("rubric")), "manifest.json: no rubric"),
    ("a doctor's word", outputs(TALK, put(5, content="好的")), f"{TALK}/dialogues.jsonl: row 1"),
    (
        "a dialogue",
        rows(f"{TALK}/dialogues.jsonl", lambda r: r[0]["turns"][1].update(content="好的")),
        f"{TALK}/dialogues.jsonl: row 1",
    ),
    ("a dialogue, for its judge", rows(f"{TALK}/dialogues.jsonl", lambda r: r.pop()), f"{JUDGE}/manifest.json data.sha256"),
    ("a check of a dialogue", scores(TALK, put(0, patient_slips=4)), f"{TALK}/scores.jsonl: row 1"),
    ("a figure of the dialogues", metrics(TALK, mean_rounds=9.0), f"{TALK}/metrics.json mean_rounds"),
    ("the doctor's weights", manifest(TALK, "doctor", weights_sha256="4" * 64), f"{TALK}/manifest.json doctor"),
    ("a judge's score on the Hub", index("talk/judge", lambda m, r: m.update(value=5.0)), "README.md model-index"),
]
