"""A dataset in TRL's formats, or of ready ids, as rows of ids and labels that can be trained, and what became of the others."""

import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import pyarrow.compute as pc
from datasets import Dataset, Features, Value
from transformers import PreTrainedTokenizerBase

from medllm_hf.control_tokens import control_tokens
from medllm_hf.errors import UserError, first_line
from medllm_hf.templates.rendering import plain_texts
from medllm_hf.training.rows import Dialogue, check_columns, read_row, source_name
from medllm_hf.training.template import TrainingTemplate, has_marks, marked_text, read_template
from medllm_hf.training.tokens import IGNORED, Encoded, Unfit, encoder

# How many dialogues are looked at for whether the generation marks of a template hold their answers.
COMPARED = 20
# The modules whose code decides ids and labels.
_READERS = (
    *(__name__, "medllm_hf.training.tokens", "medllm_hf.training.rows"),
    *("medllm_hf.templates.rendering", "medllm_hf.control_tokens"),
)


@dataclass(frozen=True)
class Prepared:
    """A dataset with the columns input_ids, labels and source, and what it took to make it.

    `sources` are the names that the numbers in the column `source` stand for; `joined` of the shortened dialogues are so for
    their tokens' sake (see `Encoded`); `thinking` counts those that are kept and for which the template was told to think.
    """

    dataset: Dataset
    sources: list[str]
    read: int
    shortened: int
    left_out: int
    tokens: int
    trained_tokens: int
    joined: int = 0
    thinking: int = 0

    @property
    def thinks(self) -> bool:
        """Whether most of the dialogues think."""
        return 2 * self.thinking > len(self.dataset)


def prepare(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    over_length: str = "drop_turns",
    workers: int | None = None,
    enable_thinking: bool | None = None,
    day: str | None = None,
) -> Prepared:
    """Tokenises rows in TRL's formats; a dataset that has input_ids and labels already is taken as it is.

    Args:
        over_length: "drop_turns" shortens a dialogue of more than `max_length` tokens by whole rounds and leaves it out
            when not even one fits (a tokenised row, whose rounds are unknown, at once); "refuse" makes it an error.
        enable_thinking: see `encoder`.
        day: see `read_template`.

    Raises:
        UserError: see `encoder` and `check_columns`; also a row that cannot be trained exactly, an over-long dialogue that is
            to be refused, or nothing left to train on.
    """
    rows, sources = tokenise(dataset, tokenizer, max_length, workers or None, enable_thinking, day)
    rounds = list(zip(rows["rounds"], rows["rounds_read"], rows["joined"], strict=True))
    too_long = sum(kept < read and not joined for kept, read, joined in rounds)
    if too_long and over_length == "refuse":
        found = f"{too_long} of {len(rows)} dialogues longer than max_length {max_length}"
        raise UserError(found, "dialogues that fit", "raise max_length or use --over_length drop_turns")
    fitting = [i for i, (kept, _, _) in enumerate(rounds) if kept]
    left_out = len(rows) - len(fitting)
    rows = rows.select(fitting)
    thinking = sum(rows["thinks"])
    rows = rows.select_columns(["input_ids", "labels", "source"])
    tokens, trained = count_tokens(rows)
    if not trained:
        raise UserError(f"{len(dataset)} dialogues without a token to train on", "answers that fit", "raise max_length")
    shortened = sum(0 < kept < read for kept, read, _ in rounds)
    joined = sum(joined for _, _, joined in rounds)
    return Prepared(rows, sources, len(dataset), shortened, left_out, tokens, trained, joined, thinking)


def tokenise(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    workers: int | None,
    enable_thinking: bool | None,
    day: str | None,
) -> tuple[Dataset, list[str]]:
    """Every row tokenised, with the columns of `_features`, and the names of the sources.

    Raises:
        UserError: see `prepare`.
    """
    columns = dataset.column_names
    sources = ["all"]
    if {"input_ids", "labels"} <= set(columns):
        options: dict[str, object] = {"max_length": max_length, "made_by": made_by(None)}
        rows = dataset.map(_as_it_is, fn_kwargs=options, remove_columns=columns, num_proc=workers, features=_features())
        _refuse_unfit(rows["unfit"])
    else:
        check_columns(columns)
        template = read_template(tokenizer, day) if tokenizer.chat_template else None
        if "source" in columns:
            sources = sorted({source_name(source) for source in dataset["source"]})
        options = {
            "encode": encoder(tokenizer, max_length, enable_thinking, template),
            "sources": sources,
            "nulls": "Json" in str(dataset.features),  # there an object keeps what it had
            "made_by": made_by(template),
        }
        described = {"remove_columns": columns, "num_proc": workers, "desc": "Tokenising", "features": _features()}
        rows = dataset.map(_tokenised, fn_kwargs=options, **described)
        _refuse_unfit(rows["unfit"])
        if template and has_marks(template.text):
            check_marks(tokenizer, template, dataset)
    return rows, sources


