"""From a file of questions to what a model is shown: options in some order, few-shot examples, the prompt, and the answers
whose probabilities decide."""

import hashlib
import json
import random
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medllm_hf.control_tokens import control_tokens, escape_control_tokens
from medllm_hf.data.benchmarks.catalogue import BENCHMARKS
from medllm_hf.data.mcq import McqItem, read_question_file
from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.settings import Mode, ResolvedSettings, Settings
from medllm_hf.evaluation.exams.thoughts import is_mark, skipped_thought
from medllm_hf.evaluation.runs.folder import json_line
from medllm_hf.folders import sha256
from medllm_hf.templates.answer_end import answer_end
from medllm_hf.templates.rendering import render, template_text

if TYPE_CHECKING:  # the report reads runs without transformers, which takes a second to import
    from transformers import PreTrainedTokenizerBase

# Stands between the parts of a plain prompt, and so ends an answer in one.
BLANK = "\n\n"


@dataclass(frozen=True)
class Questions:
    """Questions and what the manifest says of them under "data"."""

    items: tuple[McqItem, ...]
    record: dict


def read_questions(data: str, path: str | None = None, split: str | None = None, encoding: str | None = None) -> Questions:
    """The questions of a benchmark's split, "test" if none is named, or of a file; see `read_question_file`.

    `sha256` in the record is that of the file; for a benchmark it is `questions_hash`, since it may come as several files
    or as an archive.

    Raises:
        UserError: neither a benchmark nor a file of questions, or a flag that only benchmarks have.
    """
    if data in BENCHMARKS:
        from medllm_hf.data.benchmarks.read import load_benchmark  # a report reads no benchmark

        read = load_benchmark(data, path, split or "test")
        return Questions(read.items, {
            "name": read.name, "split": read.split, "sha256": questions_hash(read.items), "n": len(read.items),
            "files": read.files, "hub": read.hub, "revision": read.revision, "left_out": read.left_out,
            "empty_options": read.empty_options, "licence": read.licence,
        })  # fmt: skip
    if path is not None or split is not None:
        raise UserError(f"--data-path or --split with {data}", f"a benchmark: {', '.join(BENCHMARKS)}", "name one with --data")
    if not Path(data).is_file():
        raise UserError(f"no file and no benchmark {data}", f"questions or one of {', '.join(BENCHMARKS)}", "check --data")
    return _file_questions(data, encoding)


def first_questions(questions: Questions, limit: int | None) -> Questions:
    """The first `limit` questions; the record has their number as "n", and "of" how many there are, unless these are all."""
    if limit is None or limit >= len(questions.items):
        return questions
    items = questions.items[:limit]
    return Questions(items, {**questions.record, "n": len(items), "of": len(questions.items)})


def limit_of(manifest: Mapping | None) -> dict[str, int] | None:
    """{"n", "of"} of a run that asked the first n of so many questions alone, by its manifest; None for a whole one."""
    data = manifest["data"] if manifest else {}
    return {name: data[name] for name in ("n", "of")} if "of" in data else None


def _file_questions(file: str, encoding: str | None) -> Questions:
    from medllm_hf.data.benchmarks.read import IMAGE

    read = read_question_file(file, encoding)
    record = {"name": Path(file).name, "split": None, "sha256": sha256(Path(file)), "n": len(read.items)}
    return Questions(read.items, record | ({"left_out": {IMAGE: read.with_picture}} if read.with_picture else {}))


def questions_hash(items: Iterable[McqItem]) -> str:
    """One SHA-256 over all that the questions hold, in their order."""
    names, digest = [field.name for field in fields(McqItem)], hashlib.sha256()
    for item in items:
        line = json_line({**{name: getattr(item, name) for name in names}, "answer": sorted(item.answer)})
        digest.update(line.encode(errors="backslashreplace"))
    return digest.hexdigest()


