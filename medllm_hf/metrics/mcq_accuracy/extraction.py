"""Finds the chosen letters in a reply to a multiple-choice question. What is unclear is not guessed.

Rules, in order; the first that gives a verdict decides:
1. The whole reply is letters ("B", "ABD", "A、B、D", "(b)."), or "答案：" and letters.
2. Verdict phrases (答案是B, 应选B, 故选ABD, the answer is B): the last one in the reply counts.
3. The text of exactly one option, or for several answers a list of options, is all that follows "答案：" or the whole reply.
Letters are accepted in full width (Ｂ). A letter that this question does not have makes a verdict void.
"""

import re
import unicodedata

_LETTERS = r"(?:[A-Z](?:\s*[、,，/和与及]?\s*[A-Z])*|[a-z])"
_WHOLE = re.compile(rf"(?:答案\s*[:：]?)?\s*[\(\[【（]?\s*({_LETTERS})\s*[\)\]】）]?\s*[.。．、]?")
_VERDICT = re.compile(
    rf"(?:答案\s*(?:应该)?[是为选]?|(?:应|故|因此|所以)\s*选择?|正确选项\s*[是为]?|[Aa]nswer(?:\s+is)?)\s*[:：]?\s*"
    rf"[\(\[【（]?\s*({_LETTERS})(?![A-Za-z\u4e00-\u9fff])"
)


def extract_choice(reply: str, options: dict[str, str]) -> str | None:
    """The chosen letters, sorted ("B", "ABD"), or None when the reply does not say clearly.

    Args:
        reply: what the model said.
        options: letter → text of this question.

    >>> extract_choice("答案：B", {"A": "青霉素", "B": "链霉素"})
    'B'
    >>> extract_choice("答案：链霉素", {"A": "青霉素", "B": "链霉素"})
    'B'
    >>> extract_choice("维生素B", {"A": "青霉素", "B": "链霉素"}) is None
    True
    """
    text = unicodedata.normalize("NFKC", reply).strip()
    if whole := _WHOLE.fullmatch(text):
        return _letters(whole[1], options)
    if verdicts := _VERDICT.findall(text):
        return _letters(verdicts[-1], options)
    return _option_texts(text, options)


def _letters(found: str, options: dict[str, str]) -> str | None:
    letters = re.findall(r"[A-Z]", found.upper())
    if len(set(letters)) != len(letters) or not set(letters) <= set(options):
        return None
    return "".join(sorted(letters))


def _option_texts(text: str, options: dict[str, str]) -> str | None:
    body = re.sub(r"^答案\s*[是为]?\s*[:：]?\s*", "", text).rstrip("。.")
    by_text = {unicodedata.normalize("NFKC", option).strip(): letter for letter, option in options.items()}
    if len(by_text) < len(options):
        return None
    parts = [body] if body in by_text else body.split("、")
    if not all(part in by_text for part in parts) or len(set(parts)) != len(parts):
        return None
    return "".join(sorted(by_text[part] for part in parts))
