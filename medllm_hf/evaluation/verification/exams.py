"""A published exam run, done again from its outputs: scores, metrics, and the hashes of questions, prompts and weights."""

import math
import random
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NotRequired, TypedDict

from medllm_hf.data.mcq import McqItem
from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.derive import derive, reading_of, stored_run
from medllm_hf.evaluation.exams.outputs import Finishing, Output, Rules, is_unread, rules_of
from medllm_hf.evaluation.exams.prompts import (
    PresentedQuestion,
    Prompts,
    answers,
    candidates,
    present_options,
    questions_hash,
    read_questions,
)
from medllm_hf.evaluation.exams.settings import NEW_TOKENS, READINGS
from medllm_hf.evaluation.runs.folder import SCORES, FinishedRun, each_row
from medllm_hf.evaluation.runs.records import DataRecord, read_record
from medllm_hf.evaluation.verification.benchmarks import benchmark_findings
from medllm_hf.evaluation.verification.bounded import bounded
from medllm_hf.evaluation.verification.findings import (
    CONFIRMED,
    DECLARED,
    DIFFERENT,
    UNKNOWN,
    Finding,
    Known,
    Rerun,
    behaviour_findings,
    compared,
    guarded,
    key_finding,
    metric_findings,
    row_finding,
)
from medllm_hf.placement import DTYPE
from medllm_hf.pretrained import load_tokenizer

LANGUAGES = ("zh", "en")
ROUNDING = 1e-5
# Below this stands no sum of an answer's log-probabilities: logits lie some hundreds apart, and answers have a few tokens.
LOWEST = -1e5
# Seconds that a tokenizer may take to be loaded, and a prompt to be made: many times what they take.
LOADING, PROMPT = 60, 0.05
Answered = tuple[PresentedQuestion, Output]


class Model(TypedDict):
    """The weights that were examined."""

    id: str
    weights_sha256: str
    files_sha256: NotRequired[dict[str, str]]


class Examples(TypedDict):
    """Where the solved examples are from, and their ids by kind of question."""

    name: str
    sha256: str
    ids: dict[str, list[str]]


class Data(DataRecord):
    """The questions; a benchmark names its `files`."""

    left_out: NotRequired[dict[str, int]]
    files: NotRequired[list]
    examples: NotRequired[Examples]


class Settings(TypedDict):
    """What questions and prompts follow from."""

    mode: str
    score: str
    normalization: str
    shots: int
    seed: int
    shuffle_options: bool
    circular: bool
    chat_template: bool
    reply_prefix: str
    prompt_sha256: str
    enable_thinking: NotRequired[bool]
    finish: NotRequired[str]
    encoding: NotRequired[str]
    max_new_tokens: NotRequired[int]
    dtype: NotRequired[str]
    quantization: NotRequired[str]


class Manifest(TypedDict):
    """What is read of the manifest of a published exam."""

    model: Model
    data: Data
    settings: Settings
    ended: str


def exam(where: str, run: FinishedRun, known: Known) -> Generator[Finding, None, dict]:
    """Yields the findings on a run, which `read_run` gave; returns the metrics that follow from its outputs.

    The prompts come last: their tokenizer takes seconds to load, and all else is said without it.

    Raises:
        UserError: it is damaged.
    """
    rules = rules_of(run["metrics"])
    manifest = read_record(run["manifest"], Manifest, f"{where}/manifest.json")
    stored = stored_run(where, run, each_row(run["folder"] / SCORES))
    settings, outputs = manifest["settings"], stored.outputs
    yield compared(f"{where}/manifest.json model.weights_sha256", known.weights, manifest["model"]["weights_sha256"])
    schema = run["manifest"].get("schema", 1)
    yield from behaviour_findings(f"{where}/manifest.json model.files_sha256", manifest["model"], schema, known)
    written = [one.original() for one in stored.questions if not one.rotation]
    data, sets = question_sets(where, written, manifest["data"], known, settings.get("encoding"))
    items = sets[0]
    del stored, written  # what was read of the file, where the questions are at hand, is the same again
    yield data
    yield compared(f"{where}/manifest.json data.n", len(items), manifest["data"]["n"])
    yield from benchmark_findings(where, manifest["data"], items)
    shown = present_options(items, settings["seed"], settings["shuffle_options"], settings["circular"])
    lines = key_finding(f"{where}/outputs.jsonl", outputs, [one.key for one in shown], ("id", "rotation"))
    if lines.state == CONFIRMED:
        lines = output_finding(where, shown, outputs, settings, rules) or lines
    yield lines
    answered = {(row["id"], row["rotation"]) for row in outputs}
    if not any(one.key in answered for one in shown):
        raise UserError(f"no output of any question in {where}", "those of its questions", "run `medllm eval mcq` again")
    derived = derive(shown, outputs, run["manifest"], rules)
    metrics = derived.metrics
    yield row_finding(f"{where}/scores.jsonl", derived.scores, each_row(run["folder"] / SCORES))
    yield from metric_findings(f"{where}/metrics.json", metrics, run["metrics"])
    del derived, shown, answered
    if not known.rerun:
        outputs = run["outputs"] = []  # a process that is forked for the prompts would have them too
    prompts = prompt_findings(where, manifest, sets, known)
    yield from prompts
    if known.rerun:
        figure = f"{where}/outputs.jsonl rerun"
        again = _rerun(figure, manifest, sets, outputs, rules, known) if prompts[-1].state == CONFIRMED else None
        yield from guarded(figure, again or iter([Finding(figure, UNKNOWN, "its prompts are not confirmed")]))
    return metrics