def overview(questions: Questions) -> str:
    """One line on questions: where they are from, how many of each kind, and how many rows of a benchmark are none."""
    record = questions.record
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(item.kind for item in questions.items).items())
    others = ", ".join(f"{count} {reason}" for reason, count in record.get("left_out", {}).items())
    name = " ".join(filter(None, (record["name"], record["split"])))
    noun = "question" if record["n"] == 1 else "questions"
    return f"{name}: {record['n']} {noun} ({kinds})" + (f", left out: {others}" if others else "")


@dataclass(frozen=True, slots=True)
class PresentedQuestion:
    """A question as it is put to the model: `item` has its options and answer as shown, `order` the item's own letters so."""

    item: McqItem
    rotation: int
    order: str

    @property
    def key(self) -> tuple[str, int]:
        return self.item.id, self.rotation

    def own(self, letters: Iterable[str]) -> str:
        """The item's own letters of options that are shown under `letters`."""
        names = dict(zip(self.item.options, self.order, strict=True))
        return "".join(sorted(names[letter] for letter in letters))

    def original(self) -> McqItem:
        """The item in its own letters, in the order of its labels."""
        if self.order == "".join(self.item.options):
            return self.item
        texts = dict(zip(self.order, self.item.options.values(), strict=True))
        options = {label: texts[label] for label in self.item.options}
        return replace(self.item, options=options, answer=frozenset(self.own(self.item.answer)))


def reorder_options(item: McqItem, order: Iterable[str], rotation: int = 0) -> PresentedQuestion:
    """`item` with its options in `order`: its first label stands before the first option shown, and so on."""
    own = dict(zip(item.options, order, strict=True))
    if all(label == letter for label, letter in own.items()):
        return PresentedQuestion(item, rotation, "".join(own))
    options = {label: item.options[letter] for label, letter in own.items()}
    answer = frozenset(label for label, letter in own.items() if letter in item.answer)
    return PresentedQuestion(replace(item, options=options, answer=answer), rotation, "".join(own.values()))


def present_options(
    items: Iterable[McqItem], seed: int, shuffle: bool = False, circular: bool = False
) -> list[PresentedQuestion]:
    """Every item as it is put: once, its options shuffled by seed and id if wanted, or once for each rotation of them."""
    shown = []
    for item in items:
        letters = list(item.options)
        if shuffle:
            random.Random(f"{seed} options {item.id}").shuffle(letters)
        for i in range(len(letters) if circular else 1):
            shown.append(reorder_options(item, letters[i:] + letters[:i], i))
    return shown


@dataclass(frozen=True)
class Examples:
    """The solved examples for questions of each kind, and how many were left out since they are among the questions."""

    of_kind: dict[str, tuple[McqItem, ...]]
    left_out: int


def draw(pool: Iterable[McqItem], questions: Sequence[McqItem], shots: int, seed: int) -> Examples:
    """`shots` examples of `pool` for each kind among `questions`, by the seed alone, none of them a question itself.

    All questions of one kind get the same examples: of their kind, and where these are too few, before them some of the
    other. The same question is one with the same text (case, width and punctuation aside) or the same id; an id that is
    only a number names nothing, since benchmarks count from 0 in every split.

    Raises:
        UserError: too few examples.
    """
    texts = {_bare(item.question) for item in questions}
    names = {item.id for item in questions if not item.id.isdecimal()}
    pool = list(pool)
    free = sorted((i for i in pool if _bare(i.question) not in texts and i.id not in names), key=lambda i: (i.id, i.question))
    if len(free) < shots:
        found = f"{len(free)} examples that are not among the questions ({len(pool) - len(free)} are)"
        raise UserError(found, f"{shots} for --shots", "give another file with --examples or fewer --shots")
    chosen = {}
    for kind in sorted({item.kind for item in questions}):
        rng = random.Random(f"{seed} examples {kind}")
        same, other = [i for i in free if i.kind == kind], [i for i in free if i.kind != kind]
        nearest = rng.sample(same, min(shots, len(same)))
        chosen[kind] = (*rng.sample(other, shots - len(nearest)), *nearest)
    return Examples(chosen, len(pool) - len(free))


