"""What is true of a case, fact by fact: the records, how a file of cases has them, and which of them a dialogue brought out."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NotRequired, TypedDict, get_args

from medllm_hf.data.files import BadRow
from medllm_hf.errors import kind_of
from medllm_hf.evaluation.consultations.answers import answer
from medllm_hf.evaluation.consultations.fact_words import FactWords
from medllm_hf.evaluation.consultations.keys import check_keys
from medllm_hf.evaluation.consultations.numerals import plain
from medllm_hf.evaluation.consultations.questions import Question, read_questions
from medllm_hf.metrics.llm_judge.rubrics import Point, Turn

Kind = Literal["symptom", "duration", "value", "history", "finding", "diagnosis"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# The diagnosis is hidden: neither the patient nor the doctor is told, and no count has it.
HIDDEN: Kind = "diagnosis"
Check = Literal["must_ask", "red_flag", "refer", "harmful"]
# What a point of a checklist is worth where the file does not say; a harmful thing takes points away.
WEIGHTS: dict[Check, float] = {"must_ask": 1, "red_flag": 2, "refer": 2, "harmful": -2}
Told = Literal["opening", "told_asked", "told_open", "told_unasked"]
# Of the rules by which dialogues are matched with facts.
VERSION = "2"
# What a patient complains of, even where a case names it as its diagnosis: hidden, it would be taken from the patient's words.
COMPLAINT = re.compile(
    r".{0,6}?(?:胸闷|憋闷|(?<!偏)(?<!性)头痛|腹痛|胸痛|腰痛|背痛|疼痛|肿痛|咽痛|疼|不适|恶心|呕吐|咳嗽|咳痰|发热|发烧|乏力|头晕|眩晕|心悸|心慌|气促|气短"
    r"|呼吸困难|腹泻|便秘|便血|腹胀|肿物|肿块|包块|占位|瘙痒|麻木|晕厥|晕倒|消瘦|失眠|疲劳)"
    r"|(?:\w+ )?(?:pain|fever|cough|nausea|vomiting|fatigue|dizziness|headache|mass|lump)",
    re.I,
)
_FACT_KEYS, _POINT_KEYS = ("id", "kind", "text", "aliases"), ("kind", "point", "weight")
# Stands in what the patient is told for the names of the diagnosis.
MASK = "……"


@dataclass(frozen=True)
class Fact:
    """One thing that is true of a case.

    Attributes:
        id: Unique within the case.
        text: The words of the case that say it.
        aliases: What a doctor may ask with and a patient may tell it by. Blanks separate words that must stand in one sentence.
    """

    id: str
    kind: Kind
    text: str
    aliases: tuple[str, ...] = ()

    @cached_property
    def words(self) -> FactWords:
        """The fact as the rules of matching read it."""
        return FactWords(self.kind, self.text, self.aliases)


@dataclass(frozen=True)
class CheckPoint:
    """A point of the checklist of a case: what a good doctor does, or with a weight below 0 what none does."""

    kind: Check
    point: str
    weight: float


@dataclass(frozen=True)
class CaseFacts:
    """The facts and the checklist of a case, each possibly empty."""

    facts: tuple[Fact, ...] = ()
    checklist: tuple[CheckPoint, ...] = ()

    @cached_property
    def known(self) -> tuple[Fact, ...]:
        """What the patient knows: all but the diagnosis."""
        return tuple(fact for fact in self.facts if fact.kind != HIDDEN)

    @cached_property
    def diagnoses(self) -> tuple[Fact, ...]:
        """The hidden ones."""
        return tuple(fact for fact in self.facts if fact.kind == HIDDEN)

    @property
    def points(self) -> list[Point]:
        """The checklist as a judge is given it."""
        return [{"point": one.point, "weight": one.weight, "kind": one.kind} for one in self.checklist]


class FactCounts(TypedDict):
    """Which facts of its case a dialogue brought out, by their ids; the four lists of what was told have none in common.

    `facts` is how many the patient knows. `opening` was told in the patient's first words, `told_asked` after the doctor had
    asked for it, `told_open` in answer to a question that names nothing ("哪里不舒服？"), `told_unasked` without any. `asked`
    has all that the doctor asked for by name, told or not. Of `contradicted` the patient has said the opposite, at least once;
    runs before version 2 of the rules have counted these as told. `questions` are the doctor's, `repeated` those of them that
    ask nothing but what an earlier question asked.
    """

    facts: int
    opening: list[str]
    asked: list[str]
    told_asked: list[str]
    told_open: list[str]
    told_unasked: list[str]
    contradicted: NotRequired[list[str]]
    questions: int
    repeated: int


def letters(text: str) -> str:
    """`text` in one form of its letters, without blanks and punctuation but those inside numbers."""
    return re.sub(r"(?<!\d)[\W_]+|[\W_]+(?!\d)", "", plain(text))


def text_hash(description: str) -> str:
    """The SHA-256 of a case's description, to which its facts belong."""
    return hashlib.sha256(description.encode(errors="backslashreplace")).hexdigest()


