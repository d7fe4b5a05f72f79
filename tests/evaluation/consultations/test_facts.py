"""Which facts a doctor asks for and a patient tells, against turns labelled by hand, and the counts of whole dialogues."""

import json

import pytest
from support.consulting import write_cases

from medllm_hf.evaluation.consultations.answers import answer
from medllm_hf.evaluation.consultations.cases import read_cases
from medllm_hf.evaluation.consultations.facts import (
    CaseFacts,
    Fact,
    letters,
    match_dialogue,
    patient_text,
    quoted,
    text_hash,
)
from medllm_hf.evaluation.consultations.figures import fact_figures
from medllm_hf.evaluation.consultations.numerals import lengths_in, numbers_in
from medllm_hf.evaluation.consultations.patient import patient_messages
from medllm_hf.evaluation.consultations.questions import read_questions

# Written by hand for a case of our own: fever, cough and a headache of different lengths, and what was found.
FACTS = CaseFacts(
    (
        Fact("fever", "symptom", "发热", ("发烧", "高烧")),
        Fact("degrees", "value", "最高39.2℃", ("体温", "发烧", "发热")),
        Fact("cough", "symptom", "咳嗽", ("咳",)),
        Fact("cough-days", "duration", "咳嗽5天", ()),
        Fact("head", "symptom", "头痛", ("头疼", "脑袋疼")),
        Fact("head-years", "duration", "头痛3年", ()),
        Fact("no-vomit", "symptom", "无呕吐", ("呕吐", "吐")),
        Fact("allergy", "history", "青霉素过敏", ("过敏", "青霉素")),
        Fact("pressure", "value", "血压150/95mmHg", ("血压",)),
        Fact("smoking", "history", "吸烟20年，每天一包", ("抽烟", "吸烟")),
        Fact("stool", "symptom", "大便发黑", ("大便 黑", "黑便")),
        Fact("hidden", "diagnosis", "支原体肺炎", ("支原体感染",)),
    )
)
ENGLISH = CaseFacts(
    (
        Fact("fever", "symptom", "fever", ("temperature", "hot")),
        Fact("chest", "symptom", "pain in the chest", ("chest pain", "chest hurts")),
        Fact("days", "duration", "for three days", ("how long",)),
        Fact("smoking", "history", "smokes a pack a day", ("smoke", "cigarette")),
    )
)

# What a doctor says, and the facts that it asks for; labelled before the rules were tried on it.
ASKED = [
    ("您有没有发烧？", ["fever", "degrees"]),
    ("没有发烧吗", ["fever", "degrees"]),
    ("现在还烧不烧？", ["fever", "degrees"]),
    ("体温最高到多少度", ["degrees"]),
    ("咳嗽多久了？", ["cough-days"]),
    ("头疼是什么时候开始的？", ["head-years"]),
    ("这种情况持续多长时间了呢？", ["cough-days", "head-years"]),
    ("除了咳嗽，还有别的症状吗？", []),
    ("有没有发热、咳嗽、头痛？", ["fever", "degrees", "cough", "head"]),
    ("咳不咳？吐不吐？", ["cough", "no-vomit"]),
    ("对什么药物过敏？平时抽烟吗？", ["allergy", "smoking"]),
    ("大便颜色怎么样，是黑的吗？", ["stool"]),
    ("如果再发烧，请马上到急诊。", []),
    ("建议您查血常规，看是否有感染引起的发热。", []),
    ("您的发烧可能是肺部感染引起的。", []),
    ("您说头痛，有没有恶心呢？", []),
    ("请告诉我您的血压。", ["pressure"]),
    ("发烧吗，几天了？", ["fever", "degrees"]),
    ("咳嗽，头痛，这些症状有吗？", ["cough", "head"]),
    ("是不是支原体肺炎？", []),
    ("哪里不舒服？", []),
    # Advice in the words of questions, as models write it.
    ("胸片可以帮助确定是否有引起咳嗽的感染。", []),
    ("选择哪种退热药治疗发热需要结合病情。", []),
    ("退热后几天内可能还会咳嗽。", []),
    ("请告诉医生您有头痛和过敏。", []),
    ("就诊前可以先了解一下血压计的用法。", []),
    ("请按照说明书测血压。", []),
    ("另外，是否有发热、咳嗽", ["fever", "degrees", "cough"]),
    ("我想了解一下您的血压。", ["pressure"]),
    ("您有高血压吗？", []),
]
# What a doctor has asked, what the patient says, and the facts that it tells.
TOLD = [
    ("有没有发烧？", "不发烧。", []),
    ("有没有发烧？", "没有。", []),
    ("有没有发烧？", "烧过，后来不烧了。", ["fever"]),
    ("体温多少？", "没量过。", []),
    ("体温多少？", "三十九度二。", ["degrees"]),
    ("体温多少？", "39度2", ["degrees"]),
    ("体温多少？", "37度吧。", []),
    ("咳嗽多久了？", "有五天了。", ["cough-days"]),
    ("咳嗽多久了？", "记不清了。", []),
    ("头疼多久了？", "断断续续三年多。", ["head-years"]),
    ("您怎么了？", "头有点疼，也咳。", ["head", "cough"]),
    ("您怎么了？", "我头疼三年了，怎么回事啊？", ["head", "head-years"]),
    ("您怎么了？", "我会不会发烧？", []),
    ("您怎么了？", "脑袋不怎么疼，就是一直咳嗽。", ["cough"]),
    ("吐过吗？", "没吐。", ["no-vomit"]),
    ("有没有头痛、呕吐？", "都没有。", ["no-vomit"]),
    ("有药物过敏吗？血压高吗？", "对青霉素过敏，血压没注意过。", ["allergy"]),
    ("血压多少？", "上次是150和95。", ["pressure"]),
    ("抽烟吗？", "抽，一天一包。", ["smoking"]),
    ("大便怎么样？", "这两天大便有点黑。", ["stool"]),
    ("您怎么了？", "不知道为什么发烧了。", ["fever"]),
    ("您怎么了？", "发不发烧我不清楚。", []),
    ("建议您多喝水。", "好的，谢谢医生。需要验血吗？", []),
    ("您怎么了？", "医生说像支原体肺炎。", []),
]  # fmt: skip


