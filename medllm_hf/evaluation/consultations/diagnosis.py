"""The last turn that asks the doctor for the diagnosis: what is asked, which names the reply gives, whether they are right."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TypedDict

from medllm_hf.endpoints.reasoning import without_reasoning
from medllm_hf.evaluation.consultations.cases import Case
from medllm_hf.evaluation.consultations.facts import letters
from medllm_hf.evaluation.consultations.gate import disease_names
from medllm_hf.evaluation.consultations.patient import SILENCE
from medllm_hf.evaluation.consultations.transcript import Call, Turn, is_invalid, is_refused

VERSION = "1"
# The turn of the output, before the dialogue's own, which begin at 0: it is no part of what was said to the patient.
TURN = -1
# How dialogues end, by the checks of each, after which the doctor is not asked.
UNASKED = ("refusal", "gate")
# How many diagnoses are asked for, the likeliest first.
MOST = 3
QUESTIONS = {
    "zh": "问诊到此结束。请写出您认为最可能的三个诊断，按可能性从高到低，每行一个，只写病名，不写解释：\n1.\n2.\n3.",
    "en": "The consultation ends here. Name the three diagnoses that you find likeliest, the likeliest first, one a line, "
    "nothing but their names:\n1.\n2.\n3.",
}
# The longest name of a disease, what is longer is a sentence; and how much of a line is read for one.
_LONGEST, _LINE = 40, 200
_NUMBERED = re.compile(r"(?:(?<=[\s;,])|^)(?:\(?[1-9][.、)](?!\d)|第[一二三][、:,]|[一二三]、|诊断[一二三1-3][:、])\s*")
_ITEM = re.compile(r"^\s*(?:\(?[1-9][.、)]|[-*•·])\s*")
_LEADING = re.compile(
    r"^(?:(?:最|更|较|很|也)?有?可能性?(?:的诊断|诊断)?(?:最大)?[是为]?|其次[是为]?|(?:首先|初步|主要)?(?:考虑|诊断)[是为]?|疑似"
    r"|the |probable |possible |likely |suspected )+:?",
    re.I,
)
# Behind a name: the doctor is not sure of it.
_HELD_OPEN = re.compile(r"(?<=..)(?:待排除?|可能性?大?|\?){1,20}$")
# In brackets behind a name: the doctor does not hold it for one.
_DISMISSED = re.compile(r"[(\[][^)\]]{0,8}(?:不考虑|排除|除外|不支持|可能性小|excluded|unlikely)", re.I)
_CIRCLED = {ord(sign): f"\n{number}. " for number, sign in enumerate("①②③④⑤⑥⑦⑧⑨", start=1)}
_RULE = re.compile(r"\s*:?-{2,}:?\s*")
# A disease of another kind whose name ends alike.
_OTHER_KIND = re.compile(r"(?:假性|心源性|门静脉|肺动脉|颅内|亚临床|小|反)$")
_DENIES = re.compile(
    r"\s*(?:未见|未发现|并非|不像|不符合|非(?!特异|小细胞|典型|酒精)|排除|除外|不考虑|不是|没有|无"
    r"|(?:no|not|excluded?|without)\b)",
    re.I,
)
_SENTENCE = re.compile(
    r"^(?:根据|按照?|从|结合|建议|请|如果|由于|需要|为了)|[您你我]|不确定|不清楚|不知道|不好说|待查|未知|无法|不能"
    r"|\bi |cannot|unable|based on",
    re.I,
)
# What people leave out before and behind the name of a disease.
_PLAIN_NAME = re.compile(
    r"^(?:急性|亚急性|慢性|原发性|继发性|先天性|复发性|重症|轻度|中度|重度|[左右双]侧|[12]型"
    r"|acute |chronic |primary |type [12] )+",
    re.I,
)
_ENDING = re.compile(r"(?<=..)[病症]$")
_OPPOSITES = (
    ("急性", "慢性"), ("左", "右"), ("良性", "恶性"), ("原发", "继发"), ("1型", "2型"), ("亢进", "减退"), ("低", "高"),
    ("acute", "chronic"), ("left", "right"), ("benign", "malignant"), ("hypo", "hyper"), ("type1", "type2"),
)  # fmt: skip


class DiagnosisGiven(TypedDict):
    """What the doctor gave as diagnoses, the likeliest first, and whether the case's is the first or among them.

    No name that can be read is no hit, and `given` is empty.
    """

    given: list[str]
    top1: bool
    top3: bool


def diagnosis_prompt_record() -> dict[str, str]:
    """What a manifest says of the question."""
    text = json.dumps([QUESTIONS, MOST], ensure_ascii=False, sort_keys=True)
    return {"version": VERSION, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def is_asked(rows: Sequence[Call]) -> bool:
    """Whether the doctor of a dialogue that is over is asked: not where a server or the gate ended it."""
    return not is_refused(rows) and not is_invalid(rows)


def is_diagnosis(row: Mapping) -> bool:
    """Whether an output is the reply to the question for the diagnosis."""
    return row["turn"] == TURN


def diagnosis_messages(turns: Sequence[Turn], spoken: str, system: str | None = None) -> list[dict[str, str]]:
    """What the doctor is sent after a dialogue: its turns as the doctor had them, and the question in the language `spoken`."""
    roles = {"patient": "user", "doctor": "assistant"}
    talk = [{"role": roles[turn["role"]], "content": turn["content"].strip() or SILENCE} for turn in turns]
    question = QUESTIONS[spoken]
    if talk and talk[-1]["role"] == "user":  # two messages of one side in a row are refused by some templates
        talk[-1] = {"role": "user", "content": f"{talk[-1]['content']}\n\n{question}"}
    else:
        talk.append({"role": "user", "content": question})
    return [{"role": "system", "content": system}, *talk] if system else talk


def diagnosis_names(case: Case) -> tuple[str, ...]:
    """The names of the case's diagnoses as they are written in it, and the aliases of its facts."""
    facts = case.facts.diagnoses if case.facts else ()
    written = [case.diagnosis, *(fact.text for fact in facts)]
    names = [name for text in written for name in _written_names(text)]
    return tuple(dict.fromkeys(filter(letters, [*names, *(alias for fact in facts for alias in fact.aliases)])))


