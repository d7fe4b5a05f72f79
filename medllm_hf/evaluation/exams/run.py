"""The verb `eval mcq`: a model's accuracy on multiple-choice questions, by likelihood or by what it writes."""

import asyncio
import os
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from medllm_hf.data.mcq import McqItem
from medllm_hf.endpoints.client import Endpoint, EndpointError, parse_endpoint
from medllm_hf.errors import UserError
from medllm_hf.evaluation.costs.ledger import Spending
from medllm_hf.evaluation.costs.prices import cost_text, priced
from medllm_hf.evaluation.exams.derive import compute, predicted, score_row
from medllm_hf.evaluation.exams.estimate import expected, usage
from medllm_hf.evaluation.exams.prompts import Asked, Prompts, answers, candidates, presented
from medllm_hf.evaluation.exams.questions import Questions, left_out, read_examples, read_questions
from medllm_hf.evaluation.exams.settings import BATCH_TOKENS, Settings, settled
from medllm_hf.evaluation.runs.folder import RunFolder, open_run, read_run, weights_hash
from medllm_hf.generation_settings import ENDS
from medllm_hf.pretrained import check_generation, load_config, snapshot
from medllm_hf.templates.template_checks import check_thinking
from medllm_hf.vocabulary import check_ids

# torch and transformers take seconds to import, so they wait until files, names and settings are checked.
if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from medllm_hf.evaluation.exams.likelihood import Question

KEY = ("id", "rotation")

# Questions whose probabilities are computed together. The portions are the same however often a run is begun again, since
# in low precision a value depends a little on its neighbours. A killed run loses at most one of them.
PORTION = 256


@dataclass(frozen=True)
class Examinee:
    """Who answers: an endpoint, or the model in a folder. `record` is what the manifest says of it under "model"."""

    record: dict
    endpoint: Endpoint | None
    folder: Path | None
    tokenizer: "PreTrainedTokenizerBase | None"


def mcq(model: str | None, data: str, out: str, overwrite: bool = False, dry_run: bool = False, **flags) -> int:
    """Asks the questions of `data` and writes the run folder `out`, or goes on with it; returns the exit code.

    Args:
        dry_run: prints what the run would cost at an endpoint, and neither sends nor writes anything.
        flags: the other fields of `Settings`.

    Raises:
        UserError: settings that do not go together; model, questions, examples or endpoint that cannot be had; `out` holds
            something else; or the endpoint refuses every request.
    """
    settings = settled(Settings(model, data, **flags))
    if dry_run and settings.url is None:
        raise UserError("--dry-run without --url", "an endpoint, whose replies cost something", "leave it out")
    questions = read_questions(data, settings.data_path, settings.split)
    if note := left_out(questions.record):
        print(note)
    drawn, examples = read_examples(questions, settings)
    who = examinee(settings)
    ready = settings.mode == "likelihood"
    prompts = Prompts(who.tokenizer, drawn.of_kind, settings.score, settings.chat_template, ready, settings.enable_thinking)
    shown = presented(questions.items, settings.seed, settings.shuffle_options, settings.circular)
    manifest = {
        "kind": "mcq",
        "model": who.record,
        "data": questions.record | examples,
        "settings": recorded(settings, prompts, questions),
        **priced(settings.prices, {"model": who}, settings.budget),
    }
    if dry_run:
        print(expected(out, manifest, shown, prompts, settings, overwrite))
        return 0
    with open_run(out, manifest, KEY, overwrite) as run, Spending(run, settings.budget) as spending:
        if not run.finished:
            failed = fill(run, shown, prompts, who, settings, spending)
            if failed:
                print(unfinished(run, shown, failed, spending), file=sys.stderr)
                return 1
            rows = [score_row(one, predicted(run.rows[one.key])) for one in shown]
            figures = compute(rows)
            if who.endpoint:
                figures = spending.with_cost({**figures, "usage": usage(run.rows.values())})
            run.finish([one.key for one in shown], rows, figures)
    print(summary(out))
    return 0


