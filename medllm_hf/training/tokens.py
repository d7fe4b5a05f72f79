"""Exact token ids and labels of dialogues: what inference sends, then the answer and its end, and never half an answer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from transformers import PreTrainedTokenizerBase

from medllm_hf.control_tokens import control_tokens
from medllm_hf.errors import UserError
from medllm_hf.templates.rendering import encode_text, lost_part, render
from medllm_hf.training.rows import Dialogue
from medllm_hf.training.template import TrainingTemplate, read_template

IGNORED = -100
# Characters, on average: no dialogue has longer tokens throughout.
LONGEST_TOKEN = 64


@dataclass(frozen=True)
class Encoded:
    """One dialogue: `labels` are the ids to predict at each place, or -100; `rounds` of `rounds_read` answers were kept.

    `joined` says that the rounds after those would be sent in other ids at inference, where an answer and the prompt before it
    are tokenised together; `thinks` that the template was told `enable_thinking`.
    """

    ids: list[int]
    labels: list[int]
    rounds: int
    rounds_read: int
    joined: bool = False
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
        UserError: see `read_template`; also a tokenizer in Python.
    """
    if template is None and tokenizer.chat_template:
        template = read_template(tokenizer)
    if template and not tokenizer.is_fast:
        found = f"a {type(tokenizer).__name__} in {tokenizer.name_or_path}, which does not tell where tokens stand in a text"
        raise UserError(found, "a tokenizer with tokenizer.json", "save it as a fast tokenizer")
    return partial(_encode, Format(tokenizer, template, control_tokens(tokenizer), max_length, enable_thinking))


@dataclass(frozen=True)
class Format:
    """What dialogues are encoded with; see `encoder`. Plain texts need no template."""

    tokenizer: PreTrainedTokenizerBase
    template: TrainingTemplate | None
    controls: dict[str, int]
    max_length: int | None
    enable_thinking: bool | None

    @property
    def chat(self) -> TrainingTemplate:
        """The template, for dialogues, which need one.

        Raises:
            UserError: there is none.
        """
        return self.template or read_template(self.tokenizer)


@dataclass(frozen=True)
class Turn:
    """An answer: the prompt before it and the dialogue that ends with it, both rendered, and whether it is learned."""

    prompt: str
    ended: str
    learned: bool


@dataclass(frozen=True)
class Span:
    """Where an answer with its end stands in the rendered dialogue, by characters; `stop` is learned at the place after it."""

    prompt: str
    end: int
    stop: list[int]
    learned: bool

    @property
    def start(self) -> int:
        return len(self.prompt)


def _encode(format: Format, dialogue: Dialogue) -> Encoded:
    if dialogue.completion is not None:
        return _plain_text(format.tokenizer, dialogue.prompt or "", dialogue.completion, format.max_length)
    chosen = switch(format.chat, dialogue, format.enable_thinking)
    variables = {**chosen, **(dialogue.variables or {})}
    learned = [i for i, message in enumerate(dialogue.messages) if message["role"] == "assistant" and i >= dialogue.first]
    encoded = _join(format, *_rendered(format, dialogue, variables))
    encoded = replace(encoded, rounds_read=len(learned), thinks=bool(variables.get("enable_thinking")))
    if 0 < encoded.rounds < len(learned) and format.enable_thinking is None and chosen.get("enable_thinking"):
        shorter = replace(dialogue, messages=dialogue.messages[: learned[encoded.rounds - 1] + 1])
        if not shorter.reasons:
            # What reasoned was cut off, so that the rest is sent as a dialogue that does not.
            return replace(_encode(format, shorter), rounds_read=len(learned), joined=encoded.joined)
    return encoded