def _written_names(text: str) -> list[str]:
    """The names in a case's own words: "诊断：1.急性阑尾炎（化脓性） 2.高血压" has two, and one without its bracket."""
    text = unicodedata.normalize("NFKC", text.translate(_CIRCLED))
    parts = [part for piece in _NUMBERED.split(text) for part in re.split(r"[、,;/\n]|合并|伴发?", piece)]
    # A name in two languages is two.
    parts = [half for part in parts for half in re.split(r"(?<=[\u4e00-\u9fff)])\s+(?=[A-Za-z])", part)]
    names = [re.sub(r"^\s*(?:\S{0,4}诊断|diagnosis)\s*[:是为]?", "", part, flags=re.I).strip(" 。.") for part in parts]
    return [one for name in names for one in (name, re.sub(r"\([^)]{0,200}\)", "", name).strip())]


def _from_structure(text: str) -> list[str]:
    """The names in a reply that is JSON or a table of Markdown; none in other replies."""
    begin, end = min((place for sign in "[{" if (place := text.find(sign)) >= 0), default=-1), max(map(text.rfind, "]}"))
    if 0 <= begin < end and not re.search(r"[\u4e00-\u9fff]", text[:begin]):
        try:
            value = json.loads(text[begin : end + 1])
        except (ValueError, RecursionError):
            value = None
        while isinstance(value, dict) and value:
            inner = list(value.values())
            value = inner[0] if len(inner) == 1 else inner
        if isinstance(value, list):
            return [_text_of(one) for one in value]
    rows = [line.strip().strip("|").split("|") for line in text.splitlines() if line.strip().startswith("|")]
    ruled = next((number for number, row in enumerate(rows) if all(map(_RULE.fullmatch, row))), len(rows))
    return [next(filter(re.compile(r".*[^\W\d]").match, row), "") for row in rows[ruled + 1 :]]