@pytest.mark.parametrize(("words", "labels"), ASKED, ids=[words for words, _ in ASKED])
def test_what_a_doctor_asks_for(words, labels):
    found = {name for question in read_questions(words, FACTS.known) for name in question.asks}
    assert found == set(labels)


@pytest.mark.parametrize(("before", "words", "labels"), TOLD, ids=[words for _, words, _ in TOLD])
def test_what_a_patient_tells(before, words, labels):
    assert set(answer(words, FACTS.known, read_questions(before, FACTS.known)).told) == set(labels)


@pytest.mark.parametrize(
    ("before", "words", "labels"),
    [
        ("Do you have a fever?", "No.", []),
        ("Do you have a fever?", "Yes.", ["fever"]),
        ("Do you smoke?", "No, I have never smoked, but my chest hurts.", ["chest"]),
        ("How long has it lasted?", "About 3 days.", ["days"]),
        ("What is wrong?", "My chest hurts.", ["chest"]),
        ("Do you smoke?", "I don't know what you mean.", []),
        ("Do you smoke?", "I smoke a lot.", ["smoking"]),
        ("If you get a fever, see a doctor.", "Could it be a fever?", []),
    ],
)
def test_english_turns(before, words, labels):
    assert set(answer(words, ENGLISH.known, read_questions(before, ENGLISH.known)).told) == set(labels)


def dialogue(*words: str) -> list:
    """Turns of the patient and the doctor in turn."""
    return [{"role": ("patient", "doctor")[i % 2], "content": text} for i, text in enumerate(words)]


def test_the_counts_of_a_dialogue():
    counts = match_dialogue(
        dialogue(
            "医生好，我咳嗽。",
            "哪里不舒服？咳嗽几天了？",
            "五天，头也疼。",
            "有没有发烧？头疼吗？",
            "不烧。我抽烟。",
            "发烧吗？对药物过敏吗？",
            "青霉素过敏。",
        ),
        FACTS,
    )
    assert counts == {
        "facts": 11,
        "opening": ["cough"],
        "asked": ["cough-days", "fever", "degrees", "head", "allergy"],
        "told_asked": ["cough-days", "allergy"],
        "told_open": ["head"],
        "told_unasked": ["smoking"],
        "contradicted": ["fever"],
        "questions": 6,
        "repeated": 1,
    }


@pytest.mark.parametrize(
    ("first", "second", "repeated"),
    [
        ("您发烧吗？", "请问现在有没有发烧？", 1),
        ("咳嗽多久了？", "咳嗽几天了？", 1),
        ("咳嗽吗？", "咳嗽白天重还是晚上重？", 0),
        ("咳嗽吗？", "咳嗽多久了？", 0),
        ("有没有糖尿病史？", "请问有没有糖尿病史？", 1),
        ("发烧吗？", "发烧吗，咳嗽吗？", 0),
        ("注意休息。", "注意休息。", 0),
        ("好的。", "您发烧吗？您发烧吗？", 1),
    ],
)
def test_repeated_questions(first, second, repeated):
    assert match_dialogue(dialogue("你好", first, "嗯？", second), FACTS)["repeated"] == repeated


