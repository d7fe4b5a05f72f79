"""What a model thinks before it answers, in the one form `<think>…</think>`, whatever the server has made of it.

Known forms: `<seed:think>` (Seed), `<thinking>` and `<thought>`, `[THINK]` (Mistral), `◁think▷` (Kimi), `<|begin_of_thought|>`;
the channels of gpt-oss, `<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…`, also with the
answer bare after `<|end|>`; the same with its marks lost, `analysis…assistantfinal…`; and thoughts that end in `</think>`
without a beginning, since the chat template has written it into the prompt.
"""

import re

OPEN, CLOSE = "<think>", "</think>"
_TAGS = {
    **{f"<{name}>": OPEN for name in ("seed:think", "thinking", "thought")},
    **{f"</{name}>": CLOSE for name in ("seed:think", "thinking", "thought")},
    **{"[THINK]": OPEN, "[/THINK]": CLOSE, "◁think▷": OPEN, "◁/think▷": CLOSE},
    **{"<|begin_of_thought|>": OPEN, "<|end_of_thought|>": CLOSE},
}
_CHANNEL, _START, _MESSAGE = "<|channel|>", "<|start|>", "<|message|>"
_CHANNEL_MARKS = (_CHANNEL, _START, _MESSAGE, "<|constrain|>", "<|end|>", "<|return|>", "<|call|>")
_MARKS = (*_TAGS, *_CHANNEL_MARKS)
_MARK = re.compile("|".join(map(re.escape, sorted(_MARKS, key=len, reverse=True))))
# What may be the beginning of a mark at the end of a piece: every mark begins with one of these signs.
_MAYBE = re.compile(r"[<\[◁][^<\[◁]{0,24}\Z")
_THOUGHTS = re.compile(rf"\A\s*{OPEN}.*?({CLOSE}\s*|\Z)", re.S)
_LOST = "analysis", "assistantfinal"


class ReasoningForm:
    """Rewrites an answer piece by piece: `feed` each piece, then `end`; both return what can be said so far."""

    def __init__(self) -> None:
        self._rest = ""
        # Whether the answer is written in channels; then where it stands: "body", "head" of a message, or "end" after one.
        self._channels = False
        self._place = "body"
        self._head = ""
        self._thinking = False

    def feed(self, piece: str) -> str:
        """The next part of the rewritten answer, "" while it cannot be told from a mark."""
        text, said, place = self._rest + piece, [], 0
        for mark in _MARK.finditer(text):
            said += [self._text(text[place : mark.start()]), self._mark(mark[0])]
            place = mark.end()
        held = _MAYBE.search(text, place)
        if held and not any(one.startswith(held[0]) for one in _MARKS):
            held = None
        end = held.start() if held else len(text)
        self._rest = text[end:]
        return "".join([*said, self._text(text[place:end])])

    def end(self) -> str:
        """The last part of the rewritten answer; thoughts that nothing has ended stay open."""
        rest, self._rest = self._rest, ""
        return self._text(rest)

    def _text(self, text: str) -> str:
        if self._place == "head":
            self._head += text
            return ""
        if self._place == "end" and text.strip():
            self._place = "body"
            return self._turn(False) + text
        return "" if self._place == "end" else text

    def _mark(self, mark: str) -> str:
        if mark in _TAGS:
            return _TAGS[mark] if self._place != "head" else ""
        if not self._channels and mark not in (_CHANNEL, _START):
            return mark
        self._channels = True
        if mark == _MESSAGE:
            self._place = "body"
            name = self._head.rpartition(_CHANNEL)[2].split()[:1]
            return self._turn(name not in ([], ["final"]))
        if mark in (_CHANNEL, _START, "<|constrain|>"):
            self._head = mark if self._place != "head" or mark == _CHANNEL else self._head + " "
            self._place = "head"
        else:
            self._place = "end"
        return ""

    def _turn(self, thinking: bool) -> str:
        """The mark between thoughts and answer, where the one becomes the other."""
        before, self._thinking = self._thinking, thinking
        if before == thinking:
            return ""
        return f"{OPEN}\n" if thinking else f"\n{CLOSE}\n\n"


def with_one_form(text: str) -> str:
    """A whole answer with its reasoning as `<think>…</think>`, left open where the answer ends in it."""
    begun = text.lstrip()
    if begun.startswith(_LOST[0]) and _LOST[1] in begun:
        thoughts, _, answer = begun.removeprefix(_LOST[0]).partition(_LOST[1])
        return f"{OPEN}\n{thoughts}\n{CLOSE}\n\n{answer}"
    form = ReasoningForm()
    text = form.feed(text) + form.end()
    before, closed, _ = text.partition(CLOSE)
    return f"{OPEN}\n{text}" if closed and OPEN not in before else text


def without_reasoning(text: str) -> str:
    """The answer alone, of a text that has its reasoning in the one form; "" where it ends in its reasoning."""
    return _THOUGHTS.sub("", text)


def answer_of(text: str) -> str:
    """The answer alone, of a text in any of the known forms."""
    return without_reasoning(with_one_form(text))
