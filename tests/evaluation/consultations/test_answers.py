"""What patients tell and what they contradict, against lines labelled by hand before the rules were written.

Every second line was held out: the rules were not changed for it.
"""

import json
from pathlib import Path

import pytest

from medllm_hf.evaluation.consultations.answers import answer
from medllm_hf.evaluation.consultations.denial import how_said
from medllm_hf.evaluation.consultations.facts import Fact
from medllm_hf.evaluation.consultations.questions import read_questions
from medllm_hf.evaluation.verification.bounded import bounded

# A case of our own; what it denies has an id that begins with "no-".
FACTS = (
    Fact("fever", "symptom", "发热", ("发烧", "高烧")),
    Fact("degrees", "value", "体温最高39.2℃", ("体温", "发烧", "发热")),
    Fact("cough", "symptom", "咳嗽", ("咳",)),
    Fact("cough-days", "duration", "咳嗽5天", ()),
    Fact("head", "symptom", "头痛", ("头疼", "脑袋疼")),
    Fact("head-years", "duration", "头痛3年", ()),
    Fact("chest", "symptom", "胸闷", ("胸口闷", "胸口发闷")),
    Fact("sleep", "symptom", "夜间睡不着", ("睡不着", "失眠")),
    Fact("no-vomit", "symptom", "无呕吐", ("呕吐", "吐")),
    Fact("no-blood", "symptom", "没有咯血", ("咯血", "咳血")),
    Fact("no-drink", "history", "不饮酒", ("喝酒", "饮酒")),
    Fact("allergy", "history", "青霉素过敏", ("过敏", "青霉素")),
    Fact("no-surgery", "history", "否认手术史", ("手术", "开过刀")),
    Fact("pressure", "value", "血压150/95mmHg", ("血压",)),
    Fact("smoking", "history", "吸烟20年，每天一包", ("抽烟", "吸烟")),
    Fact("stool", "symptom", "大便发黑", ("大便 黑", "黑便")),
    Fact("rale", "finding", "左下肺湿啰音", ("湿啰音", "听诊")),
)
# Another one, whose lines were written when the rules stood: 43 of 50 were right before the kinds of the others were mended.
SECOND = (
    Fact("belly", "symptom", "上腹部疼痛", ("肚子疼", "胃疼", "上腹痛")),
    Fact("acid", "symptom", "反酸", ("烧心", "返酸")),
    Fact("days", "duration", "腹痛2周", ()),
    Fact("no-fever", "symptom", "无发热", ("发热", "发烧")),
    Fact("no-diarr", "symptom", "否认腹泻", ("拉肚子", "腹泻")),
    Fact("weight", "symptom", "体重下降", ("瘦了", "体重")),
    Fact("kg", "value", "体重下降5kg", ("体重",)),
    Fact("pylori", "history", "幽门螺杆菌阳性", ("幽门螺杆菌", "HP")),
    Fact("nsaid", "history", "长期服用布洛芬", ("布洛芬", "止痛药")),
    Fact("no-allergy", "history", "无药物过敏史", ("过敏", "药物过敏")),
    Fact("family", "history", "父亲胃癌", ("家族", "父亲", "胃癌")),
    Fact("no-smoke", "history", "不吸烟", ("抽烟", "吸烟")),
    Fact("drink", "history", "饮酒10年", ("喝酒", "饮酒")),
    Fact("stool", "symptom", "无黑便", ("黑便", "大便发黑")),
    Fact("appetite", "symptom", "食欲差", ("食欲", "胃口", "吃饭")),
    Fact("hb", "value", "血红蛋白98g/L", ("血红蛋白", "血色素")),
    Fact("tender", "finding", "上腹压痛", ("压痛", "按着疼")),
)
LINES = json.loads((Path(__file__).parent / "answer_lines.json").read_text(encoding="utf-8"))
# Those that the rules read otherwise than the labels: what stands before a question is said, and "烧到" names no temperature.
MISSED = {
    "development": ["咳嗽是不是要拍片？"],
    "held out": ["最高烧到39.2。"],
    "second case": ["烟酒都不沾。", "不差，吃得挺好。", "不是不疼，是忍着。"],
}


@pytest.mark.parametrize("part", ["development", "held out", "second case"])
def test_labelled_lines(part):
    wrong, facts = [], SECOND if part == "second case" else FACTS
    for line in (one for one in LINES if one["part"] == part):
        said = answer(line["words"], facts, read_questions(line["before"], facts))
        if (set(said.told), set(said.contradicted)) != (set(line["told"]), set(line["contradicted"])):
            wrong.append(line["words"])
    assert wrong == MISSED[part]


def test_a_long_list_is_denied_as_a_whole():
    said = answer("我没有发烧、咳嗽、头痛、胸闷，也没有失眠或者呕吐。", FACTS, [])
    assert (said.told, said.contradicted) == (["no-vomit"], ["fever", "cough", "head", "chest", "sleep"])


def test_a_bare_yes_to_a_list_tells_none_of_it():
    """It may mean any of them."""
    assert answer("有。", FACTS, read_questions("有没有发烧、头痛？", FACTS)) == ([], [])
    assert answer("都有。", FACTS, read_questions("有没有发烧、头痛？", FACTS)).told == ["fever", "head"]


def test_a_bare_answer_gives_way_to_the_words_behind_it():
    assert answer("嗯，不咳。", FACTS, read_questions("咳嗽吗？", FACTS)) == ([], ["cough"])
    assert answer("没有。就是有点咳嗽。", FACTS, read_questions("有没有咳嗽？", FACTS)) == (["cough"], [])


def test_a_word_inside_another_one_is_not_named():
    """Who coughs no blood may cough."""
    assert answer("没有咳血。", FACTS, []) == (["no-blood"], [])
    assert [name for one in read_questions("咳血吗？", FACTS) for name in one.asks] == ["no-blood"]


@pytest.mark.parametrize(
    ("clause", "name", "said"),
    [
        ("不发烧", "发烧", "no"),
        ("没有恶心 反酸和发烧", "发烧", "no"),
        ("发烧倒没有", "发烧", "no"),
        ("没有发烧就是咳嗽", "咳嗽", "yes"),
        ("不仅发烧", "发烧", "yes"),
        ("不是不发烧", "发烧", "yes"),
        ("不太发烧", "发烧", "hedged"),
        ("已经不发烧了", "发烧", "ceased"),
        ("没有吃药还是发烧", "发烧", "yes"),
        ("i don't have a fever", "fever", "no"),
        ("not only a fever", "fever", "yes"),
        ("no cough but a fever", "fever", "yes"),
        ("i no longer have a fever", "fever", "ceased"),
    ],
)
def test_how_a_thing_is_said(clause, name, said):
    start = clause.index(name)
    assert how_said(clause, (start, start + len(name)), name) == said


@pytest.mark.parametrize("item", ["或者a", "和a或者"])
def test_a_list_that_has_many_readings_is_read_once(item):
    """The child has a second of a core for what took one such name half of it, many times over."""
    assert bounded("a list", lambda: {how_said("痛" + item * 20, (0, 1), "痛") for _ in range(50)}, 1) == {"yes"}


@pytest.mark.parametrize("clause", ["头痛、恶心和呕吐都没有", "头痛或者呕吐没有", "头痛和足跟痛都没有", "头痛跟胸闷这些没有"])
def test_a_list_behind_a_name_is_denied_at_its_end(clause):
    assert how_said(clause.replace("、", " "), (0, 2), "头痛") == "no"