def _rendered(format: Format, dialogue: Dialogue, variables: dict) -> tuple[str, Iterator[Turn]]:
    """The dialogue as text, and its answers in turn.

    Raises:
        Unfit: the template leaves something out.
    """
    messages, named = dialogue.messages, format.tokenizer.chat_template
    if dialogue.tools and isinstance(named, dict) and "tool_use" in named:
        # transformers would render such rows with that template, and the default is the one that is trained.
        raise Unfit("tools, for which the tokenizer has a chat template of its own, tool_use")
    options = {"template": format.chat.dated, "controls": format.controls, **variables}

    def text(messages: list[dict], prompt: bool = False) -> str:
        return render(format.tokenizer, messages, add_generation_prompt=prompt, tools=dialogue.tools, **options)

    whole = text(messages)
    if lost := lost_part(messages, whole, tuple(format.controls), text):
        raise Unfit(f"{lost}, which the chat template does not write")
    if dialogue.tools and render(format.tokenizer, messages, **options) == whole:
        raise Unfit("tools, which the chat template does not write")
    answers = (i for i, message in enumerate(messages) if message["role"] == "assistant")
    turns = (
        Turn(text(messages[:i], prompt=True), text(messages[: i + 1]) if i + 1 < len(messages) else whole, i >= dialogue.first)
        for i in answers
    )
    return whole, turns


def switch(template: TrainingTemplate, dialogue: Dialogue, enable_thinking: bool | None) -> dict[str, bool]:
    """What the template is told of thinking for this dialogue."""
    if not template.thinks:
        return {}
    return {"enable_thinking": dialogue.reasons if enable_thinking is None else enable_thinking}


def _join(format: Format, whole: str, turns: Iterator[Turn]) -> Encoded:
    """The ids of `whole`, in which the answers are labelled, up to the last round that fits."""
    tokenizer, max_length = format.tokenizer, format.max_length
    spans = _spans(format, whole, turns)
    places = [place for span in spans for place in (span.start, span.end)]
    # What follows the last answer has no part in its ids, but may be the place where its stop token is learned.
    text = whole[: spans[-1].end + LONGEST_TOKEN] if spans else ""

    def sent_alike(number: int, ids: list[int], counts: list[int]) -> bool:
        return encode_text(tokenizer, spans[number].prompt) == ids[: counts[2 * number]]

    def fitting(counts: list[int]) -> int:
        if max_length is None:
            return len(spans)
        lengths = (count + len(span.stop) for count, span in zip(counts[1::2], spans, strict=True))
        return next((number for number, length in enumerate(lengths) if length > max_length), len(spans))

    ids, counts = token_counts(tokenizer, text, places) or ([], [])
    rounds = whole_rounds = fitting(counts)
    if not ids or not all(sent_alike(number, ids, counts) for number in range(rounds)):
        ids, counts = _in_pieces(tokenizer, text, places)
        whole_rounds = fitting(counts)
        rounds = next((n for n in range(1, whole_rounds) if not sent_alike(n, ids, counts)), whole_rounds)
    labels = [IGNORED] * len(ids)
    last = -1
    for number, span in enumerate(spans[:rounds]):
        begin, end = counts[2 * number : 2 * number + 2]
        if span.learned:
            last = number
            labels[begin:end] = ids[begin:end]
            labels[end : end + 1] = span.stop or labels[end : end + 1]
    joined, kept = rounds < whole_rounds, sum(span.learned for span in spans[: last + 1])
    if last < 0:
        return Encoded([], [], 0, 0, joined)
    end, stop = counts[2 * last + 1], spans[last].stop
    return Encoded(ids[:end] + stop, labels[:end] + stop, kept, 0, joined)


def _spans(format: Format, whole: str, turns: Iterator[Turn]) -> list[Span]:
    """The spans of the answers, up to the first that begins far beyond `max_length` tokens."""
    longest = None if format.max_length is None else LONGEST_TOKEN * format.max_length
    spans: list[Span] = []
    turn = next(turns, None)
    while turn is not None and (longest is None or len(turn.prompt) <= longest):
        if not whole.startswith(turn.prompt):
            raise Unfit("a history that the chat template writes otherwise than the prompt of an answer")
        following = next(turns, None)
        start, until = len(turn.prompt), len(following.prompt) if following else len(whole)
        length, stop = read_answer(format, whole[start:until], turn.ended[start:])
        spans.append(Span(turn.prompt, start + length, stop, turn.learned))
        turn = following
    return spans