def facts_record(cases: Iterable[CaseFacts | None]) -> dict | None:
    """What a manifest says of the facts of cases: how many have any, their hash and the rules; None where none has."""
    own = [case for case in cases if case is not None]
    if not own:
        return None
    rows = [[[fact.id, fact.kind, fact.text, list(fact.aliases)] for fact in case.facts] for case in own]
    lists = [[[one.kind, one.point, one.weight] for one in case.checklist] for case in own]
    digest = hashlib.sha256(json.dumps([rows, lists], ensure_ascii=False).encode(errors="backslashreplace"))
    return {"version": VERSION, "n": len(own), "sha256": digest.hexdigest()}


def read_case_facts(row: Mapping, description: str) -> CaseFacts | None:
    """The facts in a row of a file of cases, None where it has none.

    Raises:
        BadRow: they are no facts, belong to another description, or one is no quote of it; the first one is named.
    """
    if row.get("facts") is None and row.get("checklist") is None:
        return None
    made = row.get("made")
    if isinstance(made, dict) and made.get("case_sha256") not in (None, text_hash(description)):
        raise BadRow("facts", "of another text of this case; bring its text back, or run `medllm eval cases` on it again")
    facts = [_fact(one, number, description, row) for number, one in enumerate(_list(row, "facts"))]
    if again := next((fact.id for number, fact in enumerate(facts) if fact.id in [one.id for one in facts[:number]]), None):
        raise BadRow("facts", f"the id {again!r} a second time")
    points = [_point(one, f"checklist[{number}]") for number, one in enumerate(_list(row, "checklist"))]
    if points and not any(one.weight > 0 for one in points):
        raise BadRow("checklist", "no point with a weight above 0")
    said = [letters(one.point) for one in points]
    if again := next((one.point for number, one in enumerate(points) if said[number] in said[:number]), None):
        raise BadRow("checklist", f"the point {again!r} a second time")
    return CaseFacts(tuple(facts), tuple(points))


def _list(row: Mapping, name: str) -> list:
    value = row.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRow(name, f"{kind_of(value)}, not a list")
    return value


def _fact(one: object, number: int, description: str, row: Mapping) -> Fact:
    place = f"facts[{number}]"
    if not isinstance(one, dict):
        raise BadRow(place, f"{kind_of(one)}, not an object with the texts id, kind and text")
    check_keys(one, _FACT_KEYS, place)
    one = {"id": f"{one.get('kind')}-{number + 1}", **one}
    if lacking := next((name for name in ("id", "kind", "text") if not isinstance(one.get(name), str)), None):
        raise BadRow(f"{place}.{lacking}", "missing or not a text")
    if one["kind"] not in KINDS:
        raise BadRow(f"{place}.kind", f"{one['kind']!r}, not one of {', '.join(KINDS)}")
    aliases = one.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(alias, str) and letters(alias) for alias in aliases):
        raise BadRow(f"{place}.aliases", "not a list of texts with a letter each")
    sources = {"the case": description, **({"its diagnosis": row.get("diagnosis")} if one["kind"] == HIDDEN else {})}
    if not letters(one["text"]) or not any(isinstance(text, str) and quoted(one["text"], text) for text in sources.values()):
        raise BadRow(f"{place}.text", f"{one['text']!r} is no quote of {' or '.join(sources)}")
    return Fact(one["id"], one["kind"], one["text"], tuple(aliases))


