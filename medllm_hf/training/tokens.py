"""Exact token ids and labels of dialogues: built by concatenation, and never with half an answer."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow.compute as pc
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template
from trl.chat_template_utils import get_training_chat_template

from medllm_hf.errors import UserError
from medllm_hf.pretrained import check_chat_template, load_generation_config

IGNORED = -100
# How many dialogues are compared with what the tokenizer's own template renders before training begins.
COMPARED = 200


@dataclass(frozen=True)
class Encoded:
    """One dialogue: `labels` are the ids to predict at each place, or -100; `rounds` of `rounds_read` answers were kept."""

    ids: list[int]
    labels: list[int]
    rounds: int
    rounds_read: int


@dataclass(frozen=True)
class Prepared:
    """A dataset with the columns input_ids, labels and source, and what it took to make it.

    `sources` are the names that the numbers in the column `source` stand for.
    """

    dataset: Dataset
    sources: list[str]
    read: int
    shortened: int
    left_out: int
    tokens: int
    trained_tokens: int


def encoder(tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> Callable[[list[dict]], Encoded]:
    """A function messages → `Encoded`.

    The template's generation marks cut the rendered text into pieces; each piece is tokenised by itself and the ids are
    joined, so an answer's ids are exactly those that follow the prompt at inference, whatever it ends with. A template
    that marks an answer without its end token (Baichuan2's own format) cannot teach the model to stop: there, the end
    token is the label, and only the label, at the place after the answer, as in Baichuan2's published training code. A
    dialogue longer than `max_length` loses whole rounds from its end; `rounds` is 0 when not even the first one fits.

    Raises:
        UserError: no chat template, or one without generation marks.
    """
    template = training_template(tokenizer)
    stops = stop_ids(tokenizer)

    def tokenised(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def encode(messages: list[dict]) -> Encoded:
        (text,), (spans,) = render_jinja_template(
            [messages], chat_template=template, return_assistant_tokens_mask=True, **tokenizer.special_tokens_map
        )
        ids: list[int] = []
        labels: list[int] = []
        kept, rounds, at, unstopped = (0, 0), 0, 0, False
        for start, end in spans:
            before, answer = tokenised(text[at:start]), tokenised(text[start:end])
            ids += before
            labels += [IGNORED] * len(before)
            if unstopped and before:
                labels[-len(before)] = tokenizer.eos_token_id
            ids += answer
            labels += answer
            at, unstopped = end, not (answer and answer[-1] in stops)
            if max_length is not None and len(ids) + unstopped > max_length:
                break
            rounds += 1
            kept = (len(ids), unstopped)
        length, unstopped = kept
        end = [tokenizer.eos_token_id] if rounds and unstopped else []
        return Encoded(ids[:length] + end, labels[:length] + end, rounds, len(spans))

    return encode


def training_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer's chat template with generation marks: its own, or TRL's for the models that TRL knows.

    Raises:
        UserError: there is no template, or none with marks.
    """
    template = tokenizer.chat_template
    if not isinstance(template, str):
        check_chat_template(tokenizer)
    if re.search(r"\{%-?\s*generation\s*-?%\}", template):
        return template
    try:
        return get_training_chat_template(tokenizer)
    except ValueError as error:
        do = "put the assistant's text between {% generation %} and {% endgeneration %}"
        raise UserError(f"a chat template without generation marks in {tokenizer.name_or_path}", "marks", do) from error


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The ids that end an answer: the tokenizer's end token and those of the generation config beside it.

    Raises:
        UserError: none, or the padding token is one of them, whose labels are never learned.
    """
    stops = {tokenizer.eos_token_id}
    if config := load_generation_config(tokenizer.name_or_path):
        configured = config.eos_token_id
        stops |= set(configured if isinstance(configured, list) else [configured])
    stops.discard(None)
    if not stops:
        raise UserError(f"no end token in {tokenizer.name_or_path}", "an eos_token", "set it in tokenizer_config.json")
    return stops


def prepare(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    over_length: str = "drop_turns",
    workers: int | None = None,
) -> Prepared:
    """Tokenises the column `messages`; a dataset that has input_ids and labels already is taken as it is.

    Args:
        over_length: "drop_turns" shortens a dialogue of more than `max_length` tokens by whole rounds and leaves it out
            when not even one fits (a tokenised row, whose rounds are unknown, at once); "refuse" makes it an error.

    Raises:
        UserError: see `encoder`; also no column `messages`, training ids that differ from those at inference, an over-long
            dialogue that is to be refused, or nothing left to train on.
    """
    columns = dataset.column_names
    sources = ["all"]
    if {"input_ids", "labels"} <= set(columns):
        rows = dataset.map(_as_it_is, fn_kwargs={"max_length": max_length}, remove_columns=columns, num_proc=workers)
    elif "messages" in columns:
        encode = encoder(tokenizer, max_length)
        check_same_ids(tokenizer, encode, dataset)
        if "source" in columns:
            sources = sorted(set(dataset["source"]))
        options = {"encode": encode, "sources": sources}
        rows = dataset.map(_tokenised, fn_kwargs=options, remove_columns=columns, num_proc=workers, desc="Tokenising")
    else:
        raise UserError(f"columns {', '.join(columns)}", "messages", "build the dataset with `medllm data build`")
    rounds = list(zip(rows["rounds"], rows["rounds_read"], strict=True))
    too_long = sum(kept < read for kept, read in rounds)
    if too_long and over_length == "refuse":
        found = f"{too_long} of {len(rows)} dialogues longer than max_length {max_length}"
        raise UserError(found, "dialogues that fit", "raise max_length or use --over_length drop_turns")
    fitting = [i for i, (kept, _) in enumerate(rounds) if kept]
    left_out = len(rows) - len(fitting)
    rows = rows.select(fitting).select_columns(["input_ids", "labels", "source"])
    tokens, trained = counted(rows)
    if not trained:
        raise UserError(f"{len(dataset)} dialogues without a token to train on", "answers that fit", "raise max_length")
    shortened = sum(0 < kept < read for kept, read in rounds)
    return Prepared(rows, sources, len(dataset), shortened, left_out, tokens, trained)


def _tokenised(row: dict, encode: Callable[[list[dict]], Encoded], sources: list[str]) -> dict:
    encoded = encode(row["messages"])
    return {
        "input_ids": encoded.ids,
        "labels": encoded.labels,
        "source": sources.index(row["source"]) if "source" in row else 0,
        "rounds": encoded.rounds,
        "rounds_read": encoded.rounds_read,
    }


def _as_it_is(row: dict, max_length: int | None) -> dict:
    fits = max_length is None or len(row["input_ids"]) <= max_length
    return {"input_ids": row["input_ids"], "labels": row["labels"], "source": 0, "rounds": int(fits), "rounds_read": 1}


def counted(rows: Dataset) -> tuple[int, int]:
    """The tokens of a tokenised dataset, and those that are predicted and learned: labels but the first of each row."""
    tokens = trained = 0
    for batch in rows.select_columns(["labels"]).with_format("arrow").iter(10_000):
        for labels in batch["labels"].chunks:
            tokens += len(labels.flatten())
            learned = pc.sum(pc.not_equal(labels.flatten(), IGNORED)).as_py() or 0
            first = pc.sum(pc.not_equal(pc.list_element(labels, 0), IGNORED)).as_py() or 0
            trained += learned - first
    return tokens, trained


def check_same_ids(tokenizer: PreTrainedTokenizerBase, encode: Callable[[list[dict]], Encoded], dataset: Dataset) -> None:
    """Returns nothing when the first dialogues have the same ids in training as at inference.

    Compared is what any caller sends for the history up to each answer. A template that TRL marked in the tokenizer's
    place renders a history differently on purpose, so there the comparison says nothing and is left out.

    Raises:
        UserError: they differ.
    """
    if training_template(tokenizer) != tokenizer.chat_template:
        return
    for messages in dataset[:COMPARED]["messages"]:
        encoded = encode(messages)
        answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"][: encoded.rounds]
        for i in answers:
            prompt = tokenizer.apply_chat_template(messages[:i], add_generation_prompt=True, return_dict=True)["input_ids"]
            if encoded.ids[: len(prompt)] != prompt:
                raise UserError(
                    f"other ids in training than at inference for the history before {messages[i]['content'][:20]!r}",
                    "a template whose pieces tokenise by themselves",
                    "end each role's marker with a special token",
                )
