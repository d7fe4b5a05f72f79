"""How a patient is played besides plainly: in a style of its own, or as in DISC's consultations."""

import hashlib
from typing import Literal, get_args

from medllm_hf.errors import UserError

Style = Literal["plain", "terse", "anxious", "self-diagnosis", "relative"]
STYLES: tuple[Style, ...] = get_args(Style)
Protocol = Literal["medllm", "disc"]
Manner = Literal[Style, Literal["disc"]]

# One more rule for the patient. `{belief}` is what a patient who has diagnosed itself takes for its disease.
STYLE_RULES: dict[str, dict[Style, str]] = {
    "zh": {
        "terse": "你话很少：每次只说一句，尽量不超过十五个字，不寒暄，不解释。医生一次问几件事，你只答第一件。"
        "话少，但说的都是资料里的事实。",
        "anxious": "你非常担心：说话时流露害怕，常问医生严不严重、会不会有危险。担心只是情绪：不夸大、不编造症状，"
        "不说出病名，医生问的事仍要回答。",
        "self-diagnosis": "你在网上查过，认定得的是“{belief}”。你很快就说出这个想法，希望医生照它治，也把不舒服都归到它上面；"
        "医生问的事仍照资料回答。医生讲清楚为什么不是它以后，你才将信将疑。这个名字不受第4条限制，别的病名仍不能说。",
        "relative": "你不是病人本人，而是家属，替病人来问。病人是孩子时，你是孩子的父亲或母亲，称“我家孩子”；"
        "病人是成年人时，称“我家里人”、“他”或“她”。资料里的事你都知道，用旁人的口气转述，不说“我疼”“我发烧”。",
    },
    "en": {
        "terse": "You say little: one sentence at a time, ten words at most, no courtesies, no explanations. Asked several "
        "things at once, you answer the first alone. What you do say is what the record says.",
        "anxious": "You are very worried: it shows when you speak, and you often ask whether this is serious or dangerous. "
        "Worry is a mood: do not exaggerate, invent symptoms or name diseases, and answer what the doctor asks.",
        "self-diagnosis": 'You have read about it online and are sure that it is "{belief}". You soon say so, want to be '
        "treated for it, and put every complaint down to it; you still answer by the record. Only when the doctor has "
        "explained why it is not do you begin to doubt. Point 4 does not forbid this name; all others stay unsaid.",
        "relative": "You are not the patient but a relative who asks for them. Of a child you are the mother or father, and "
        'say "my child"; of an adult you say "my relative", "he" or "she". You know what the record says and tell it as '
        'somebody who stands beside: never "it hurts me" or "I have a fever".',
    },
}
# What lay people put all kinds of complaints down to, and the words of a record that would make it more than a belief.
_BELIEFS = {
    "zh": (
        ("贫血", ("贫血", "血红蛋白", "失血")),
        ("甲亢", ("甲亢", "甲状腺", "甲减")),
        ("缺钙", ("钙",)),
        ("内分泌失调", ("内分泌", "激素", "垂体")),
        ("植物神经紊乱", ("植物神经", "自主神经", "焦虑")),
        ("低血糖", ("血糖", "糖尿病", "胰岛素")),
    ),
    "en": (
        ("anaemia", ("anaemia", "anemia", "haemoglobin", "hemoglobin", "bleed")),
        ("an overactive thyroid", ("thyroid",)),
        ("a calcium deficiency", ("calcium",)),
        ("a hormone imbalance", ("hormon", "pituitar", "endocrin")),
        ("a pinched nerve", ("nerve", "disc", "spine")),
        ("low blood sugar", ("sugar", "glucose", "diabet", "insulin")),
    ),
}
# Where the record speaks of all of them.
_ELSE = {"zh": "亚健康", "en": "burn-out"}


def parse_styles(text: str) -> list[Style]:
    """The styles that --patient-style names, in the order of `STYLES`.

    Raises:
        UserError: one that there is not, or that is named twice.
    """
    named = [name.strip() for name in text.split(",")]
    do = "separate several by commas"
    if unknown := [name for name in named if name not in STYLES]:
        raise UserError(f"--patient-style {unknown[0]!r}", f"one or several of {', '.join(STYLES)}", do)
    if twice := [name for name in STYLES if named.count(name) > 1]:
        raise UserError(f"--patient-style {text} with {twice[0]} twice", "each style once", "leave one out")
    return [name for name in STYLES if name in named]


def style_rule(manner: Manner, language: str, record: str) -> str:
    """What a patient of a style is told besides; "" for the plain one and for DISC's.

    Args:
        record: all that is on record about the patient, the diagnosis included.
    """
    return next(
        (rule.format(belief=belief(record, language)) for name, rule in STYLE_RULES[language].items() if name == manner), ""
    )


def belief(record: str, language: str) -> str:
    """What a patient takes for its disease: always the same of one record, and nothing that the record speaks of."""
    said = record.casefold()
    wrong = [name for name, words in _BELIEFS[language] if not any(word in said for word in words)]
    place = int.from_bytes(hashlib.sha256(record.encode(errors="backslashreplace")).digest()[:4])
    return wrong[place % len(wrong)] if wrong else _ELSE[language]


def words_of(manner: Manner) -> list[object]:
    """The texts that only patients of this manner may be sent."""
    if manner == "self-diagnosis":
        return [[rules[manner] for rules in STYLE_RULES.values()], _BELIEFS, _ELSE]
    return [[rule for rules in STYLE_RULES.values() for name, rule in rules.items() if name == manner]]