def read_examples(questions: Questions, settings: Settings) -> tuple[Examples, dict]:
    """The solved examples that `settings` ask for, and what the manifest says of them under "data".

    Raises:
        UserError: they cannot be had, or there are too few.
    """
    if not settings.shots:
        return Examples({}, 0), {}
    if settings.examples is not None:
        source = _named_examples(settings.examples, settings.encoding)
    elif settings.data in BENCHMARKS:
        source = read_questions(settings.data, _dev_path(settings.data, settings.data_path), "dev")
    else:
        do = "add --examples FILE, or the benchmark that the questions are of, such as --examples cmexam"
        raise UserError("--shots with a question file alone", "solved examples", do)
    drawn = draw(source.items, questions.items, settings.shots, settings.seed)
    names = {kind: [item.id for item in items] for kind, items in drawn.of_kind.items()}
    also = {"in_questions": drawn.left_out, "ids": names}
    return drawn, {"examples": {name: source.record[name] for name in ("name", "split", "sha256", "n")} | also}


def _named_examples(name: str, encoding: str | None) -> Questions:
    benchmark, _, path = name.partition("=")
    if benchmark in BENCHMARKS:
        return read_questions(benchmark, path or None, "dev")
    if not Path(name).is_file():
        expected = f"a file of solved examples, or one of {', '.join(BENCHMARKS)}"
        raise UserError(f"no file and no benchmark {name}", expected, "check --examples")
    return _file_questions(name, encoding)


def _dev_path(name: str, path: str | None) -> str | None:
    """Where the dev split is: at `path`, or on the Hub (None) where that is one file of questions, which are the test."""
    if path is None or not Path(path).is_file() or path.lower().endswith(".zip"):
        return path
    if BENCHMARKS[name].hub is None:
        do = f"add --examples {name}=FOLDER, where its dev split is, or --examples FILE"
        raise UserError(f"--shots with one file of {name}", "solved examples", do)
    return None


def _bare(text: str) -> str:
    """The letters and digits of a text, one form for each."""
    bare = "".join(char for char in unicodedata.normalize("NFKC", text).casefold() if char.isalnum())
    return bare or text