def _rerun(
    figure: str,
    manifest: Manifest,
    sets: Sequence[tuple[McqItem, ...]],
    outputs: Sequence[Output],
    rules: Rules,
    known: Known,
) -> Iterator[Finding]:
    """Some answers again, of a run whose prompts are confirmed."""
    assert known.rerun
    settings = manifest["settings"]
    if "endpoint" in manifest["model"]:
        yield Finding(figure, DECLARED, "not rerun: the replies are those of an endpoint")
        return
    if settings.get("quantization"):
        why = f"not rerun: computed with weights in {settings['quantization']}, which are not those published"
        yield Finding(figure, UNKNOWN, why)
        return
    examples = read_drawn(figure, manifest, known)
    assert not isinstance(examples, str)  # else no prompt would be confirmed
    prompts = run_prompts(manifest, examples, known)
    items = next(items for items in sets if prompts.digest(items) == settings["prompt_sha256"])
    shown = present_options(items, settings["seed"], settings["shuffle_options"], settings["circular"])
    pairs = {(row["id"], row["rotation"]): row for row in outputs}
    answered = [(one, pairs[one.key]) for one in shown if one.key in pairs]
    drawn = draw(answered, known.rerun)
    # A template may know a question and go on for ever at that one alone.
    bounded("a tokenizer or template", lambda: [len(prompts.text(one.item)) for one, _ in drawn], LOADING + PROMPT * len(drawn))
    from medllm_hf.evaluation.verification.rerun import Exam, rerun_exam  # torch, which takes seconds

    told = reading_of(manifest), settings["normalization"], settings.get("max_new_tokens", NEW_TOKENS)
    exam = Exam(known.folder, prompts, settings.get("dtype", DTYPE), *told, rules)
    yield rerun_exam(figure, exam, drawn, len(answered), known.rerun.seed)
    if finished := sum("finishing" in output for _, output in answered):
        yield Finding(f"{figure} finishing", DECLARED, f"not rerun: {finished} answers to being asked once more")


def draw(answered: Sequence[Answered], rerun: Rerun) -> list[Answered]:
    """The answers that a rerun computes again, in their order; they follow from the seed and the number of answers alone."""
    count = min(rerun.count, len(answered))
    return [answered[i] for i in sorted(random.Random(rerun.seed).sample(range(len(answered)), count))]


def question_sets(
    where: str, items: Sequence[McqItem], record: Data, known: Known, encoding: str | None
) -> tuple[Finding, list[tuple[McqItem, ...]]]:
    """Whether the questions are those that the manifest names by hash, and the questions, in each language they may be in.

    The hash of a benchmark is over the questions themselves, so the scores alone confirm it; that of a file needs the file.
    """
    figure = f"{where}/manifest.json data.sha256"
    if path := known.files.get(record["sha256"]):
        written = [tuple(items)]
        items = read_questions(str(path), encoding=encoding).items
        if items and written[0] and items[0].language != written[0][0].language:
            written = [_in_language(written[0], items[0].language)]
        if items == written[0]:
            return Finding(figure, CONFIRMED, record["name"]), written
        others = [one.id for one, *twins in zip(items, *written, strict=False) if one not in twins]
        first = others[0] if others else f"their number, {len(written[0])} for {len(items)}"
        return Finding(figure, DIFFERENT, f"other questions in {where}/scores.jsonl than in {record['name']}: {first}"), [items]
    written = [_in_language(items, language) for language in LANGUAGES]
    for items in written:
        if questions_hash(items) == record["sha256"]:
            return Finding(figure, CONFIRMED, record["name"]), [items]
    if "files" in record:  # a benchmark
        why = f"other questions in {where}/scores.jsonl than {record['name']} has by this hash"
        return Finding(figure, DIFFERENT, why), written
    return Finding(figure, UNKNOWN, f"{record['name']} is not at hand; name it with --data"), written


def _in_language(items: Iterable[McqItem], language: str) -> tuple[McqItem, ...]:
    return tuple(item if item.language == language else replace(item, language=language) for item in items)


