"""Options that stand in the question, in a text, or with letters of their own."""

import pytest

from medllm_hf.data.exam_options import lettered_text, options_within
from medllm_hf.data.exam_rows import is_exam_row
from medllm_hf.data.mcq import item_from_row


@pytest.mark.parametrize(
    ("question", "stem", "texts"),
    [
        (
            "下列属于抗酸药的是\nA．氢氧化铝\nB．奥美拉唑\nC．阿托品\nD．硫糖铝\n",
            "下列属于抗酸药的是",
            "氢氧化铝 奥美拉唑 阿托品 硫糖铝",
        ),
        ("抗酸药是（ ）A.氢氧化铝B.奥美拉唑C.阿托品", "抗酸药是（ ）", "氢氧化铝 奥美拉唑 阿托品"),
        ("Which is an antacid? (A) alumina (B) omeprazole (C) atropine", "Which is an antacid?", "alumina omeprazole atropine"),
        ("缺乏维生素A、D时\nA、夜盲 B、佝偻病 C、两者皆有 D、皆无", "缺乏维生素A、D时", "夜盲 佝偻病 两者皆有 皆无"),
        ("水溶的是\nA、维生素B、C B、维生素D C、维生素E", "水溶的是", "维生素B、C 维生素D 维生素E"),
        ("保存温度为 (A) 2 °C (B) 20 °C) (C) 30 °C", "保存温度为", "2_°C 20_°C) 30_°C"),
    ],
)
def test_a_question_that_ends_with_its_options(question, stem, texts):
    row = {"question": question, "answer": ["B"]}
    assert is_exam_row(row)
    item = item_from_row(row)
    assert (item.question, list(item.options.values())) == (stem, [text.replace("_", " ") for text in texts.split(" ")])
    assert item.answer == {"B"}


@pytest.mark.parametrize(
    "row",
    [
        {"question": "维生素A、B、C中哪种能预防夜盲？", "answer": "A"},
        {"question": "头痛怎么办？A. 休息 B. 就医 C. 吃药", "answer": "先休息，再就医"},
        {"question": "选哪个？A. 甲 B. 乙", "answer": "A"},
        {"question": "选哪个？A. 甲 B. 乙 C. 丙 B. 丁", "answer": "A"},
    ],
)
def test_questions_that_only_name_letters(row):
    assert not is_exam_row(row)


def test_the_sign_of_an_option_is_told_from_letters_in_the_texts():
    assert lettered_text("A 甲型 B 乙型 C 丙型") == {"A": "甲型", "B": "乙型", "C": "丙型"}
    # Which B begins the option is not told.
    assert lettered_text("A. 甲 B. 型 B. 乙") == {} == lettered_text("A.甲素B.型素B.乙")
    assert options_within("x" * 200_000 + "A" * 100) is None


def test_options_that_the_question_repeats_are_shown_once():
    options = ["阿司匹林", "吗啡"]
    asked = "解热药是？\nAnswer Choices: (A) 阿司匹林 (B) 吗啡 (C) 阿托品"
    item = item_from_row({"question": asked, "options": [*options, "阿托品"], "answer": "A"})
    assert item.question == "解热药是？"
    assert item_from_row({"question": asked, "options": options, "answer": "A"}).question == asked


@pytest.mark.parametrize("options", [["B. 乙", "C. 丙", "D. 丁"], ["B、乙", "A、甲", "C、丙"], {"A": "A.甲", "B": "C.丙"}])
def test_letters_that_are_not_those_of_the_places_are_refused(options):
    """An option was lost or moved: the answer B would be another option."""
    with pytest.raises(ValueError, match="begin with the letters"):
        item_from_row({"question": "选哪个", "options": options, "answer": "B"})


def test_names_that_begin_with_a_letter_and_a_point_are_texts():
    options = ["E. coli", "S. aureus", "B. cereus", "H. pylori"]
    item = item_from_row({"question": "Which one grows in the stomach?", "options": options, "answer": "D"})
    assert list(item.options.values()) == options and item.language == "en"