def examinee(settings: Settings) -> Examinee:
    """Who answers by `settings`; the weights of a model are hashed, not loaded.

    Raises:
        UserError: no such model, or an endpoint that is not one.
    """
    if settings.url is not None:
        concurrency = Endpoint.concurrency if settings.concurrency is None else settings.concurrency
        endpoint = parse_endpoint(settings.url, settings.key_env or Endpoint.key_env, concurrency=concurrency)
        endpoint = replace(endpoint, enable_thinking=settings.enable_thinking)
        return Examinee({"id": endpoint.model, "endpoint": endpoint.url}, endpoint, None, None)
    folder, revision = snapshot(settings.model)
    config = load_config(folder)  # before any work, since the weights come last
    if settings.mode == "generate":
        check_generation(folder, config, fields=ENDS)
    name = {"id": settings.model, "revision": revision} if revision else {"id": folder.resolve().name}
    record = {**name, "weights_sha256": weights_hash(folder)}
    from medllm_hf.evaluation.exams.network import load_tokenizer

    tokenizer = load_tokenizer(folder, settings.chat_template)
    check_thinking(tokenizer, folder, settings.enable_thinking)
    check_ids(tokenizer, config, folder)
    return Examinee(record, None, folder, tokenizer)


def recorded(settings: Settings, prompts: Prompts, questions: Questions) -> dict:
    """What the manifest says under "settings": all that may change an output."""
    names = ("mode", "score", "normalization", "shots", "seed", "shuffle_options", "circular", "chat_template")
    prefixes = sorted({item.reply_prefix for item in questions.items}) if prompts.ready or not prompts.chat else []
    record = {name: getattr(settings, name) for name in names}
    if settings.enable_thinking is not None:  # older runs have no such line, and go on without
        record["enable_thinking"] = settings.enable_thinking
    record |= {"reply_prefix": " | ".join(prefixes), "prompt_sha256": prompts.digest(questions.items)}
    if settings.mode == "generate":
        record |= {"max_new_tokens": settings.max_new_tokens, "temperature": 0.0}
    if settings.url is None:
        from medllm_hf.evaluation.exams.network import device_name

        record |= {"batch_tokens": settings.batch_tokens, "device": device_name()}
    return record


def fill(
    run: RunFolder, shown: list[Asked], prompts: Prompts, who: Examinee, settings: Settings, spending: Spending
) -> dict[int, EndpointError]:
    """Adds to the run every output that it lacks; returns those that failed, by their place in `shown`.

    Raises:
        UserError: the model cannot be loaded, or the endpoint refuses every request.
    """
    wanted = {i for i, one in enumerate(shown) if one.key not in run.rows}
    if not wanted:
        return {}
    with tqdm(total=len(shown), initial=len(shown) - len(wanted), unit="question", disable=None) as bar:

        def keep(i: int, output: dict) -> None:
            run.append({"id": shown[i].item.id, "rotation": shown[i].rotation, "order": shown[i].order, **output})
            bar.update()

        if who.endpoint is not None:
            from medllm_hf.evaluation.exams.generation import endpoint_replies

            turns, account = [prompts.turns(one.item) for one in shown], spending.account("model")
            asked = endpoint_replies(who.endpoint, turns, wanted, settings.max_new_tokens, settings.seed, keep, account)
            try:
                return asyncio.run(asked)
            except EndpointError as error:
                kept = f"{len(run.rows)} of {len(shown)} replies are kept"
                raise UserError(str(error), "an endpoint that answers", f"mend it and run the same again, {kept}") from error
        from medllm_hf.evaluation.exams.network import load_network

        for i, output in answered(load_network(who.folder), prompts, shown, wanted, settings):
            keep(i, output)
    return {}


def answered(
    network: "PreTrainedModel", prompts: Prompts, shown: list[Asked], wanted: set[int], settings: Settings
) -> Iterator[tuple[int, dict]]:
    """Yields (place in `shown`, output) of the `wanted` questions from a local model."""
    if settings.mode == "likelihood":
        yield from likelihoods(network, prompts, shown, wanted, settings.normalization, settings.batch_tokens)
        return
    from medllm_hf.evaluation.exams.generation import replies

    starts = range(0, len(shown), PORTION)
    texts = ([prompts.text(one.item) for one in shown[start : start + PORTION]] for start in starts)
    ids = [array("i", row) for row in chain.from_iterable(map(prompts.ids, texts))]
    new_tokens, chat = settings.max_new_tokens, settings.chat_template
    yield from replies(network, prompts.tokenizer, ids, wanted, new_tokens, settings.batch_tokens, chat)