def test_four_doctors_are_told_apart():
    """One that asks everything, one that asks nothing, one that repeats itself, and one that guesses."""
    asks = dialogue("医生好。", "发烧吗？咳嗽吗？", "发烧，也咳嗽。", "对什么过敏？抽烟吗？", "青霉素过敏，抽烟。")
    nothing = dialogue("医生好。", "多喝水，注意休息。", "好的。我头疼，抽烟。", "祝您健康。", "谢谢。")
    repeats = dialogue("医生好。", "发烧吗？", "发烧。", "发烧吗？", "是的。", "您发烧吗？", "嗯。")
    found = {
        name: fact_figures([match_dialogue(turns, FACTS)] * 8)["ratios"]
        for name, turns in (("asks", asks), ("nothing", nothing), ("repeats", repeats))
    }
    values = {name: {key: one["value"] for key, one in ratios.items()} for name, ratios in found.items()}
    assert values["asks"]["asked"] > values["repeats"]["asked"] > values["nothing"]["asked"] == 0
    assert values["nothing"]["told_unasked"] > values["asks"]["told_unasked"] == values["repeats"]["told_unasked"] == 0
    assert values["repeats"]["repeated_questions"] == 2 / 3 and values["asks"]["repeated_questions"] == 0
    assert values["nothing"]["facts_a_question"] is None and values["nothing"]["repeated_questions"] is None


def test_figures_have_n_and_intervals():
    some = match_dialogue(dialogue("医生好。", "发烧吗？", "发烧。"), FACTS)
    none = match_dialogue(dialogue("医生好。", "多喝水。", "好。"), FACTS)
    found = fact_figures([some, none, None] * 5)
    assert (found["n"], found["without"]) == (10, 5)
    assert found["totals"]["facts"] == 110 and found["totals"]["asked"] == 10
    low, high = found["ratios"]["asked"]["interval"]
    assert low < found["ratios"]["asked"]["value"] < high
    assert fact_figures([some] * 5)["ratios"]["asked"]["interval"] is None, "too few"
    assert fact_figures([None])["ratios"] is None


@pytest.mark.parametrize(
    ("text", "found"),
    [("39度2", {39.2}), ("三十八度五", {38.5}), ("血压150/95", {150, 95}), ("两次", {2}), ("十二", {12}), ("一百零三", {103})],
)
def test_numbers(text, found):
    assert numbers_in(text) == found


@pytest.mark.parametrize(
    ("text", "hours"),
    [("三天", {72}), ("3个多月", {2160}), ("一年半", {12960}), ("十二个月", {8640}), ("1年", {8640}), ("half an hour", {0.5}),
     ("two weeks", {336}), ("半年", {4320}), ("昨天", set()), ("3度", set())],
)  # fmt: skip
def test_lengths_of_time(text, hours):
    assert lengths_in(text) == hours


def test_a_long_dialogue_is_matched():
    """Rows of one sign that rules begin with: one that went back over what it has read would not come to an end."""
    count = 10_000
    signs = ("头不", "没有", "咳", "会", "5", "发", "不", "吗，", "三", "说什么", "发烧吗？", "都没有，")
    turns = dialogue(*(sign * count + "发烧？" for sign in signs))
    assert match_dialogue(turns, FACTS)["facts"] == 11


@pytest.mark.parametrize(
    ("text", "source", "found"),
    [
        ("T 37.8℃", "体温 Ｔ37.8℃，P 90", "Ｔ37.8℃"),
        ("发 热", "今日发热", "发热"),
        ("发热、咳嗽", "发热，咳嗽", "发热，咳嗽"),
        ("378", "T 37.8", None),
        ("抽搐", "今日发热", None),
    ],
)
def test_quotes(text, source, found):
    assert quoted(text, source) == found


DESCRIPTION = "女，40岁。干咳三周，胸片示左上肺阴影。外院考虑肺结核，未治疗。"


def row(**fields) -> dict:
    facts = [
        {"id": "f1", "kind": "symptom", "text": "干咳", "aliases": ["咳嗽"]},
        {"id": "f2", "kind": "diagnosis", "text": "肺结核", "aliases": ["结核"]},
    ]
    made = {"case_sha256": text_hash(DESCRIPTION), "model": "m", "prompt_sha256": "p"}
    return {"id": "x", "description": DESCRIPTION, "facts": facts, "made": made, **fields}


def test_the_patient_is_not_told_the_diagnosis(tmp_path):
    (case,) = read_cases(write_cases(tmp_path / "mine.jsonl", [row()])).items
    assert case.diagnosis == "肺结核"
    sent = json.dumps(patient_messages(case, auto=False), ensure_ascii=False)
    assert "结核" not in sent and "外院考虑……，未治疗" in sent and "干咳三周" in sent
    assert patient_text(DESCRIPTION, None) == DESCRIPTION


