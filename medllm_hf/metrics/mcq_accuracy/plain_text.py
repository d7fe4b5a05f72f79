"""A reply or an option as plain text: simplified characters, no markup, ordinary width (rule 1 of extraction.py)."""

import re
import unicodedata

# How models mark their thoughts: what begins one (often the prompt does) and what ends it.
THOUGHTS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<unused94>", "<unused95>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)
_BEGINS, _ENDS = ("|".join(re.escape(pair[i]) for pair in THOUGHTS) for i in (0, 1))
# The channels of gpt-oss whose marks a server has dropped.
_CHANNELS = r"(?-i:\Aanalysis(?=[A-Z]|[^\x00-\x7f]))"
_THOUGHT = re.compile(rf"\A.*(?:{_ENDS})|{_CHANNELS}.*?(?:assistantfinal|\Z)|(?:{_BEGINS}).*", re.S | re.I)
# The tokens that end a model's turn: what follows is not its answer. <eoa> is none: prompts ask for it, and models go on.
_TURN_ENDS = re.compile(r"</s>|<\|(?:im_end|endoftext|end_of_text|eot_id|eom_id|end)\|>", re.I)
# Blank runs go first and last, so that no pattern between meets more than one blank or line break in a row: each is linear.
_BLANKS: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"[^\S\n]{2,}|[^\S\n ]"), " "),
    (re.compile(r" \n\s*|\n\s+"), "\n"),
]
_PLAIN: list[tuple[re.Pattern[str], str]] = [  # in this order
    (re.compile(r"\\n(?![a-z])"), "\n"),  # a line break as JSON writes it
    *_BLANKS,
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf|mathit|mathsf) ?\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\{\s?\}"), ""),
    (re.compile(r"(?:(?<=选项[A-Z])|(?<=案是[A-Z])|(?<=option [A-Z]))\$(?=[^$\n]{1,200}\$)"), ":"),
    (re.compile(r"\}\s?\$?\s?(,|;|、|和|与|及|and|\s)\s?\$?\s?\\boxed\s?\{"), r" \1 "),
    (re.compile(r"\\boxed\s?\{([^{}]*)\}"), r"\nfinal answer: \1\n"),
    (re.compile(r"<answer>", re.I), "\nanswer: "),
    (re.compile(r"<\s?([A-Z](?:[ ,;、]{0,2}[A-Z]){0,9})\s?>(?![^<>\n]{0,200}</)"), r"(\1)"),
    (re.compile(r"<eo[aem]>|</s>|<\|[^|<>]{1,40}\|>", re.I), "\n"),
    (
        re.compile(
            r"</answer>|<s>|</?(?:b|i|u|p|em|strong|span|div|br|sub|sup)\s?/?>|\\[()\[\]]|[*`$#]|__|~~|^\s?>+",
            re.I | re.M,
        ),
        "",
    ),
    (re.compile(r"(?<=[A-Z])(选项|项)?\s?[“「『](?=\w)"), r"\1:"),
    (re.compile(r"(?<![A-Za-z])['’]|['’](?![A-Za-z])|[\"“”‘「」『』]"), ""),
    *_BLANKS,
]
# The characters of a verdict, one for one, so that places in the text stay.
_SIMPLE = str.maketrans(
    "為應選項擇對錯誤確題這個與該無認總結論據兩幾還說關診斷適當優慮",
    "为应选项择对错误确题这个与该无认总结论据两几还说关诊断适当优虑",
)
_BRACKETS = str.maketrans("[{【〔〖〈《]}】〕〗〉》’", "(((((((" + ")))))))" + "'")
# Letters in dark circles and squares, which no normal form knows.
_ENCLOSED = {start + i: chr(ord("A") + i) for start in (0x1F150, 0x1F170) for i in range(26)}
LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def without_thought(text: str) -> str:
    """What `text` says outside of <think> in its own turn, in characters of ordinary width."""
    said = _THOUGHT.sub("", unicodedata.normalize("NFKC", text.translate(_ENCLOSED)))
    for match in _TURN_ENDS.finditer(said):
        if said[: match.start()].strip():
            return said[: match.start()]
    return said


def plain(text: str) -> str:
    """`text` without markup and thoughts, with single blanks and line breaks; other characters stand for themselves."""
    text = without_thought(text)
    for pattern, replacement in _PLAIN:
        text = pattern.sub(replacement, text)
    return text.strip().lstrip(": \n])").translate(_SIMPLE).translate(_BRACKETS)
