"""An exam as it is sat: who answers which prompts, the run folder that keeps what is answered, and what it would cost."""

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from tqdm import tqdm

from medllm_hf.endpoints.address import KEY_ENV, Endpoint, parse_endpoint
from medllm_hf.endpoints.client import PREFLIGHT, PREFLIGHT_TOKENS, EndpointError
from medllm_hf.endpoints.extra_body import read_extra_body, record_extra_body
from medllm_hf.errors import UserError
from medllm_hf.evaluation.costs.estimate import ANSWER, REASONED, Estimate, Volume, about, at_most, preview_costs, seen_reply
from medllm_hf.evaluation.costs.ledger import Spending
from medllm_hf.evaluation.costs.prices import cost_text, record_prices, sum_usage
from medllm_hf.evaluation.exams.batching import BatchLimits, tokens_for
from medllm_hf.evaluation.exams.context import fit_context
from medllm_hf.evaluation.exams.derive import derive
from medllm_hf.evaluation.exams.finishing import letters_limit, letters_request
from medllm_hf.evaluation.exams.outputs import calls, list_warnings, output_row, read_outputs, rules_of
from medllm_hf.evaluation.exams.phrases import accuracy_text, of_prompts
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
from medllm_hf.evaluation.exams.thoughts import default_thinking
from medllm_hf.evaluation.exams.weights import Weights, device_name, find_weights
from medllm_hf.evaluation.runs.folder import RunFolder, open_run, outputs_in, read_run
from medllm_hf.placement import refuse_lack_of_memory
from medllm_hf.templates.template_checks import ADD_TEMPLATE, check_chat_template, check_thinking
from medllm_hf.vocabulary import check_ids

if TYPE_CHECKING:  # they take seconds to import, and a wrong path is to be told at once
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

KEY = ("id", "rotation")
# Of the replies that a run will get, so many are taken to stay unread and to be asked once more, until some are there.
UNREAD_SHARE = 0.1
_LESS_MEMORY = "use a smaller --batch-tokens or --batch-size, --dtype bfloat16, or --quantization 4bit on a GPU"


@dataclass(frozen=True)
class Examinee:
    """Who answers: an endpoint, or a local model. `record` is what the manifest says of it under "model"."""

    record: dict
    endpoint: Endpoint | None
    weights: Weights | None
    tokenizer: "PreTrainedTokenizerBase | None"

    @cached_property
    def network(self) -> "PreTrainedModel":
        """The local model, loaded once however many readings and benchmarks it sits."""
        assert self.weights is not None  # no endpoint
        return self.weights.load_network()


@dataclass(frozen=True)
class Exam:
    """The questions as they are `shown` to an examinee, and the manifest that says all that may change an answer."""

    settings: ResolvedSettings
    examinee: Examinee
    prompts: Prompts
    shown: list[PresentedQuestion]
    manifest: dict


def prepare_exam(settings: ResolvedSettings, questions: Questions, examinee: Examinee | None = None) -> Exam:
    """The exam that `settings` ask for; no weights are loaded yet.

    Args:
        examinee: Who answers by `settings`, where that is known already.

    Raises:
        UserError: a model, examples, prices or an endpoint that cannot be had, or a question that is too long for the model.
    """
    drawn, examples = read_examples(questions, settings)
    questions = first_questions(questions, settings.limit)  # the examples are those of all of them
    who = examinee or load_examinee(settings)
    settings = fit_batches(with_thinking(settings, who), who)
    told = settings.chat_template, settings.mode, settings.enable_thinking, settings.finish is not None
    prompts = Prompts(who.tokenizer, drawn.of_kind, settings.score, *told)
    shown = present_options(questions.items, settings.seed, settings.shuffle_options, settings.circular)
    if who.weights:
        settings = fit_context(who.weights.config, prompts, shown, settings)
    manifest = {
        "kind": "mcq",
        "model": who.record,
        "data": questions.record | examples,
        "settings": record_settings(settings, prompts, questions, who.weights.device if who.weights else ""),
        **record_prices(settings.prices, {"model": who}, settings.budget),
    }
    return Exam(settings, who, prompts, shown, manifest)