@pytest.mark.parametrize(
    ("diagnosis", "aliases"), [("干咳", []), ("肺部阴影待查", ["干咳"]), ("肺部阴影待查", ["咳嗽"]), ("咳嗽", [])]
)
def test_what_the_patient_knows_is_not_hidden_as_its_diagnosis(tmp_path, diagnosis, aliases):
    """Its own complaint taken from its words, it could not tell it."""
    hidden = {"id": "f2", "kind": "diagnosis", "text": diagnosis, "aliases": aliases}
    own = row(diagnosis=diagnosis, facts=[row()["facts"][0], hidden])
    (case,) = read_cases(write_cases(tmp_path / "mine.jsonl", [own])).items
    assert patient_text(DESCRIPTION, case.facts) == DESCRIPTION


def test_an_edited_file_stays_valid_and_has_a_hash_of_its_own(tmp_path):
    first = read_cases(write_cases(tmp_path / "a.jsonl", [row()])).record
    edited = row(checklist=[{"kind": "must_ask", "point": "问咳了多久"}])
    edited["facts"].append({"id": "f3", "kind": "duration", "text": "三周", "aliases": ["多久"]})
    second = read_cases(write_cases(tmp_path / "b.jsonl", [edited]))
    assert second.record["facts"]["sha256"] != first["facts"]["sha256"] and second.record["facts"]["n"] == 1
    assert second.items[0].facts.points == [{"point": "问咳了多久", "weight": 1, "kind": "must_ask"}]
    without = read_cases(write_cases(tmp_path / "c.jsonl", [{"id": "x", "case": DESCRIPTION}]))
    assert "facts" not in without.record and without.items[0].facts is None


def test_facts_without_a_hash_are_those_of_a_hand(tmp_path):
    own = row()
    del own["made"]
    assert read_cases(write_cases(tmp_path / "a.jsonl", [own])).items[0].facts.known[0].aliases == ("咳嗽",)


ENTRY = {"id": "f1", "kind": "symptom", "text": "干咳", "aliases": []}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"description": DESCRIPTION + "已退热。"}, "facts: of another text of this case"),
        ({"facts": {}}, "facts: an object, not a list"),
        ({"facts": ["干咳"]}, "facts[0]"),
        ({"facts": [{**ENTRY, "kind": "mood"}]}, "facts[0].kind: 'mood', not one of symptom, duration"),
        ({"facts": [{**ENTRY, "text": "高热"}]}, "facts[0].text: '高热' is no quote of the case"),
        ({"facts": [{**ENTRY, "aliases": "咳"}]}, "facts[0].aliases: not a list"),
        ({"facts": [{**ENTRY, "aliases": ["，"]}]}, "facts[0].aliases: not a list"),
        ({"facts": [ENTRY, ENTRY]}, "facts: the id 'f1' a second time"),
        ({"checklist": [{"kind": "must_ask"}]}, "checklist[0]: no object with a point"),
        ({"checklist": [{"kind": "nice", "point": "问候"}]}, "checklist[0].kind: 'nice'"),
        ({"checklist": [{"kind": "harmful", "point": "开药"}]}, "checklist: no point with a weight above 0"),
        ({"checklist": [{"kind": "refer", "point": "转诊", "weight": "2"}]}, "checklist[0].weight: not a number"),
        (
            {"checklist": [{"kind": "must_ask", "point": "问", "weight": -1}]},
            "checklist[0].weight: -1 of a point of kind must_ask",
        ),
        ({"checklist": [{"kind": "harmful", "point": "劝", "weight": 2}]}, "checklist[0].weight: 2 of a point of kind harmful"),
        ({"checklist": [{"kind": "refer", "point": "转诊"}] * 2}, "checklist: the point '转诊' a second time"),
        ({"description": " "}, "description: missing or empty"),
        ({"diagnosis": ["肺结核"]}, "diagnosis: not a text"),
        ({"facts": [{**ENTRY, "kind": "diagnosis", "text": "肺癌"}]}, "'肺癌' is no quote of the case or its diagnosis"),
        ({"id": "patient-canary/zh/diagnosis"}, "id: 'patient-canary/zh/diagnosis', which names a canary"),
    ],
)
def test_facts_that_are_none_are_refused_in_one_line(tmp_path, refused, fields, named):
    file = write_cases(tmp_path / "mine.jsonl", [row(**fields)])
    told = refused("eval", "consult", "--cases", file, "--doctor", "d", "--patient", "p", "--out", str(tmp_path / "out"))
    assert "mine.jsonl:1 " in told and named in told
    assert ("expected cases whose facts and checklist are as" in told) == named.startswith(("facts", "checklist", "'肺癌'"))


def test_letters_keep_what_stands_inside_numbers():
    assert letters("T 37.8 ℃") != letters("T 378℃") and letters("发热 ， 咳") == letters("发热咳")