@pytest.mark.parametrize(
    ("columns", "letters", "texts"),
    [
        ({"answers": {"a": "甲", "b": "乙", "c": "丙"}, "correct_answers": ["a", "c"]}, "AC", "甲乙丙"),
        ({"answers": [{"aid": 1, "atext": "甲"}, {"aid": 2, "atext": "乙"}], "ra": 2}, "B", "甲乙"),
        ({"options": {"1": "甲", "2": "乙", "3": "丙"}, "answer": 3}, "C", "甲乙丙"),
        ({"ending0": "甲", "ending1": "乙", "answer_letter": "B"}, "B", "甲乙"),
        ({"备选答案": ["甲", "乙"], "正确选项": "A"}, "A", "甲乙"),
    ],
)
def test_names_of_options_and_answers(columns, letters, texts):
    item = item_from_row({"problem_text": "选哪个", **columns})
    assert ("".join(sorted(item.answer)), "".join(item.options.values())) == (letters, texts)


def test_answers_in_several_wordings_are_no_options():
    for answers in (["喝水", "休息"], {"text": ["喝水"], "answer_start": [3]}):
        assert not is_exam_row({"question": "怎么办", "answers": answers, "answer": "喝水"})


def test_what_a_question_is_about_stands_before_it():
    options = {"options": ["甲", "乙"], "answer": "A"}
    case = "患者女，三十岁，发热两天。"
    assert item_from_row({"passage": case, "question": "首选", **options}).question == f"{case}\n首选"
    assert item_from_row({"passage": case, "question": f"{case}首选", **options}).question == f"{case}首选"
    assert item_from_row({"passage": None, "question": "首选", **options}).question == "首选"


def test_options_named_after_the_answer():
    row = {"question": "抗酸药是", "answerA": "阿托品", "answerB": "氢氧化铝", "answerC": "肾上腺素", "correctAnswer": "B"}
    item = item_from_row(row)
    assert (list(item.options.values()), item.answer) == (["阿托品", "氢氧化铝", "肾上腺素"], {"B"})
    assert not is_exam_row({"question": "头痛怎么办？", "answer1": "多休息", "answer2": "去医院看看"})


@pytest.mark.parametrize("answer", ["CAB", ["C", "A", "B"], ["乙", "甲", "丙"], [1, 0, 2]])
def test_an_order_of_the_options_is_no_choice(answer):
    row = {"question": "把操作按先后排列", "options": ["甲", "乙", "丙"], "answer": answer}
    with pytest.raises(ValueError, match="an order of the options, not a choice"):
        item_from_row(row, lambda: 0)
    assert item_from_row({**row, "answer": "ABC"}).answer == {"A", "B", "C"}


LINES = "C: 阿托品\nA: 吗啡\nB: 阿司匹林\n即乙酰水杨酸\nD: 胰岛素"


@pytest.mark.parametrize("text", [LINES, LINES.lower(), LINES.replace("C:", " (C)").replace("A:", "(A)"), "\n" + LINES])
def test_lines_in_another_order_are_told_by_their_letters(text):
    if "(" in text:
        text = text.replace("B:", "(B)").replace("D:", "(D)")
    expected = {"A": "吗啡", "B": "阿司匹林\n即乙酰水杨酸", "C": "阿托品", "D": "胰岛素"}
    assert item_from_row({"question": "止痛用", "options": text, "answer": "B"}).options == expected


def test_a_question_that_ends_with_its_options_in_another_order():
    item = item_from_row({"question": f"止痛用哪个？\n{LINES}", "answer": "A"})
    assert (item.question, item.option_text("A"), list(item.options)) == ("止痛用哪个？", "吗啡", ["A", "B", "C", "D"])


@pytest.mark.parametrize(
    "text", ["C: 甲\nA: 乙\nB: 丙\nE: 丁", "B. 甲\nB. 乙\nA. 丙\nC. 丁", "A. 甲\nB. 乙\nD. 丁\nE. 戊", "D、甲\nA、乙\nB、丙"]
)
def test_lines_of_which_one_is_lost_are_refused(text):
    """Else one option would be gone, or two would be one."""
    with pytest.raises(ValueError, match="options"):
        item_from_row({"question": "选哪个", "options": text, "answer": "A"})