def _text_of(item: object) -> str:
    """The name in an item of a JSON list: itself, or the first text of an object."""
    if isinstance(item, dict):
        return next((value for value in item.values() if isinstance(value, str)), "")
    return item if isinstance(item, str) else ""


def given_diagnoses(reply: str) -> list[str]:
    """The names of the diagnoses in a doctor's reply, in its order, at most three.

    Numbered lines count before all else, then other items of a list, then what stands between commas.
    """
    text = unicodedata.normalize("NFKC", without_reasoning(reply).translate(_CIRCLED)).replace("**", "").replace("__", "")
    text = re.sub(r"^```\w*$", "", text, flags=re.M)
    parts = _from_structure(text) or _NUMBERED.split(text)[1:]
    if not parts:
        parts = [line for line in text.splitlines() if _ITEM.match(line)] or re.split(r"[、,;；\n]", text)
    names = [_name(part) for part in parts if not _DISMISSED.search(part)]
    return list(dict.fromkeys(name for name in names if 1 < len(name) <= _LONGEST and not _SENTENCE.search(name)))[:MOST]


def _name(part: str) -> str:
    """The name in an item: without its number, what explains it, and words such as "可能是"."""
    line = next((line for line in part.splitlines() if line.strip()), "")
    line = _LEADING.sub("", _ITEM.sub("", line.strip()[:_LINE]))
    line = re.sub(r"(?<!\s)\s*+\d{1,3}(?:\.\d++)?\s*+%.*+$", "", line)
    name = re.split(r"[(:,;。]|\s[-–—]\s|——|\.\s", line.strip())[0].strip(" .\"'“”「」*-:[]")
    return _HELD_OPEN.sub("", name)


def check_diagnosis(reply: str, case: Case) -> DiagnosisGiven | None:
    """What the doctor's raw reply gives for diagnoses of the case; None where the case has none to compare with.

    Of several diagnoses of a case each one is right.
    """
    names = diagnosis_names(case)
    if not names:
        return None
    given = given_diagnoses(reply)
    hits = [any(is_same_disease(one, name) for name in names) for one in given]
    return {"given": given, "top1": hits[:1] == [True], "top3": any(hits)}


def is_same_disease(given: str, name: str) -> bool:
    """Whether a doctor's name of a disease stands for the disease `name`.

    It does where it ends in that name, with or without what people leave out ("阑尾炎" and "急性化脓性阑尾炎" for
    "急性阑尾炎"), or is what people call it, and neither denies it nor says the opposite (慢性 for 急性, 左 for 右).
    """
    said, known = letters(given), letters(name)
    if not known or _DENIES.match(given) or any(_opposed(said, known, pair) for pair in _OPPOSITES):
        return False
    if name.isascii():
        core = _PLAIN_NAME.sub("", name.strip().casefold())
        return bool(re.search(rf"\b{re.escape(core)}$", given.strip().casefold()))
    # What people call a part of it ("糖尿病" of "糖尿病肾病") is another disease.
    called = [one for one in map(letters, disease_names(name)) if one not in known]
    cores = {_ENDING.sub("", one) for one in (known, letters(_PLAIN_NAME.sub("", name)), *called)}
    bare = _ENDING.sub("", said)
    return any(len(core) > 1 and bare.endswith(core) and not _OTHER_KIND.search(bare.removesuffix(core)) for core in cores)


def _opposed(said: str, known: str, pair: tuple[str, str]) -> bool:
    first, second = pair
    return (first in said and second in known) or (second in said and first in known)
