"""A writer's reply → facts and points of a checklist, and what of it is refused and why."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from medllm_hf.endpoints.reasoning import without_reasoning
from medllm_hf.evaluation.case_facts.prompts import MOST_FACTS, MOST_POINTS
from medllm_hf.evaluation.consultations.cases import Case
from medllm_hf.evaluation.consultations.facts import (
    COMPLAINT,
    HIDDEN,
    KINDS,
    WEIGHTS,
    Check,
    CheckPoint,
    Fact,
    Kind,
    letters,
    quoted,
)
from medllm_hf.metrics.llm_judge.quasi_json import decode

Refusal = Literal[
    "no_object", "says_nothing", "unknown_kind", "not_quoted", "too_long", "repeated", "names_diagnosis", "too_many"
]
REFUSALS: tuple[Refusal, ...] = get_args(Refusal)
# A fact of more letters says more than one thing; an alias of more is none, and a point of more no sentence.
LONGEST_FACT, LONGEST_ALIAS, LONGEST_POINT = 60, 24, 200
_CALLED: dict[str, Kind] = {
    "症状": "symptom", "时间": "duration", "病程": "duration", "持续时间": "duration", "数值": "value", "既往史": "history",
    "病史": "history", "体征": "finding", "检查": "finding", "所见": "finding", "诊断": "diagnosis",
    "sign": "finding", "medication": "history", "test": "finding", "disease": "diagnosis",
}  # fmt: skip
# Words of the case that are no fact alone; as a diagnosis they would be taken out of all that the patient is told.
_NOTHING = re.compile(r"(?:无|没有?|有|否认?|是|不详|未知|未提及|暂|none|no|yes|unknown|na)++")
# Entries hold no object within them, so a reply that was cut still gives those that are whole.
_ENTRY = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True)
class Refused:
    """An entry of a reply that is none, with its words as far as it has any."""

    reason: Refusal
    text: str


@dataclass(frozen=True)
class ReadFacts:
    """The facts in a reply, sorted by kind and place in the case, and what of it was refused."""

    facts: tuple[Fact, ...]
    refused: tuple[Refused, ...]


@dataclass(frozen=True)
class ReadChecklist:
    """The points in a reply, sorted by kind, and what of it was refused."""

    points: tuple[CheckPoint, ...]
    refused: tuple[Refused, ...]


def read_facts(reply: str, case: Case) -> ReadFacts:
    """The facts in a writer's reply on a case.

    What is no quote of the case is refused, and so is a fact of another kind that names the diagnosis: the patient would
    tell it. A complaint in the place of a diagnosis is a symptom. A diagnosis that the case has in a field of its own is a
    fact, whatever the reply says.
    """
    found: dict[tuple[str, str], tuple[Kind, str, tuple[str, ...]]] = {}
    refused: list[Refused] = []
    for entry in _entries(reply):
        if isinstance(read := _fact(entry, case), Refused):
            refused.append(read)
        elif (read[0], letters(read[1])) in found:
            refused.append(Refused("repeated", read[1]))
        else:
            found[read[0], letters(read[1])] = read
    if case.diagnosis and not any(kind == HIDDEN for kind, _, _ in found.values()):
        found[HIDDEN, ""] = (HIDDEN, case.diagnosis, ())
    hidden = [name for kind, text, aliases in found.values() if kind == HIDDEN for name in (text, *aliases)]
    names = {letters(name) for name in hidden if len(letters(name)) > 1 and not COMPLAINT.fullmatch(name)}
    kept = []
    for kind, text, aliases in found.values():
        if kind == HIDDEN:
            kept.append((kind, text, aliases))
        elif any(name in letters(text) for name in names):
            refused.append(Refused("names_diagnosis", text))
        else:
            kept.append((kind, text, tuple(one for one in aliases if not any(name in letters(one) for name in names))))
    kept.sort(key=lambda one: (KINDS.index(one[0]), case.description.find(one[1])))
    refused += [Refused("too_many", text) for _, text, _ in kept[MOST_FACTS:]]
    return ReadFacts(_numbered(kept[:MOST_FACTS]), tuple(refused))


def _numbered(found: Sequence[tuple[Kind, str, tuple[str, ...]]]) -> tuple[Fact, ...]:
    counts: dict[Kind, int] = {}
    facts = []
    for kind, text, aliases in found:
        counts[kind] = counts.get(kind, 0) + 1
        facts.append(Fact(f"{kind}-{counts[kind]}", kind, text, aliases))
    return tuple(facts)


def _entries(reply: str) -> list[Mapping]:
    """The objects without objects in them that a reply has, in its order."""
    text = without_reasoning(reply)
    read = (decode(found[0], 0)[0] for found in _ENTRY.finditer(text))
    return [dict(pairs) for pairs in read if isinstance(pairs, list) and all(isinstance(one, tuple) for one in pairs)]


def _fact(entry: Mapping, case: Case) -> tuple[Kind, str, tuple[str, ...]] | Refused:
    text = entry.get("text")
    if not isinstance(text, str) or not letters(text) or not isinstance(entry.get("kind"), str):
        return Refused("no_object", str(text or ""))
    if _NOTHING.fullmatch(letters(text)):
        return Refused("says_nothing", text)
    name = entry["kind"].strip().casefold()
    kind = next((one for one in KINDS if one == name), None) or _CALLED.get(name)
    if kind is None:
        return Refused("unknown_kind", text)
    words = quoted(text.strip(), case.description)
    if words is None and kind == HIDDEN and case.diagnosis:
        words = quoted(text.strip(), case.diagnosis)
    if words is None:
        return Refused("not_quoted", text)
    if len(letters(words)) > LONGEST_FACT:
        return Refused("too_long", words)
    if kind == HIDDEN and COMPLAINT.fullmatch(words):
        kind = "symptom"
    given = entry.get("aliases")
    aliases = dict.fromkeys(one.strip() for one in (given if isinstance(given, list) else []) if isinstance(one, str))
    kept = (one for one in aliases if letters(one) and len(one) <= LONGEST_ALIAS and letters(one) != letters(words))
    return kind, words, tuple(kept)


def read_checklist(reply: str) -> ReadChecklist:
    """The points in a writer's reply."""
    kinds: dict[str, Check] = {name: name for name in WEIGHTS}
    points: dict[str, CheckPoint] = {}
    refused: list[Refused] = []
    for entry in _entries(reply):
        text, name = entry.get("point"), entry.get("kind")
        if not isinstance(text, str) or not letters(text) or not isinstance(name, str):
            refused.append(Refused("no_object", str(text or "")))
        elif (kind := kinds.get(name.strip().casefold().replace(" ", "_"))) is None:
            refused.append(Refused("unknown_kind", text))
        elif len(text) > LONGEST_POINT:
            refused.append(Refused("too_long", text))
        elif letters(text) in points:
            refused.append(Refused("repeated", text))
        elif len(points) == MOST_POINTS:
            refused.append(Refused("too_many", text))
        else:
            points[letters(text)] = CheckPoint(kind, " ".join(text.split()), WEIGHTS[kind])
    order = list(WEIGHTS)
    return ReadChecklist(tuple(sorted(points.values(), key=lambda one: order.index(one.kind))), tuple(refused))


def is_cut(reply: str, finish: str) -> bool:
    """Whether a reply ends before its list does: the server says so, or an entry or a list is begun and not ended."""
    text = without_reasoning(reply)
    whole = all(text.count(begin) <= text.count(end) for begin, end in ("[]", "{}"))
    return not whole or (finish == "length" and "[" not in text)


def unusable_facts(read: ReadFacts) -> str | None:
    """Why facts cannot be used, None where they can: there must be one that the patient knows."""
    if any(fact.kind != HIDDEN for fact in read.facts):
        return None
    if not read.refused:
        return "no fact in it"
    return "no fact in it is a quote of the case" if any(one.reason == "not_quoted" for one in read.refused) else "no fact"


def unusable_checklist(read: ReadChecklist) -> str | None:
    """Why a checklist cannot be used, None where it can: there must be a point that a good doctor reaches."""
    return None if any(one.weight > 0 for one in read.points) else "no point of a good doctor in it"