def output_finding(
    where: str, shown: Sequence[PresentedQuestion], outputs: Sequence[Output], settings: Settings, rules: Rules
) -> Finding | None:
    """What makes an output none of this run, None where each is one."""
    for number, (one, output) in enumerate(zip(shown, outputs, strict=True), start=1):
        letters = {"".join(sorted(chosen)): chosen for chosen in candidates(one.item)}
        wrong = []
        if output["order"] != one.order:
            wrong.append("order")
        if ("reply" in output) != (settings["mode"] != READINGS[0]):
            wrong.append("mode")
        again: Finishing = output.get("finishing", {})
        if ("finishing" in output) != ("finish" in settings and is_unread(one, output, settings["mode"], rules)):
            wrong.append("finishing")
        # Single letters exclude each other; one text may be the beginning of another.
        apart = settings["score"] == "letter" and one.item.kind == "single"
        if any("logprobs" in row and not _are_log_probabilities(row["logprobs"], letters, apart) for row in (output, again)):
            wrong.append("logprobs")
        if ("lengths" in output) != (settings["normalization"] != "none"):
            wrong.append("normalization")
        elif settings["normalization"] == "bytes":
            texts = answers(one.item, settings["score"], letters.values())
            if output["lengths"] != {name: len(text.encode()) for name, text in zip(letters, texts, strict=True)}:
                wrong.append("lengths")
        if wrong:
            return Finding(f"{where}/outputs.jsonl", DIFFERENT, f"line {number} ({one.item.id}): {', '.join(wrong)} cannot be")
    return None


def _are_log_probabilities(found: Mapping[str, float], letters: Collection[str], apart: bool) -> bool:
    """Whether each of the answers has the logarithm of a probability, up to rounding; of those `apart` the sum is one too."""
    each = set(found) == set(letters) and all(LOWEST < value <= ROUNDING for value in found.values())
    return each and (not apart or sum(map(math.exp, found.values())) <= 1 + 1e-3)


def prompt_findings(where: str, manifest: Manifest, sets: Sequence[tuple[McqItem, ...]], known: Known) -> list[Finding]:
    """Whether the prompts, by the published tokenizer and template, are those of the manifest.

    Raises:
        UserError: examples that are not in their file.
    """
    settings, figure = manifest["settings"], f"{where}/manifest.json settings.prompt_sha256"
    chat = settings["chat_template"]
    ready = reading_of(manifest) == READINGS[0]
    prefixes = [" | ".join(sorted({item.reply_prefix for item in items}) if ready or not chat else []) for items in sets]
    found = [
        Finding(f"{where}/manifest.json settings.reply_prefix", CONFIRMED, settings["reply_prefix"])
        if settings["reply_prefix"] in prefixes
        else compared(f"{where}/manifest.json settings.reply_prefix", prefixes[0], settings["reply_prefix"])
    ]
    examples = read_drawn(where, manifest, known)
    if isinstance(examples, str):
        return [*found, Finding(figure, UNKNOWN, f"{examples} is not at hand; name it with --data")]
    if settings["shots"]:
        drawn = {kind: len(names) for kind, names in examples.items()}
        wanted = dict.fromkeys(Counter(item.kind for item in sets[0]), settings["shots"])
        found.append(compared(f"{where}/manifest.json settings.shots", wanted, drawn))

    def digest() -> list[str]:
        prompts = run_prompts(manifest, examples, known)
        return [prompts.digest(items) for items in sets]

    if known.unusable:
        return [*found, Finding(figure, UNKNOWN, f"as before, {known.unusable[0]}")]
    try:
        digests = bounded("a tokenizer or template", digest, LOADING + PROMPT * sum(map(len, sets)))
    except UserError as error:
        known.unusable.append(str(error))
        return [*found, Finding(figure, DIFFERENT, str(error))]
    if settings["prompt_sha256"] in digests:
        return [*found, Finding(figure, CONFIRMED)]
    return [*found, compared(figure, digests[0], settings["prompt_sha256"])]


Drawn = dict[str, tuple[McqItem, ...]]


def read_drawn(where: str, manifest: Manifest, known: Known) -> Drawn | str:
    """The examples of a run by kind of question, or the name of the file that they are in, where it is not at hand.

    Raises:
        UserError: examples that are not in their file.
    """
    settings = manifest["settings"]
    if not settings["shots"]:
        return {}
    record = manifest["data"].get("examples")
    if record is None:
        raise UserError(f"a damaged run in {where}/manifest.json: no data.examples", "what --shots drew", "run it again")
    if record["sha256"] not in known.files:
        return record["name"]
    examples_file = str(known.files[record["sha256"]])
    pool = {item.id: item for item in read_questions(examples_file, encoding=settings.get("encoding")).items}
    if unknown := [name for names in record["ids"].values() for name in names if name not in pool]:
        raise UserError(f"no example {unknown[0]} in {record['name']}", f"those of {where}/manifest.json", "run it again")
    return {kind: tuple(pool[name] for name in names) for kind, names in record["ids"].items()}


def run_prompts(manifest: Manifest, examples: Drawn, known: Known) -> Prompts:
    """How the questions of a run become prompts, by the published tokenizer and template."""
    settings, chat = manifest["settings"], manifest["settings"]["chat_template"]
    told = chat, reading_of(manifest), settings.get("enable_thinking"), "finish" in settings
    return Prompts(load_tokenizer(known.folder, chat=chat), examples, settings["score"], *told)
