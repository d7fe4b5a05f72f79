"""One text with marks of who speaks → turns: `病人：…⏎医生：…`, `<user>: …`, `**Doctor:** …`, ChatML, `### Response:`."""

import re
from collections.abc import Mapping
from functools import lru_cache

from medllm_hf.data.columns import MACHINES

# A mark of the beginning of a text is none of a dialogue.
MAY_BEGIN = re.compile(r"\s*(?:<s>\s*)?(?P<name>[^\n:：>\]】]{1,30}[:：>\]】])")
_HEADS = (
    "Instruction|Input|Question|Human|User|System|Response|Answer|Assistant|Output"
    "|指令|输入|问题|人类|人|用户|患者|病人|系统|回答|输出|助手|机器人|医生"
)
# What chat templates put around turns: ChatML; <|user|> of Zephyr and others; the headings of Alpaca and Guanaco.
_TEMPLATES = (
    re.compile(r"<\|im_start\|>[ \t]*(?P<role>\w+)[ \t]*\n?(?P<text>.*?)(?:<\|im_end\|>|(?=<\|im_start\|>)|\Z)", re.DOTALL),
    re.compile(
        r"<\|start_header_id\|>(?P<role>\w+)<\|end_header_id\|>(?P<text>.*?)(?:<\|eot_id\|>|(?=<\|start_header_id\|>)|\Z)",
        re.DOTALL,
    ),
    re.compile(r"<start_of_turn>(?P<role>\w+)\n?(?P<text>.*?)(?:<end_of_turn>|(?=<start_of_turn>)|\Z)", re.DOTALL),
    re.compile(
        r"<\|(?P<role>user|assistant|system)\|>:?(?P<text>.*?)(?:<\|end\|>|(?=<\|(?:user|assistant|system)\|>)|\Z)", re.DOTALL
    ),
    re.compile(
        rf"###[ \t]*(?P<role>{_HEADS})[ \t]*[:：](?P<text>.*?)(?=###[ \t]*(?:{_HEADS})[ \t]*[:：]|\Z)",
        re.DOTALL,
    ),
)
_LLAMA = re.compile(r"\[INST\](?P<asked>.*?)\[/INST\](?P<said>.*?)(?=\[INST\]|\Z)", re.DOTALL)
_LLAMA_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>", re.DOTALL)
_HEADINGS = {
    **dict.fromkeys(("instruction", "input", "question", "指令", "输入", "问题", "人"), "user"),
    **dict.fromkeys(("response", "answer", "output", "回答", "输出"), "assistant"),
}
# The signs of which a text in a template has one.
TEMPLATES = ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|user|>", "<|system|>", "###", "[INST]")
_BEFORE = re.compile(r"<s>|<bos>|<\|begin_of_text\|>|<\|endoftext\|>")
# What is left of a template behind a text.
_LEFT = ("<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "</s>", "<eos>", "<end_of_turn>")


def split(text: str, roles: Mapping[str, str], question: bool) -> list[dict] | None:
    """The turns in one text such as `<user>: … <bot>: …` or `病人：…⏎医生：…`, None where it holds no dialogue.

    A `question` that is a dialogue begins with the user, or, if its end waits for the answer, with what becomes the system
    turn. An answer without a text at the end is the place for the answer, and is left out.
    """
    if turns := _of_template(text, roles):
        return turns
    start = MAY_BEGIN.match(text)
    waits = question and text.rstrip()[-1:] in (":", "：")
    if not start and not waits:
        return None
    marks = _marks(frozenset(roles))
    first = marks.match(text, start.start("name")) if start else None
    if first:
        found = [first, *_line_marks(marks, text, first.end())]
        sides = [roles[_name(mark).casefold()] for mark in found]
        # 患者：男，45岁… is how many a question begins.
        if first["tag"] or ({"user", "assistant"} <= set(sides) and (sides[0] == "user" or not question)):
            return _between(text, found, roles)
    found = _line_marks(marks, text, 0) if waits else []
    sides = [roles[_name(mark).casefold()] for mark in found]
    if len(found) < 2 or (sides[0], sides[-1]) != ("user", "assistant") or text[found[-1].end() :].strip():
        return None
    # One question about a text is no dialogue, nor is a question about a dialogue: 患者：… 医生：… 问题：… 答：
    speakers = {_name(mark).casefold() for mark in found}
    if len(speakers) > 2 or (len(found) == 2 and speakers & MACHINES):
        return None
    before = text[: found[0].start()].strip()
    return [{"role": "system", "content": before}] * bool(before) + _between(text, found, roles)


def marked_turn(text: str, roles: Mapping[str, str]) -> dict | None:
    """The turn in a text that begins with the mark of a role, None if it begins otherwise."""
    mark = _marks(frozenset(roles)).match(text)
    return {"role": _name(mark), "content": text[mark.end() :].strip()} if mark else None


def without_template(text: str) -> str:
    """A text without the signs of the end that chat templates put behind it."""
    end = before = len(text)
    while True:
        while before and text[before - 1].isspace():
            before -= 1
        sign = next((sign for sign in _LEFT if text.endswith(sign, 0, before)), None)
        if sign is None:
            return text[:before] if end < len(text) else text
        end = before = before - len(sign)


def _of_template(text: str, roles: Mapping[str, str]) -> list[dict] | None:
    """The turns between the signs of a chat template, None where there are none; an empty answer at the end is left out."""
    if not any(sign in text for sign in TEMPLATES):
        return None
    turns: list[dict] = []
    before = ""
    for pattern in _TEMPLATES:
        found = [(_HEADINGS.get(name := match["role"].casefold(), name), match["text"]) for match in pattern.finditer(text)]
        sides = [roles.get(role) for role, _ in found]
        # Headings alone may be parts of one question.
        if "user" in sides and all(sides) and ("assistant" in sides or text.lstrip().startswith("<")):
            turns = [{"role": role, "content": without_template(said).strip()} for role, said in found]
            first = pattern.search(text)
            before = _BEFORE.sub("", text[: first.start()]).strip() if first else ""
            break
    if not turns and "[INST]" in text:
        turns = _of_llama(text)
    if turns and not turns[-1]["content"]:
        turns.pop()
    joined: list[dict] = [{"role": "system", "content": before}] if turns and before and turns[0]["role"] != "system" else []
    for turn in turns:
        # An instruction and its input are one.
        if joined and joined[-1]["role"] == turn["role"] == "user":
            joined[-1]["content"] = "\n".join(filter(None, (joined[-1]["content"], turn["content"])))
        elif turn["content"] or turn["role"] != "system":
            joined.append(turn)
    return joined or None


def _of_llama(text: str) -> list[dict]:
    turns: list[dict] = []
    # What is asked behind the last answer has none, and would be looked for to the end from each of its signs.
    answered = max(0, text.rfind("[/INST]"))
    last = text.find("[INST]", answered) if answered else 0
    for match in _LLAMA.finditer(text, 0, len(text) if last < 0 else last):
        asked = match["asked"]
        if system := _LLAMA_SYSTEM.match(asked):
            turns.append({"role": "system", "content": system[1].strip()})
            asked = asked[system.end() :]
        turns.append({"role": "user", "content": asked.strip()})
        turns.append({"role": "assistant", "content": without_template(match["said"].rstrip().removesuffix("<s>")).strip()})
    return turns


def _line_marks(marks: re.Pattern[str], text: str, at: int) -> list[re.Match[str]]:
    return [mark for mark in marks.finditer(text, at) if mark["tag"] or mark["line"]]


def _between(text: str, found: list[re.Match[str]], roles: Mapping[str, str]) -> list[dict]:
    """The turns behind the marks."""
    ends = [*(mark.start() for mark in found[1:]), len(text)]
    turns = [{"role": _name(mark), "content": text[mark.end() : end].strip()} for mark, end in zip(found, ends, strict=True)]
    if len(turns) > 1 and not turns[-1]["content"] and roles[turns[-1]["role"].casefold()] == "assistant":
        turns.pop()
    return turns


def _name(mark: re.Match[str]) -> str:
    return mark["tag"] or mark["name"] or mark["bracket"]


@lru_cache(maxsize=16)
def _marks(roles: frozenset[str]) -> re.Pattern[str]:
    # Without Unicode's rules, since İ would be an i that no table has.
    spelled = {*roles, *(form for name in roles if not name.isascii() for form in (name.capitalize(), name.upper()))}
    names = "|".join(re.escape(name) for name in sorted(spelled, key=lambda name: (-len(name), name)))
    # A line break may be spelled out, as in tables. Blanks are bounded, since each of a million begins a search of its own.
    # So Markdown has it: **Doctor:** …, **Doctor**: …, - Doctor: …, ### Doctor: …
    dressed = rf"(?:\#{{1,6}}[ \t]?|[-*>][ \t])?[*_]{{0,3}}(?P<name>{names})[*_]{{0,3}}[ \t]{{0,40}}[:：][*_]{{0,3}}"
    named = rf"{dressed}|[\[【](?P<bracket>{names})[\]】][ \t]{{0,40}}[:：]?"
    plain = rf"(?P<line>\n|\\n)?[ \t\u3000]{{0,40}}(?:{named})"
    return re.compile(rf"<(?P<tag>{names})>[ \t]{{0,40}}[:：]?|{plain}", re.IGNORECASE | re.ASCII)