def token_counts(tokenizer: PreTrainedTokenizerBase, text: str, places: list[int]) -> tuple[list[int], list[int]] | None:
    """The ids of `text`, and how many of them lie before each of the ascending `places`; None where one lies across a place."""
    ids, offsets = _with_offsets(tokenizer, text)
    counts, count = [], 0
    for place in places:
        while count < len(ids) and offsets[count][1] <= place:
            count += 1
        if count < len(ids) and offsets[count][0] < place:
            return None
        counts.append(count)
    return ids, counts


def _with_offsets(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """The ids of `text`, and where each begins and ends in it, by characters."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return encoded["input_ids"], encoded["offset_mapping"]


def _in_pieces(tokenizer: PreTrainedTokenizerBase, text: str, places: list[int]) -> tuple[list[int], list[int]]:
    """As `token_counts`, of pieces that are tokenised by themselves.

    Raises:
        Unfit: the pieces say something else than the text: some tokenizers put a blank before each.
    """
    ids, counts = [], []
    for begin, end in pairwise([0, *places, len(text)]):
        ids += encode_text(tokenizer, text[begin:end])
        counts.append(len(ids))
    if tokenizer.decode(ids) != tokenizer.decode(encode_text(tokenizer, text)):
        raise Unfit("an answer that this tokenizer cannot tell from its prompt, where they are tokenised as one")
    return ids, counts[:-1]


def read_answer(format: Format, piece: str, ended: str) -> tuple[int, list[int]]:
    """How many characters of `piece` are the answer with its end, and the stop token if it is not the last of those.

    Args:
        piece: the rendered text from the end of a prompt to the end of the next one.
        ended: the same where the dialogue ends with the answer; what both begin with is the answer.

    Raises:
        Unfit: they differ within the answer.
    """
    tokenizer, template, controls = format.tokenizer, format.chat, set(format.controls.values())
    if not template.closing:
        answer = ended.removesuffix(template.tail)
        if not piece.startswith(answer):
            raise Unfit("an answer, or its reasoning, that the chat template leaves out of a history")
        return len(answer), [template.stop]
    (ids, places), alone = _with_offsets(tokenizer, piece), encode_text(tokenizer, ended)
    same = next((i for i, (a, b) in enumerate(zip(ids, alone, strict=False)) if a != b), min(len(ids), len(alone)))

    def says_nothing(id: int) -> bool:
        return id in controls or not str(tokenizer.decode(id)).strip()

    if all(map(says_nothing, alone[same:])):
        at = same
        while at and says_nothing(ids[at - 1]):
            at -= 1
        if template.closing[0] in ids[at:same]:
            return places[ids.index(template.closing[0], at) + len(template.closing) - 1][1], []
        if same == len(alone) and controls & set(ids[at:same]):
            # A turn that calls a tool may end in a token of its own.
            return places[next(i for i in range(at, same) if ids[i] in controls)][1], []
        if same < len(ids) and ids[same] in controls:
            return places[same][0], [template.stop]
    raise Unfit("an answer, or its reasoning, that the chat template leaves out of a history")


def _plain_text(tokenizer: PreTrainedTokenizerBase, start: str, completion: str, max_length: int | None) -> Encoded:
    """A prompt and its completion as they are, with the end token, as TRL reads them."""
    if tokenizer.eos_token_id is None:
        raise UserError(f"no end token in {tokenizer.name_or_path}", "an eos_token", "name one with --eos_token")
    prompt = tokenizer(start, verbose=False)["input_ids"]
    if prompt and prompt[-1] == tokenizer.eos_token_id:
        prompt = prompt[:-1]  # some tokenizers end every text
    own = [*encode_text(tokenizer, completion.removesuffix(tokenizer.eos_token)), tokenizer.eos_token_id]
    fits = max_length is None or len(prompt) + len(own) <= max_length
    return Encoded(prompt + own, [IGNORED] * len(prompt) + own, 1, 1) if fits else Encoded([], [], 0, 1)