def run_exam(exam: Exam, out: str, overwrite: bool = False, before: Fraction = Fraction(0)) -> str | None:
    """Writes the run folder `out`, or goes on with it; returns what is missing in the end, in a line, or None.

    Args:
        before: What the other runs of the command have spent, which the budget holds for too.

    Raises:
        UserError: `out` holds something else or figures that do not follow from its
            outputs, the model cannot be loaded, or the endpoint refuses every request.
    """
    shown, ranks = exam.shown, meet()
    if not ranks.is_first:
        if wanted := ranks.asked(exam.manifest):
            ranks.hand_over(local_answers(exam, wanted))
        ranks.await_end()
        return None
    with open_run(out, exam.manifest, KEY, overwrite) as run, Spending(run, exam.settings.budget, before) as spending:
        order = [one.key for one in shown]
        run.check_keys(order)
        if failed := fill(run, exam, spending):
            place, error = min(failed.items())
            left = f"{len(shown) - len(run.rows)} of {len(shown)} questions have no reply"
            return spending.describe_missing(left, shown[place].item.id, error)
        try:
            outputs = read_outputs((run.rows[key] for key in order), counted=exam.examinee.endpoint is not None)
        except ValueError as error:
            raise UserError(f"{error} of {out}", "what the run has written", "add --overwrite") from error
        if exam.examinee.endpoint:
            spending.record_besides(sum_usage(calls(outputs)))
        derived = derive(shown, outputs, run.manifest, rules_of(run.metrics))
        run.finish(order, [dict(row) for row in derived.scores], derived.metrics)
    ranks.end()
    return None


def load_examinee(settings: ResolvedSettings) -> Examinee:
    """Who answers by `settings`; the weights of a model are hashed, not loaded.

    Raises:
        UserError: no such model, or an endpoint that is not one.
    """
    if settings.url is not None:
        if meet().share.size > 1:
            raise UserError("several ranks with an endpoint", "one", "leave the launcher out, and set --concurrency")
        concurrency = Endpoint.concurrency if settings.concurrency is None else settings.concurrency
        key = settings.key_env or KEY_ENV
        endpoint = parse_endpoint(settings.url, key, concurrency=concurrency)
        extra_body = read_extra_body(settings.extra_body)
        endpoint = replace(endpoint, enable_thinking=settings.enable_thinking, extra_body=extra_body)
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
    return replace(settings, batch_tokens=tokens_for(who.weights.device, who.weights.count(), settings.written))


def with_thinking(settings: ResolvedSettings, who: Examinee) -> ResolvedSettings:
    """The settings with what a local model's template is told of thinking by the reading, where it listens."""
    if settings.enable_thinking is not None or not settings.chat_template or who.tokenizer is None:
        return settings
    return replace(settings, enable_thinking=default_thinking(who.tokenizer, settings.mode))


def record_settings(settings: ResolvedSettings, prompts: Prompts, questions: Questions, device: str = "cpu") -> dict:
    """What the manifest says under "settings": all that may change an output."""
    names = ("mode", "score", "normalization", "shots", "seed", "shuffle_options", "circular", "chat_template")
    prefixes = sorted({item.reply_prefix for item in questions.items}) if prompts.ready or not prompts.chat else []
    record = {name: getattr(settings, name) for name in names}
    if settings.enable_thinking is not None:  # older runs have no such line, and go on without
        record["enable_thinking"] = settings.enable_thinking
    if settings.extra_body:
        record["extra_body"] = record_extra_body(settings.extra_body)
    if settings.encoding is not None:
        record["encoding"] = settings.encoding
    record |= {"reply_prefix": " | ".join(prefixes), "prompt_sha256": prompts.digest(questions.items)}
    if settings.finish is not None:
        record["finish"] = settings.finish
    if settings.written:
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
    if who.weights:  # before the bar, which would stand still meanwhile, and have that of the weights in it
        with refuse_lack_of_memory(_LESS_MEMORY):
            _ = who.network
    with tqdm(total=len(shown), initial=len(shown) - len(wanted), unit="question", disable=None) as bar:

        def keep(i: int, answer: dict) -> None:
            run.append(dict(output_row(shown[i], answer)))
            bar.set_postfix_str("", refresh=False)
            bar.update()

        if who.endpoint is not None:
            from medllm_hf.evaluation.exams.generation import endpoint_replies

            asked = endpoint_replies(who.endpoint, exam.prompts, shown, wanted, exam.settings, keep, spending.account("model"))
            try:
                return asyncio.run(asked)
            except EndpointError as error:
                if spending.reached:
                    return dict.fromkeys(wanted, error)
                kept = f"{len(run.rows)} of {len(shown)} replies are kept"
                raise error.told("an endpoint that answers", "mend it", f" and run the same again, {kept}") from error

        def tell(replies: int, tokens: int) -> None:
            bar.set_postfix_str(f"{replies} being written, token {tokens} of at most {exam.settings.max_new_tokens}")

        for i, answer in meet().gathered(local_answers(exam, wanted, tell)):
            keep(i, answer)
    return {}


