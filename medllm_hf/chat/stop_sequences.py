"""Where an answer ends: at the model's end tokens, or where it begins to write the user's next turn."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from medllm_hf.control_tokens import control_tokens
from medllm_hf.templates.rendering import render

# Texts that no template contains, to see what one writes around them.
_ASKED, _ANSWERED = "asked-4711", "answered-4711"


@dataclass(frozen=True)
class StopSequences:
    """What ends an answer, beside the end tokens of the model's configuration.

    Attributes:
        ends: Tokens that end a turn.
        turns: Tokens that begin one.
        texts: The same in letters. One that begins with a line break counts only at the beginning of a line.
    """

    ends: frozenset[int]
    turns: frozenset[int]
    texts: tuple[str, ...]


def read_stop_sequences(tokenizer: PreTrainedTokenizerBase) -> StopSequences:
    """The stops that a chat template implies, read from what it writes after an answer and before the next question."""
    controls = control_tokens(tokenizer)
    answered = [{"role": "user", "content": _ASKED}, {"role": "assistant", "content": _ANSWERED}]
    asked_again = [*answered, {"role": "user", "content": _ASKED}]
    end = render(tokenizer, answered).rpartition(_ANSWERED)[2]
    whole = render(tokenizer, asked_again)
    question = whole.rpartition(_ANSWERED)[2].rpartition(_ASKED)[0].removeprefix(end)
    answer = whole.partition(_ASKED)[2].partition(_ANSWERED)[0]

    closing = _spelt(end, controls)[:1]
    fixed = {*closing, tokenizer.eos_token, tokenizer.bos_token}
    opening = [token for token in _spelt(question, controls) if token not in fixed]
    replying = [token for token in _spelt(answer, controls) if token not in {*fixed, *opening}][:1]
    texts = opening
    if not opening:
        for token in _spelt(question, controls):
            question = question.replace(token, "")
        texts = ["\n" + question.strip()] if question.strip() else []
    ends = {controls[token] for token in closing} | ({tokenizer.eos_token_id} - {None})
    turns = {controls[token] for token in [*opening, *replying]}
    return StopSequences(frozenset(ends), frozenset(turns), tuple(texts))


def _spelt(text: str, controls: dict[str, int]) -> list[str]:
    """The control tokens in `text`, in their order."""
    places = {text.find(token): token for token in sorted(controls, key=len) if token in text}
    return [places[place] for place in sorted(places)]