@dataclass(frozen=True)
class Prompts:
    """How questions become prompts.

    `score` is "letter" (options are shown, letters answer) or "text" (the bare question, the options' texts answer);
    `tokenizer` renders chat turns by its own template, or, where `chat` is false, writes and reads plain text. It is None
    for an endpoint, which takes the turns themselves. `mode` is the reading: "likelihood" puts the reply's first words
    ("答案：") before the answer, "reasoning" asks for an analysis. `enable_thinking` is told to the template unless it is None.
    `finish` says whether a reply is asked once more; see finishing.py.
    """

    tokenizer: "PreTrainedTokenizerBase | None"
    examples: dict[str, tuple[McqItem, ...]]
    score: str = Settings.score
    chat: bool = True
    mode: Mode = ResolvedSettings.mode
    enable_thinking: bool | None = None
    finish: bool = False

    @property
    def ready(self) -> bool:
        """Whether the prompt ends with the reply's first words."""
        return self.mode == "likelihood"

    @property
    def required_tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer, which is not there for an endpoint's prompts."""
        if self.tokenizer is None:
            raise ValueError("an endpoint's prompts have no tokenizer")
        return self.tokenizer

    def turns(self, item: McqItem) -> list[dict[str, str]]:
        """The examples as rounds, then the question.

        Examples have answers and no analysis, so they ask for the letters alone in the reading "reasoning" too: an example that
        asks for an analysis and has none would be a wrong one.
        """
        turns = []
        for example in self.examples.get(item.kind, ()):
            reply = example.reply_prefix + answers(example, self.score, [tuple(sorted(example.answer))])[0]
            turns += [self._question(example, reasoned=False), {"role": "assistant", "content": reply}]
        return [*turns, self._question(item)]

    def text(self, item: McqItem) -> str:
        """The whole prompt as the tokenizer reads it."""
        turns = self.turns(item)
        if self.chat:
            thinking: dict[str, Any] = {} if self.enable_thinking is None else {"enable_thinking": self.enable_thinking}
            start = render(self.required_tokenizer, turns, add_generation_prompt=True, **thinking)
            # Letters are compared, and a short reply is written, where the answer stands and not within a thought.
            if self.ready or (self.mode == "reply" and not self.enable_thinking):
                start += skipped_thought(start, template_text(self.required_tokenizer))
            return start + item.reply_prefix if self.ready else start
        rounds = [f"{one['content']}\n{two['content']}" for one, two in zip(turns[::2], turns[1::2], strict=False)]
        prompt = BLANK.join([*rounds, f"{turns[-1]['content']}\n{item.reply_prefix}"])
        # What is to be written freely begins with the space itself.
        return prompt if self.ready else prompt.rstrip(" ")

    def ending(self, item: McqItem) -> str:
        """What is scored after an answer: nothing where the answers are single letters, else the end of the reply.

        One set of letters, or one text, may be the beginning of another; with the end they are different replies.
        """
        if self.score == "letter" and item.kind == "single":
            return ""
        if not self.chat:
            return BLANK
        tokenizer = self.required_tokenizer
        ids, _ = answer_end(tokenizer)
        return "".join(tokenizer.convert_ids_to_tokens(list(ids))) or tokenizer.eos_token or ""

    def escaped(self, text: str) -> str:
        """What a model has written, in which no token that steers it is spelt but the marks of its thoughts."""
        steering = [token for token in control_tokens(self.required_tokenizer) if not is_mark(token)]
        return escape_control_tokens(text, steering)

    def cue(self, item: McqItem) -> str:
        """What follows a written reply before the letters are compared."""
        return f"\n\n{item.reply_prefix}"

    def ids(self, texts: list[str]) -> list[list[int]]:
        """The token ids of `texts`; a template writes its own first token, plain text gets the tokenizer's."""
        return self.required_tokenizer(texts, add_special_tokens=not self.chat)["input_ids"]

    def digest(self, items: Iterable[McqItem]) -> str:
        """One SHA-256 over all that shapes the prompts of `items` beside their texts: words, template, examples, tokens."""
        parts: list = [self.tokenizer and self.chat and self.tokenizer.chat_template]
        for kind, language in sorted({(item.kind, item.language) for item in items}):
            item = McqItem("", "问 question", {"A": "甲 one", "B": "乙 two"}, frozenset("AB"), "", kind, language)
            parts.append(self.turns(item))
            if self.tokenizer:
                compared = [text + self.ending(item) for text in answers(item, self.score, candidates(item))]
                parts.append([self.text(item), compared, self.ids([self.text(item) + text for text in compared])])
            if self.finish:
                parts.append([self.cue(item), item.letters_alone])
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()

    def _question(self, item: McqItem, reasoned: bool = True) -> dict[str, str]:
        asked = item.prompt(self.score == "letter", reasoned and self.mode == "reasoning")
        return {"role": "user", "content": escape_control_tokens(asked)}


def candidates(item: McqItem) -> list[tuple[str, ...]]:
    """The letters that may be the answer: every single one, or every set of at least one."""
    sizes = range(1, 2 if item.kind == "single" else len(item.options) + 1)
    return [chosen for size in sizes for chosen in combinations(item.options, size)]


def answers(item: McqItem, score: str, chosen: Iterable[tuple[str, ...]]) -> list[str]:
    """Each set of letters as it is written in a reply: "BD", or the texts of these options."""
    if score == "letter":
        return ["".join(sorted(letters)) for letters in chosen]
    return [escape_control_tokens(item.option_text(letters)) for letters in chosen]
