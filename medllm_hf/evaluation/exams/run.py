"""An exam as it is sat: who answers which prompts, the run folder that keeps what is answered, and what it would cost."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tqdm import tqdm

from medllm_hf.endpoints.address import KEY_ENV, Endpoint, parse_endpoint
from medllm_hf.endpoints.client import EndpointError
from medllm_hf.errors import UserError
from medllm_hf.evaluation.costs.estimate import Estimate, Volume, about, at_most, preview_costs, seen_reply
from medllm_hf.evaluation.costs.ledger import Spending
from medllm_hf.evaluation.costs.prices import cost_text, record_prices, sum_usage
from medllm_hf.evaluation.exams.batching import BatchLimits, tokens_for
from medllm_hf.evaluation.exams.derive import derive, list_warnings, output_row, read_outputs
from medllm_hf.evaluation.exams.prompts import (
    PresentedQuestion,
    Prompts,
    Questions,
    first_questions,
    limit_of,
    present_options,
    read_examples,
)
from medllm_hf.evaluation.exams.ranks import meet
from medllm_hf.evaluation.exams.settings import BATCH_TOKENS, ResolvedSettings
from medllm_hf.evaluation.exams.weights import Weights, device_name, find_weights
from medllm_hf.evaluation.runs.folder import RunFolder, open_run, outputs_in, read_run
from medllm_hf.placement import refuse_lack_of_memory
from medllm_hf.templates.template_checks import ADD_TEMPLATE, check_chat_template, check_thinking
from medllm_hf.vocabulary import check_ids

if TYPE_CHECKING:  # they take seconds to import, and a wrong path is to be told at once
    from transformers import PreTrainedTokenizerBase

KEY = ("id", "rotation")


@dataclass(frozen=True)
class Examinee:
    """Who answers: an endpoint, or a local model. `record` is what the manifest says of it under "model"."""

    record: dict
    endpoint: Endpoint | None
    weights: Weights | None
    tokenizer: "PreTrainedTokenizerBase | None"


@dataclass(frozen=True)
class Exam:
    """The questions as they are `shown` to an examinee, and the manifest that says all that may change an answer."""

    settings: ResolvedSettings
    examinee: Examinee
    prompts: Prompts
    shown: list[PresentedQuestion]
    manifest: dict


def prepare_exam(settings: ResolvedSettings, questions: Questions) -> Exam:
    """The exam that `settings` ask for; no weights are loaded yet.

    Raises:
        UserError: a model, examples, prices or an endpoint that cannot be had.
    """
    with meet().in_turn():
        return _prepare_exam(settings, questions)


def _prepare_exam(settings: ResolvedSettings, questions: Questions) -> Exam:
    if settings.url is not None and meet().share.size > 1:
        raise UserError("several ranks with an endpoint", "one", "leave the launcher out, and set --concurrency")
    drawn, examples = read_examples(questions, settings)
    questions = first_questions(questions, settings.limit)  # the examples are those of all of them
    who = load_examinee(settings)
    settings = fit_batches(settings, who)
    ready = settings.mode == "likelihood"
    prompts = Prompts(who.tokenizer, drawn.of_kind, settings.score, settings.chat_template, ready, settings.enable_thinking)
    shown = present_options(questions.items, settings.seed, settings.shuffle_options, settings.circular)
    manifest = {
        "kind": "mcq",
        "model": who.record,
        "data": questions.record | examples,
        "settings": record_settings(settings, prompts, questions, who.weights.device if who.weights else ""),
        **record_prices(settings.prices, {"model": who}, settings.budget),
    }
    return Exam(settings, who, prompts, shown, manifest)


def run_exam(exam: Exam, out: str, overwrite: bool = False) -> str | None:
    """Writes the run folder `out`, or goes on with it; returns what is missing in the end, in a line, or None.

    Raises:
        UserError: `out` holds something else, the model cannot be loaded, or the endpoint refuses every request.
    """
    shown, ranks = exam.shown, meet()
    if not ranks.is_first:
        if wanted := ranks.asked(exam.manifest):
            ranks.hand_over(local_answers(exam, wanted))
        ranks.await_end()
        return None
    with open_run(out, exam.manifest, KEY, overwrite) as run, Spending(run, exam.settings.budget) as spending:
        if run.finished:
            ranks.begin(set(), exam.manifest)
            ranks.end()
            return None
        if failed := fill(run, exam, spending):
            place, error = min(failed.items())
            left = f"{len(shown) - len(run.rows)} of {len(shown)} questions have no reply"
            return spending.describe_missing(left, shown[place].item.id, error)
        order = [one.key for one in shown]
        outputs = read_outputs(run.rows[key] for key in order)
        if exam.examinee.endpoint:
            spending.record_besides(sum_usage(outputs))
        derived = derive(shown, outputs, run.manifest)
        run.finish(order, [dict(row) for row in derived.scores], derived.metrics)
    ranks.end()
    return None


def load_examinee(settings: ResolvedSettings) -> Examinee:
    """Who answers by `settings`; the weights of a model are hashed, not loaded.

    Raises:
        UserError: no such model, or an endpoint that is not one.
    """
    if settings.url is not None:
        concurrency = Endpoint.concurrency if settings.concurrency is None else settings.concurrency
        key = settings.key_env or KEY_ENV
        endpoint = parse_endpoint(settings.url, key, concurrency=concurrency)
        endpoint = replace(endpoint, enable_thinking=settings.enable_thinking)
        return Examinee({"id": endpoint.model, "endpoint": endpoint.url}, endpoint, None, None)
    weights = find_weights(settings)
    tokenizer = weights.load_tokenizer()
    if settings.chat_template:
        check_chat_template(tokenizer, weights.folder, f"{ADD_TEMPLATE}, or use --no-chat-template")
    check_thinking(tokenizer, weights.folder, settings.enable_thinking)
    check_ids(tokenizer, weights.config, weights.folder)
    # Hashing the weights takes as long as reading them, and comes after all that may be refused.
    return Examinee(weights.record(), None, weights, tokenizer)


def fit_batches(settings: ResolvedSettings, who: Examinee) -> ResolvedSettings:
    """The settings with the tokens of a batch that suit the model and its device, where none are said."""
    if who.weights is None or settings.batch_tokens is not None:
        return settings
    likelihood = settings.mode == "likelihood"
    return replace(settings, batch_tokens=tokens_for(who.weights.device, who.weights.count()) if likelihood else BATCH_TOKENS)


def record_settings(settings: ResolvedSettings, prompts: Prompts, questions: Questions, device: str = "cpu") -> dict:
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
        record |= {"batch_tokens": settings.batch_tokens, "device": device_name(device), "dtype": settings.dtype}
        also = {"batch_size": settings.batch_size, "quantization": settings.quantization}
        record |= {name: value for name, value in also.items() if value is not None}
    return record


def fill(run: RunFolder, exam: Exam, spending: Spending) -> dict[int, EndpointError]:
    """Adds to the run every output that it lacks; returns those that failed, by their place among the questions.

    Raises:
        UserError: the model cannot be loaded, or the endpoint refuses every request.
    """
    shown, who = exam.shown, exam.examinee
    wanted = {i for i, one in enumerate(shown) if one.key not in run.rows}
    meet().begin(wanted, exam.manifest)
    if not wanted:
        return {}
    with tqdm(total=len(shown), initial=len(shown) - len(wanted), unit="question", disable=None) as bar:

        def keep(i: int, answer: dict) -> None:
            run.append(dict(output_row(shown[i], answer)))
            bar.update()

        if who.endpoint is not None:
            from medllm_hf.evaluation.exams.generation import endpoint_replies

            turns, account = [exam.prompts.turns(one.item) for one in shown], spending.account("model")
            asked = endpoint_replies(who.endpoint, turns, wanted, exam.settings, keep, account)
            try:
                return asyncio.run(asked)
            except EndpointError as error:
                kept = f"{len(run.rows)} of {len(shown)} replies are kept"
                raise UserError(str(error), "an endpoint that answers", f"mend it and run the same again, {kept}") from error
        for i, answer in meet().gathered(local_answers(exam, wanted)):
            keep(i, answer)
    return {}


def local_answers(exam: Exam, wanted: set[int]) -> Iterator[tuple[int, dict]]:
    """Yields (place among the questions, what the output says) of the `wanted` questions from a local model.

    Where several ranks answer, those that fall to this one.
    """
    from medllm_hf.evaluation.exams.generation import local_replies
    from medllm_hf.evaluation.exams.likelihood import likelihoods

    settings, weights = exam.settings, exam.examinee.weights
    assert weights is not None  # no endpoint
    limits = BatchLimits(settings.batch_tokens or BATCH_TOKENS, settings.batch_size or BatchLimits.questions)
    share, asked = meet().share, (exam.prompts, exam.shown, wanted)
    with refuse_lack_of_memory(
        "use a smaller --batch-tokens or --batch-size, --dtype bfloat16, or --quantization 4bit on a GPU"
    ):
        network = weights.load_network()
        if settings.mode == "likelihood":
            yield from likelihoods(network, *asked, settings.normalization, limits, share)
        else:
            yield from local_replies(network, *asked, settings, limits, share)


def estimate_cost(exam: Exam, out: str, overwrite: bool) -> str:
    """What is printed in place of a run that would write `out`, which is not touched.

    Raises:
        UserError: the folder holds something else.
    """
    settings, prompts = exam.settings, exam.prompts
    rows = outputs_in(out, exam.manifest, KEY, overwrite)
    there = [(one, rows[one.key]) for one in exam.shown if one.key in rows]
    replies = [seen_reply(prompts.turns(one.item), row["reply"], row) for one, row in there]
    guesses = at_most(settings.max_new_tokens), about(settings.max_new_tokens, filter(None, replies))
    left = [prompts.turns(one.item) for one in exam.shown if one.key not in rows]
    volumes = [sum((guess.call(turns) for turns in left), Volume()) for guess in guesses]
    return preview_costs(out, exam.manifest, bool(rows), {"model": Estimate(*volumes)}, settings.budget)


def summary(out: str) -> str:
    """One line on a finished run."""
    run = read_run(out)
    metrics = run["metrics"]
    parts = [f"unparsed {metrics['unparsed']}", *list_warnings(run["outputs"], limit_of(run["manifest"]))]
    if "circular" in metrics:
        parts.append(f"{metrics['circular']['consistent']} consistent over all rotations")
    interval = f"{100 * metrics['interval_low']:.1f} to {100 * metrics['interval_high']:.1f}"
    share = f"accuracy {100 * metrics['accuracy']:.1f}% of n={metrics['n']} (95% interval {interval}, {', '.join(parts)})"
    cost = f", {cost_text(metrics['cost'])}" if "cost" in metrics else ""
    return f"{share}{cost}, run folder {out}"