def likelihoods(
    network: "PreTrainedModel",
    prompts: Prompts,
    shown: Sequence[Asked],
    wanted: set[int],
    normalization: str = "none",
    tokens_at_once: int = BATCH_TOKENS,
) -> Iterator[tuple[int, dict]]:
    """Yields (place in `shown`, {"logprobs"}) of the `wanted` questions; normalisation adds "lengths" of the answers.

    A candidate begins at the first token that differs from the prompt's own, whatever tokens the prompt ends in.
    """
    from medllm_hf.evaluation.exams.likelihood import log_probabilities

    texts = [prompts.text(one.item) for one in shown]
    order = sorted(range(len(shown)), key=lambda i: (shown[i].item.kind, len(texts[i])))
    for portion in (order[start : start + PORTION] for start in range(0, len(order), PORTION)):
        if wanted.isdisjoint(portion):
            continue
        compared = [tokenised(prompts, shown[i].item, texts[i]) for i in portion]
        for place, values in log_probabilities(network, compared, tokens_at_once):
            if (i := portion[place]) in wanted:
                yield i, output(shown[i].item, prompts.score, compared[place], values, normalization)


def tokenised(prompts: Prompts, item: McqItem, text: str) -> "Question":
    """The ids of the prompt `text` of an item, and of it with each candidate answer."""
    from medllm_hf.evaluation.exams.likelihood import Question

    ending = prompts.ending(item)
    whole = [text + answer + ending for answer in answers(item, prompts.score, candidates(item))]
    prompt, *compared = prompts.ids([text, *whole])
    return Question(prompt, compared)


def output(item: McqItem, score: str, question: "Question", values: Iterable[float], normalization: str) -> dict:
    """The raw output for one question: log-probabilities in nats by letters, and what they are to be divided by."""
    chosen = candidates(item)
    names = ["".join(sorted(letters)) for letters in chosen]
    found = {"logprobs": {name: round(value, 6) for name, value in zip(names, values, strict=True)}}
    if normalization == "none":
        return found
    if normalization == "bytes":
        lengths = [len(text.encode()) for text in answers(item, score, chosen)]
    else:
        lengths = [len(ids) - len(os.path.commonprefix([question.prompt, ids])) for ids in question.candidates]
    return {**found, "lengths": dict(zip(names, lengths, strict=True))}


def zero_shot(network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", items: list[McqItem]) -> list[dict]:
    """The rows of scores that `mcq` writes for `items` by its defaults."""
    shown = presented(items, seed=0)
    outputs = dict(likelihoods(network, Prompts(tokenizer, {}), shown, set(range(len(shown)))))
    return [score_row(one, predicted(outputs[i])) for i, one in enumerate(shown)]


def unfinished(run: RunFolder, shown: list[Asked], failed: dict[int, EndpointError], spending: Spending) -> str:
    """What is said when some replies are missing."""
    place, error = min(failed.items())
    missing = len(shown) - len(run.rows)
    if spending.reached:
        return spending.stopped(f"{missing} of {len(shown)} questions have no reply")
    return (
        f"medllm: {missing} of {len(shown)} questions have no reply, the first is {shown[place].item.id}: {error}; "
        f"run the same command again, without --overwrite, for what {run.path} lacks"
    )


def summary(out: str) -> str:
    """One line on a finished run."""
    run = read_run(out)
    metrics = run["metrics"]
    parts = [f"unparsed {metrics['unparsed']}"]
    if cut := sum(row.get("finish") == "length" for row in run["outputs"]):
        parts.append(f"{cut} replies cut at --max-new-tokens")
    if "circular" in metrics:
        parts.append(f"{metrics['circular']['consistent']} consistent over all rotations")
    interval = f"{100 * metrics['interval_low']:.1f} to {100 * metrics['interval_high']:.1f}"
    share = f"accuracy {100 * metrics['accuracy']:.1f}% of n={metrics['n']} (95% interval {interval}, {', '.join(parts)})"
    cost = f", {cost_text(metrics['cost'])}" if "cost" in metrics else ""
    return f"{share}{cost}, run folder {out}"