def _point(one: object, place: str) -> CheckPoint:
    if isinstance(one, dict):
        check_keys(one, _POINT_KEYS, place)
    if not isinstance(one, dict) or not isinstance(one.get("point"), str) or not one["point"].strip():
        raise BadRow(place, "no object with a point that is a text")
    if one.get("kind") not in WEIGHTS:
        raise BadRow(f"{place}.kind", f"{one.get('kind')!r}, not one of {', '.join(WEIGHTS)}")
    weight = one.get("weight", WEIGHTS[one["kind"]])
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not -100 <= weight <= 100 or weight == 0:
        raise BadRow(f"{place}.weight", "not a number from -100 to 100 other than 0")
    if (weight < 0) != (WEIGHTS[one["kind"]] < 0):
        side = "below 0, since doing it" if WEIGHTS[one["kind"]] < 0 else "above 0, since leaving it out"
        raise BadRow(f"{place}.weight", f"{weight:g} of a point of kind {one['kind']}, which has one {side} is the fault")
    return CheckPoint(one["kind"], one["point"].strip(), weight)


def quoted(text: str, source: str) -> str | None:
    """The words of `source` that `text` quotes, but for blanks, punctuation and the width of letters; None if it does not."""
    wanted = letters(text)
    if text in source:
        return text
    if not wanted:
        return None
    signs = [(sign, place) for place, whole in enumerate(source) for sign in plain(whole) if re.match(r"[^\W_]", sign)]
    place = "".join(sign for sign, _ in signs).find(re.sub(r"[\W_]", "", wanted))
    if place < 0:
        return None
    last = place + len(re.sub(r"[\W_]", "", wanted)) - 1
    found = source[signs[place][1] : signs[last][1] + 1]
    # 3.8 and 38 have the same letters.
    return found if letters(found) == wanted else None


def patient_text(description: str, facts: CaseFacts | None) -> str:
    """What the patient is told of a case: its description without the names of the diagnosis, where they are known.

    A complaint, or what the patient knows as a fact under the same name, stays: without it nothing could be told of it.
    """
    known = {letters(name) for fact in (facts.known if facts else ()) for name in (fact.text, *fact.aliases)}
    hidden = {name for fact in (facts.diagnoses if facts else ()) for name in (fact.text, *fact.aliases)}
    names = {name for name in hidden if len(letters(name)) > 1 and letters(name) not in known and not COMPLAINT.fullmatch(name)}
    if not names:
        return description
    return re.sub("|".join(map(re.escape, sorted(names, key=len, reverse=True))), MASK, description, flags=re.I)


def match_dialogue(turns: Sequence[Turn], facts: CaseFacts) -> FactCounts:
    """Which facts a dialogue brought out, by the rules of `questions` and `answers`; no model is asked.

    The work grows with the length of the dialogue times the number of aliases.
    """
    counts: FactCounts = {
        "facts": len(facts.known), "opening": [], "asked": [], "told_asked": [], "told_open": [], "told_unasked": [],
        "contradicted": [], "questions": 0, "repeated": 0,
    }  # fmt: skip
    last: list[Question] | None = None
    asked: dict[str, None] = {}
    contradicted: dict[str, None] = {}
    heard: set[str] = set()
    seen: set[tuple[str, str]] = set()
    for turn in turns:
        if turn["role"] == "doctor":
            last = read_questions(turn["content"], facts.known)
            counts["questions"] += len(last)
            for question in last:
                counts["repeated"] += bool(question.keys) and question.keys <= seen
                seen |= question.keys
                asked |= dict.fromkeys(question.asks)
            continue
        said = answer(turn["content"], facts.known, last or [])
        contradicted |= dict.fromkeys(said.contradicted)
        for name in said.told:
            if name not in heard:
                heard.add(name)
                counts[_how(name, asked, last)].append(name)
    counts["asked"], counts["contradicted"] = list(asked), list(contradicted)
    return counts


def _how(name: str, asked: Mapping[str, None], last: Sequence[Question] | None) -> Told:
    """How a fact was told that is heard for the first time after the doctor's last questions, None before any word of his."""
    if last is None:
        return "opening"
    if name in asked:
        return "told_asked"
    return "told_open" if any(question.is_open for question in last) else "told_unasked"