def local_answers(exam: Exam, wanted: set[int], tell: Callable[[int, int], None] | None = None) -> Iterator[tuple[int, dict]]:
    """Yields (place among the questions, what the output says) of the `wanted` questions from a local model.

    Where several ranks answer, those that fall to this one. `tell` hears of written replies as `generation.replies` has it.
    """
    from medllm_hf.evaluation.exams.generation import local_replies
    from medllm_hf.evaluation.exams.likelihood import likelihoods

    settings = exam.settings
    limits = BatchLimits(settings.batch_tokens or BATCH_TOKENS, settings.batch_size or BatchLimits.questions)
    share, asked = meet().share, (exam.prompts, exam.shown, wanted)
    with refuse_lack_of_memory(_LESS_MEMORY):
        network = exam.examinee.network
        if settings.mode == "likelihood":
            yield from likelihoods(network, *asked, settings.normalization, limits, share)
        else:
            yield from local_replies(network, *asked, settings, limits, share, tell)


def estimate_cost(exam: Exam, out: str, overwrite: bool) -> str:
    """What is printed in place of a run that would write `out`, which is not touched.

    Raises:
        UserError: the folder holds something else.
    """
    settings, prompts = exam.settings, exam.prompts
    rows = outputs_in(out, exam.manifest, KEY, overwrite)
    there = [(one, rows[one.key]) for one in exam.shown if one.key in rows]
    replies = [seen_reply(prompts.turns(one.item), row["reply"], row) for one, row in there]
    length = REASONED if settings.mode == "reasoning" else ANSWER
    most, usual = at_most(settings.max_new_tokens), about(settings.max_new_tokens, length, filter(None, replies))
    left = [one for one in exam.shown if one.key not in rows]
    estimate = Estimate(*(sum((guess.call(prompts.turns(one.item)) for one in left), Volume()) for guess in (most, usual)))
    if settings.finish:
        asked = sum("finishing" in row for _, row in there) / len(there) if there else UNREAD_SHARE
        again = left[: math.ceil(asked * len(left))]
        most_again = replace(most, tokens=letters_limit(settings))
        estimate = Estimate(
            sum((most_again.call(*letters_request(one, prompts.turns(one.item), most.text)) for one in left), estimate.most),
            sum((usual.call(*letters_request(one, prompts.turns(one.item), usual.text)) for one in again), estimate.about),
        )
    if left:
        greetings = (replace(guess, tokens=PREFLIGHT_TOKENS).call(PREFLIGHT) for guess in (most, usual))
        estimate = Estimate(*(sum(pair, Volume()) for pair in zip((estimate.most, estimate.about), greetings, strict=True)))
    return preview_costs(out, exam.manifest, bool(rows), {"model": estimate}, settings.budget)


def summary(out: str) -> str:
    """One line on a finished run."""
    run = read_run(out)
    metrics = run["metrics"]
    parts = [f"unparsed {metrics['unparsed']}", *list_warnings(run["outputs"], limit_of(run["manifest"]))]
    if "circular" in metrics:
        parts.append(f"{metrics['circular']['consistent']} questions consistent over all rotations")
    interval = f"{100 * metrics['interval_low']:.1f} to {100 * metrics['interval_high']:.1f}"
    if "finished" in metrics:
        asked = f"{metrics['finished']['asked']}{of_prompts(metrics).en} asked once more"
        parts.append(f"{asked}: {accuracy_text(metrics['finished']).en}")
    share = f"accuracy {100 * metrics['accuracy']:.1f}% of n={metrics['n']} (95% interval {interval}, {', '.join(parts)})"
    cost = f", {cost_text(metrics['cost']).en}" if "cost" in metrics else ""
    return f"{share}{cost}, run folder {out}"
