"""Exact token ids and labels of dialogues: what inference sends, then the answer and its end, and never half an answer."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow.compute as pc
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from medllm_hf.control_tokens import control_tokens, escape_control_tokens
from medllm_hf.errors import UserError
from medllm_hf.templates.rendering import content_text, encode_text, lost_part, render
from medllm_hf.training.rows import Dialogue, check_columns, read_row
from medllm_hf.training.template import TrainingTemplate, has_marks, marked_text, read_template

IGNORED = -100
# How many dialogues are looked at for whether the generation marks of a template hold their answers.
COMPARED = 20
# The source of rows that name none, beside others that do.
UNNAMED = "unnamed"


@dataclass(frozen=True)
class Encoded:
    """One dialogue: `labels` are the ids to predict at each place, or -100; `rounds` of `rounds_read` answers were kept.

    `joined` says that the rounds after those would be sent in other ids at inference, where an answer and the prompt before it
    are tokenised together.
    """

    ids: list[int]
    labels: list[int]
    rounds: int
    rounds_read: int
    joined: bool = False


@dataclass(frozen=True)
class Prepared:
    """A dataset with the columns input_ids, labels and source, and what it took to make it.

    `sources` are the names that the numbers in the column `source` stand for; `joined` of the shortened dialogues are so for
    their tokens' sake (see `Encoded`); `thinks` is whether any answer holds its reasoning.
    """

    dataset: Dataset
    sources: list[str]
    read: int
    shortened: int
    left_out: int
    tokens: int
    trained_tokens: int
    joined: int = 0
    thinks: bool = False


class Unfit(Exception):
    """A dialogue that cannot be trained exactly, with the reason."""


def encoder(
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    enable_thinking: bool | None = None,
    template: TrainingTemplate | None = None,
) -> Callable[[Dialogue], Encoded]:
    """A function `Dialogue` → `Encoded`.

    The ids before each answer are those that inference sends for the messages before it, with the same template and
    `enable_thinking`; the answer's ids are those that follow. Trained is what the model has to write: from the end of that
    prompt to the stop token, which is learned once after every answer. Where the template writes no end of an answer
    (Baichuan2's own format), or another one between rounds than at the end (gpt-oss), the stop token is the label, and only
    the label, at the place after the answer, as in Baichuan2's published training code. A dialogue longer than `max_length`
    loses whole rounds from its end; `rounds` is 0 when not even the first one fits.

    Args:
        enable_thinking: None opens a thought for the dialogues that hold reasoning, where the template has such a switch.

    Raises:
        UserError: see `read_template`.
    """
    template = template or read_template(tokenizer)
    controls = control_tokens(tokenizer)

    def encode(dialogue: Dialogue) -> Encoded:
        if dialogue.completion is not None:
            return _plain_text(tokenizer, dialogue, max_length)
        variables = {**switch(template, dialogue, enable_thinking), **(dialogue.variables or {})}

        def text(messages: list[dict], prompt: bool = False) -> str:
            options = {"tools": dialogue.tools, "template": template.text, "controls": controls, **variables}
            return render(tokenizer, messages, add_generation_prompt=prompt, **options)

        messages = dialogue.messages
        whole = text(messages)
        if lost := lost_part(messages, whole, controls, text):
            raise Unfit(f"{lost}, which the chat template does not write")
        if dialogue.tools and render(tokenizer, messages, template=template.text, controls=controls, **variables) == whole:
            raise Unfit("tools, which the chat template does not write")
        answers = [i for i in range(len(messages)) if messages[i]["role"] == "assistant"]
        ended = {i: whole if i + 1 == len(messages) else text(messages[: i + 1]) for i in answers}
        turns = [Turn(text(messages[:i], prompt=True), ended[i], i >= dialogue.first) for i in answers]
        return _join(tokenizer, template, set(controls.values()), whole, turns, max_length)

    return encode


def switch(template: TrainingTemplate, dialogue: Dialogue, enable_thinking: bool | None) -> dict[str, bool]:
    """What the template is told of thinking for this dialogue."""
    if not template.thinks:
        return {}
    return {"enable_thinking": dialogue.reasons if enable_thinking is None else enable_thinking}


@dataclass(frozen=True)
class Turn:
    """An answer: the prompt before it and the dialogue that ends with it, both rendered, and whether it is learned."""

    prompt: str
    ended: str
    learned: bool


def _join(
    tokenizer, template: TrainingTemplate, controls: set[int], whole: str, turns: list[Turn], max_length: int | None
) -> Encoded:
    """The pieces of `whole` between the ends of its prompts, tokenised each by itself and labelled."""
    if not all(whole.startswith(turn.prompt) for turn in turns):
        raise Unfit("a history that the chat template writes otherwise than the prompt of an answer")
    starts = [len(turn.prompt) for turn in turns]
    ids = encode_text(tokenizer, whole[: starts[0]])
    labels = [IGNORED] * len(ids)
    begins, ends, stops = [], [], []
    for turn, start, following in zip(turns, starts, [*starts[1:], None], strict=True):
        new, length, stop = read_answer(tokenizer, template, controls, whole[start:following], turn.ended[start:])
        begin, end = len(ids), len(ids) + length
        if max_length is not None and end + len(stop) > max_length:
            break
        ids += new
        own = new[:length] + stop if turn.learned else []
        labels = (labels + own + [IGNORED] * (len(new) - len(own)))[: len(ids)]
        begins, ends, stops = [*begins, begin], [*ends, end], [*stops, stop]
    fitting = len(ends)

    def sent_alike(number: int) -> bool:
        return encode_text(tokenizer, turns[number].prompt) == ids[: begins[number]]

    # The last prompt holds the others, so that they are looked at only where it differs.
    if fitting > 1 and not sent_alike(fitting - 1):
        fitting = next(number for number in range(1, fitting) if not sent_alike(number))
    joined = fitting < len(ends)
    learned = [number for number in range(fitting) if turns[number].learned]
    read = sum(turn.learned for turn in turns)
    if not learned:
        return Encoded([], [], 0, read, joined)
    end, stop = ends[learned[-1]], stops[learned[-1]]
    return Encoded(ids[:end] + stop, labels[:end] + stop, len(learned), read, joined)


def read_answer(
    tokenizer, template: TrainingTemplate, controls: set[int], piece: str, ended: str
) -> tuple[list[int], int, list[int]]:
    """The ids of `piece`, how many of them are the answer with its end, and the stop token if it is not the last of those.

    Args:
        controls: the ids of the control tokens.
        piece: the rendered text from the end of a prompt to the end of the next one.
        ended: the same where the dialogue ends with the answer; what both begin with is the answer.

    Raises:
        Unfit: they differ within the answer.
    """
    if not template.closing:
        answer = ended.removesuffix(template.tail)
        if not piece.startswith(answer):
            raise Unfit("an answer, or its reasoning, that the chat template leaves out of a history")
        own = encode_text(tokenizer, answer)
        return own + encode_text(tokenizer, piece[len(answer) :]), len(own), [template.stop]
    ids, alone = encode_text(tokenizer, piece), encode_text(tokenizer, ended)
    same = next((i for i, (a, b) in enumerate(zip(ids, alone, strict=False)) if a != b), min(len(ids), len(alone)))

    def says_nothing(id: int) -> bool:
        return id in controls or not tokenizer.decode(id).strip()

    if all(map(says_nothing, alone[same:])):
        at = same
        while at and says_nothing(ids[at - 1]):
            at -= 1
        if template.closing[0] in ids[at:same]:
            return ids, ids.index(template.closing[0], at) + len(template.closing), []
        if same == len(alone) and controls & set(ids[at:same]):
            # A turn that calls a tool may end in a token of its own.
            return ids, next(i for i in range(at, same) if ids[i] in controls) + 1, []
        if same < len(ids) and ids[same] in controls:
            return ids, same, [template.stop]
    raise Unfit("an answer, or its reasoning, that the chat template leaves out of a history")


def _plain_text(tokenizer, dialogue: Dialogue, max_length: int | None) -> Encoded:
    """A prompt and its completion as they are, with the end token, as TRL reads them."""
    prompt = tokenizer(dialogue.prompt, verbose=False)["input_ids"]
    if prompt and prompt[-1] == tokenizer.eos_token_id:
        prompt = prompt[:-1]  # some tokenizers end every text
    own = [*encode_text(tokenizer, dialogue.completion.removesuffix(tokenizer.eos_token)), tokenizer.eos_token_id]
    fits = max_length is None or len(prompt) + len(own) <= max_length
    return Encoded(prompt + own, [IGNORED] * len(prompt) + own, 1, 1) if fits else Encoded([], [], 0, 1)


def prepare(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    over_length: str = "drop_turns",
    workers: int | None = None,
    enable_thinking: bool | None = None,
) -> Prepared:
    """Tokenises rows in TRL's formats; a dataset that has input_ids and labels already is taken as it is.

    Args:
        over_length: "drop_turns" shortens a dialogue of more than `max_length` tokens by whole rounds and leaves it out
            when not even one fits (a tokenised row, whose rounds are unknown, at once); "refuse" makes it an error.
        enable_thinking: see `encoder`.

    Raises:
        UserError: see `encoder` and `check_columns`; also a row that cannot be trained exactly, an over-long dialogue that is
            to be refused, or nothing left to train on.
    """
    columns = dataset.column_names
    sources = ["all"]
    if {"input_ids", "labels"} <= set(columns):
        rows = dataset.map(_as_it_is, fn_kwargs={"max_length": max_length}, remove_columns=columns, num_proc=workers)
    else:
        check_columns(columns)
        template = None if tokenizer.chat_template is None and "messages" not in columns else read_template(tokenizer)
        if "source" in columns:
            sources = sorted({source or UNNAMED for source in dataset.unique("source")})
        options = {"encode": encoder(tokenizer, max_length, enable_thinking, template), "sources": sources}
        rows = dataset.map(_tokenised, fn_kwargs=options, remove_columns=columns, num_proc=workers, desc="Tokenising")
        _refuse_unfit(rows["unfit"])
        if template and has_marks(template.text):
            check_marks(tokenizer, template, dataset)
    rounds = list(zip(rows["rounds"], rows["rounds_read"], strict=True))
    joined, thinks = sum(rows["joined"]), any(rows["thinks"])
    too_long = sum(kept < read for kept, read in rounds) - joined
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
    return Prepared(rows, sources, len(dataset), shortened, left_out, tokens, trained, joined, thinks)


def _refuse_unfit(reasons: list[str]) -> None:
    unfit = [i for i, reason in enumerate(reasons) if reason]
    if unfit:
        found = (
            f"{len(unfit)} of {len(reasons)} rows that cannot be trained, the first one row {unfit[0] + 1}: {reasons[unfit[0]]}"
        )
        raise UserError(found, "dialogues that the chat template writes whole", "mend or leave out these rows")


def _tokenised(row: dict, encode: Callable[[Dialogue], Encoded], sources: list[str]) -> dict:
    thinks, reason = False, ""
    try:
        dialogue = read_row(row)
        encoded, thinks = encode(dialogue), dialogue.reasons
    except (Unfit, UserError) as error:
        # Told together for all rows, and not from within a worker.
        encoded, reason = Encoded([], [], 0, 0), str(error).removeprefix("found ").partition("; expected")[0]
    return {
        "input_ids": encoded.ids,
        "labels": encoded.labels,
        "source": sources.index(row["source"] or UNNAMED) if "source" in row else 0,
        "rounds": encoded.rounds,
        "rounds_read": encoded.rounds_read,
        "joined": encoded.joined,
        "thinks": thinks,
        "unfit": reason,
    }


def _as_it_is(row: dict, max_length: int | None) -> dict:
    fits = max_length is None or len(row["input_ids"]) <= max_length
    same = {"input_ids": row["input_ids"], "labels": row["labels"], "source": 0, "joined": False, "thinks": False}
    return {**same, "rounds": int(fits), "rounds_read": 1}


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


def check_marks(tokenizer: PreTrainedTokenizerBase, template: TrainingTemplate, dataset: Dataset) -> None:
    """Check that the generation marks of the model's own template leave out nothing of the first answers.

    Raises:
        UserError: they do: what they would have left out is trained here.
    """
    for row in dataset.select(range(min(COMPARED, len(dataset)))):
        try:
            dialogue = read_row(row)
            if dialogue.completion is not None:
                continue
            marked = marked_text(tokenizer, template, dialogue)
            answers = [content_text(message) for message in dialogue.messages if message["role"] == "assistant"]
        except UserError:
            continue  # told with all the rows that do not fit
        for text in answers:
            said = escape_control_tokens(text.rpartition("</think>")[2].strip(), tuple(control_tokens(tokenizer)))
            if said not in marked:
                do = "put all of the assistant's text between the marks, or remove them"
                raise UserError(f"generation marks that leave out {said[:20]!r} of an answer", "marks around answers", do)
