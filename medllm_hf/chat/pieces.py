"""Token ids that come one by one → pieces of text made of whole characters."""

import re

from transformers import PreTrainedTokenizerBase

from medllm_hf.control_tokens import control_tokens

_BYTE = re.compile("<0x[0-9A-F]{2}>")
REPLACEMENT = "\ufffd"


class Pieces:
    """Collects an answer's tokens; the pieces joined are the decoded whole, up to the first of the `stops`.

    A character of which only some bytes have come is held back. So is a whole run of byte tokens, since a tokenizer
    decodes such a run at once and a byte too many changes all of it; and so are letters that a stop may begin with.

    Attributes:
        stopped: The one of the `stops` that has come, "" before. What comes after it is ignored.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: tuple[str, ...] = ()):
        self.stopped = ""
        self._tokenizer, self._stops = tokenizer, stops
        self._hidden = set(control_tokens(tokenizer).values())
        # `_ids[_first:_done]` has become text already and stands before the rest when that is decoded, because what a
        # token becomes may depend on the one before.
        self._ids: list[int] = []
        self._first = self._done = 0
        # Text not given away yet. The line break stands for the beginning of the answer and is never given away.
        self._text, self._skip = "\n", 1

    def add(self, token: int) -> str:
        """The text that is certain after one more token, often ""."""
        if token in self._hidden:
            return ""
        self._ids.append(token)
        if _BYTE.fullmatch(self._tokenizer.convert_ids_to_tokens(token)):
            return ""
        return self._give(self._decoded(), whole=False)

    def end(self) -> str:
        """The rest of the text, when no token will come any more."""
        return self._give(self._decoded(last=True), whole=True)

    def _decoded(self, last: bool = False) -> str:
        """The text of the tokens that have not become text yet; "" where that may still change."""
        known, text = self._decode(self._ids[self._first : self._done]), self._decode(self._ids[self._first :])
        if text.endswith(REPLACEMENT) and not last:
            return ""
        self._first, self._done = self._done, len(self._ids)
        return text[len(known) :]

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def _give(self, text: str, whole: bool) -> str:
        """What of the text so far is certain to belong to the answer."""
        if self.stopped:
            return ""
        self._text += text
        places = [(place, stop) for stop in self._stops if (place := self._text.find(stop)) >= 0]
        if places:
            first, self.stopped = min(places)
            end = max(first, self._skip)
        else:
            end = len(self._text) if whole else len(self._text) - self._held()
        piece, self._text = self._text[self._skip : end], self._text[end:] if end > self._skip else self._text
        if piece:
            self._skip = 0
        return piece

    def _held(self) -> int:
        """How many of the last letters may be the beginning of a stop."""
        longest = max(map(len, self._stops), default=1) - 1
        for count in range(min(longest, len(self._text)), 0, -1):
            if any(stop.startswith(self._text[-count:]) for stop in self._stops):
                return count
        return 0