def _features() -> Features:
    """The columns of tokenised rows: where the first ones are all left out, their type could not be told from them."""
    ids, number, truth = [Value("int64")], Value("int64"), Value("bool")
    counted_columns = {"source": number, "rounds": number, "rounds_read": number, "joined": truth, "thinks": truth}
    return Features({"input_ids": ids, "labels": ids, **counted_columns, "unfit": Value("string")})


def made_by(template: TrainingTemplate | None) -> str:
    """What the ids depend on beside rows, tokenizer and template, so that those of another version are not taken for them.

    A template that asks for the date gives others for every day.
    """
    sources = [inspect.getsource(sys.modules[name]) for name in sorted(_READERS)]
    versions = [version(name) for name in ("transformers", "tokenizers", "jinja2")]
    day = [template.day] if template and template.day else []
    return hashlib.sha256("\n".join([*sources, *versions, *day]).encode()).hexdigest()


def _refuse_unfit(reasons: list[str]) -> None:
    unfit = [i for i, reason in enumerate(reasons) if reason]
    if unfit:
        found = (
            f"{len(unfit)} of {len(reasons)} rows that cannot be trained, the first one row {unfit[0] + 1}: {reasons[unfit[0]]}"
        )
        raise UserError(found, "rows that can be trained whole", "mend or leave out these rows")


def _tokenised(row: dict, encode: Callable[[Dialogue], Encoded], sources: list[str], nulls: bool, made_by: str) -> dict:
    encoded, reason = Encoded([], [], 0, 0), ""
    try:
        encoded = encode(read_row(row, nulls))
    except (Unfit, UserError) as error:
        # Told together for all rows, and not from within a worker.
        reason = str(error).removeprefix("found ").partition("; expected")[0]
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        reason = f"another shape than that of a dialogue ({type(error).__name__}: {first_line(error)[:100]})"
    return {
        "input_ids": encoded.ids,
        "labels": encoded.labels,
        "source": sources.index(source_name(row["source"])) if "source" in row else 0,
        "rounds": encoded.rounds,
        "rounds_read": encoded.rounds_read,
        "joined": encoded.joined,
        "thinks": encoded.thinks,
        "unfit": reason,
    }


def _as_it_is(row: dict, max_length: int | None, made_by: str) -> dict:
    ids, labels = row["input_ids"] or [], row["labels"] or []
    reason = ""
    if len(ids) != len(labels) or not ids:
        reason = f"{len(ids)} input_ids and {len(labels)} labels"
    elif not all(isinstance(id, int) and id >= 0 for id in ids) or not all(
        isinstance(label, int) and (label >= 0 or label == IGNORED) for label in labels
    ):
        reason = f"ids below 0 that are not {IGNORED} among the labels, or none at all"
    fits = not reason and (max_length is None or len(ids) <= max_length)
    kept = ([], []) if reason else (ids, labels)
    return {
        "input_ids": kept[0],
        "labels": kept[1],
        "source": 0,
        "rounds": int(fits),
        "rounds_read": 1,
        "joined": False,
        "thinks": False,
        "unfit": reason,
    }


def count_tokens(rows: Dataset) -> tuple[int, int]:
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
    controls = tuple(control_tokens(tokenizer))
    for row in dataset.select(range(min(COMPARED, len(dataset)))):
        try:
            dialogue = read_row(row)
            if dialogue.completion is not None:
                continue
            marked = marked_text(tokenizer, template, dialogue)
            answers = [message for message in dialogue.messages if message["role"] == "assistant"]
        except UserError:
            continue  # told with all the rows that do not fit
        for answer in answers:
            _, said = plain_texts(answer, controls)
            if said.strip() not in marked:
                do = "put all of the assistant's text between the marks, or remove them"
                raise UserError(
                    f"generation marks that leave out {said.strip()[:20]!r} of an answer", "marks around answers", do
                )
