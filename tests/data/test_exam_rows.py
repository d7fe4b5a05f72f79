"""Rows of exam questions as sources write them: options, answers, kinds, and what is refused."""

import random

import pytest
from support.published import item

from medllm_hf.data.exam_options import lettered_lines
from medllm_hf.data.exam_rows import answer_letters, is_exam_row
from medllm_hf.data.mcq import item_from_row


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        ("B", "B"),
        ("abd", "ABD"),
        ("A,B", "AB"),
        ("A、C和D", "ACD"),
        ("ＡＢ", "AB"),
        (" c ", "C"),
        ("(E)", "E"),
        (["A", "b"], "AB"),
        (["AB", "C"], "ABC"),
        ("DB", "DB"),
    ],
)
def test_answers_as_sources_write_them(answer, letters):
    assert answer_letters(answer) == letters


@pytest.mark.parametrize("answer", [None, 1, 0, "", "1", "Z", "AA", "答案Z", {"A": 1}, [1], [["A"]], [], True])
def test_answers_that_are_none(answer):
    with pytest.raises(ValueError, match="answer"):
        item_from_row({"question": "q", "options": {"A": "甲", "B": "乙"}, "answer": answer})


@pytest.mark.parametrize(
    "row",
    [
        {"options": {"A": "甲", "B": "乙", "C": "丙"}},
        {"options": {"a": "甲", "Ｂ": " 乙 ", "c": "丙", "D": None}},
        {"options": ["甲", "乙", "丙"]},
        {"options": [{"label": "A", "text": "甲"}, {"label": "B", "text": "乙"}, {"label": "C", "text": "丙"}]},
        {"options": [{"key": "A", "value": "甲"}, {"key": "B", "value": "乙"}, {"key": "C", "value": "丙"}]},
        {"options": "A 甲\nB. 乙\nC、丙"},
        {"options": '{"A": "甲", "B": "乙", "C": "丙"}'},
        {"A": "甲", "B": "乙", "C": "丙", "D": ""},
        {"option": {"A": "甲", "B": "乙", "C": "丙", "D": "", "E": " "}},
        {"choices": ["A. 甲", "B．乙", "(C) 丙"]},
        {"choices": {"text": ["甲", "乙", "丙"], "label": ["A", "B", "C"]}},
        {"Options": "A. 甲 B. 乙 C. 丙"},
        {"选项": "A、甲；B、乙；C、丙"},
        {"options": "（A）甲（B）乙（C）丙"},
        {"options": "['甲', '乙', '丙']"},
        {"option_A": "甲", "option_B": "乙", "option_C": "丙", "option_D": None},
        {"optionA": "甲", "optionB": "乙", "optionC": "丙"},
        {"opa": "甲", "opb": "乙", "opc": "丙"},
        {"选项A": "甲", "选项B": "乙", "选项C": "丙"},
        {"option_a": "A) 甲", "option_b": "B) 乙", "option_c": "C) 丙"},
        {"选项": [{"标号": "A", "内容": "甲"}, {"标号": "B", "内容": "乙"}, {"标号": "C", "内容": "丙"}]},
        {"option1": "甲", "option2": "乙", "option3": "丙"},
    ],
)
def test_options_as_sources_write_them(row):
    assert item_from_row({"id": 1, "question": "q", "answer": "C", **row}) == item("1", "q", "甲乙丙", "C")


@pytest.mark.parametrize(
    "options",
    [
        *(
            None,
            5,
            [],
            ["甲"],
            [["甲"], ["乙"]],
            [1, 2],
            {"A": "甲", "B": " "},
            {"A": "甲", "a": "乙"},
            {"A": "甲", "BC": "乙"},
        ),
        *({"A": "甲", "": "乙"}, {"A": "甲", "1": "乙"}, "没有字母", ["x"] * 27, [{"label": "A", "text": "甲"}] * 2),
        *([{"text": "甲"}, {"text": "乙"}], {"A": "甲", "B": "\ud800"}, "[" * 100000),
    ],
)
def test_options_that_are_none(options):
    with pytest.raises(ValueError, match="option"):
        item_from_row({"question": "q", "options": options, "answer": "A"})


def test_option_lines_keep_their_order_and_their_letters():
    text = "A 甲\n  第二行\nB B超\nC\nＤ：丁\ne) 戊\nF 己\nH 辛"
    expected = {"A": "甲\n  第二行", "B": "B超", "C": "", "D": "丁", "E": "戊", "F": "己\nH 辛"}
    assert lettered_lines(text) == expected
    assert len(lettered_lines("\n".join(f"{chr(65 + i)} {i}" for i in range(26)))) == 26


def test_options_that_only_look_lettered():
    """Texts that begin with a letter and a space are texts; a letter inside a text begins no option."""
    row = {"question": "q", "options": ["A 型", "B 型", "AB 型"], "answer": "B"}
    assert item_from_row(row).options == {"A": "A 型", "B": "B 型", "C": "AB 型"}
    row["options"] = "A. 抗原 HLA-B. 27 B. 维生素C C. 都不是"
    assert item_from_row(row).options == {"A": "抗原 HLA-B. 27", "B": "维生素C", "C": "都不是"}


DRUGS = {"A": "阿托品", "B": "肾上腺素", "C": "AB", "D": "吗啡。"}


@pytest.mark.parametrize(
    ("columns", "letters"),
    [
        ({"answer": "肾上腺素"}, "B"),
        ({"answer": "吗啡"}, "D"),
        ({"answer": "(B)"}, "B"),
        ({"answer": "B. 肾上腺素"}, "B"),
        ({"answer": ["肾上腺素", "吗啡"]}, "BD"),
        ({"answer": "['A', 'D']"}, "AD"),
        ({"answer": "opb"}, "B"),
        ({"answer": "optionD"}, "D"),
        ({"answer": "肾上腺素", "answer_idx": "B"}, "B"),
        ({"answer_idx": "B"}, "B"),
        ({"答案": "B"}, "B"),
        ({"正确答案": "Ｂ"}, "B"),
        ({"answerKey": "D"}, "D"),
        ({"answer": "AB", "kind": "multi"}, "AB"),
        ({"answer": "AB", "kind": "单选"}, "C"),
        ({"answer": "AC", "question_type": "多项选择题"}, "AC"),
        ({"answer": "Answer: B"}, "B"),
        ({"answer": "The correct answer is (B)."}, "B"),
        ({"answer": "正确答案：D"}, "D"),
        ({"answer": "故选B。"}, "B"),
        ({"answer": "答案是 B、肾上腺素"}, "B"),
        ({"answer": "B."}, "B"),
        ({"answer": ["B. 肾上腺素", "D、吗啡"]}, "BD"),
    ],
)
def test_answers_by_text_and_by_column(columns, letters):
    item = item_from_row({"question": "q", "options": DRUGS, **columns})
    assert "".join(sorted(item.answer)) == letters


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"answer": "AB"}, "letters and an option's text"),
        ({"answer": "阿托品", "answer_idx": "B"}, "not the text of option B"),
        ({"answer": 2}, "write letters"),
        ({"answer": "去氧肾上腺素"}, "does not name options"),
        ({"answer": "B. 吗啡"}, "does not name options"),
        ({"answer": "Answer: B or D, see page 9"}, "does not name options"),
        ({"answer": "A或B"}, "does not name options"),
        ({"note": "A"}, "answer is not among the columns 'question', 'options', 'note'"),
        ({"answer": "A", "image": "scan.png"}, "comes with a picture"),
        ({"answer": "A", "kind": ["单选"]}, "kind .* is not a text"),
        ({"answer": "A", "question": {"en": "q", "zh": "问"}}, "object of en, zh"),
    ],
)
def test_answers_that_can_be_read_in_two_ways_or_none(columns, said):
    with pytest.raises(ValueError, match=said):
        item_from_row({"question": "q", "options": DRUGS, **columns})


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({"answer": "A", "kind": "药理学"}, "single"),
        ({"answer": "AB", "kind": "mcq4"}, "multi"),
        ({"answer": "A", "kind": "knowledge", "question_type": "多选"}, "multi"),
        ({"answer": "A", "question_type": "multiple choice"}, "single"),
        ({"answer": "A", "kind": "multi", "question_type": "single"}, "multi"),
    ],
)
def test_a_kind_is_what_says_single_or_multi_and_else_the_answer_does(columns, kind):
    assert item_from_row({"question": "q", "options": ["甲", "乙", "丙"], **columns}).kind == kind


@pytest.mark.parametrize(
    "row",
    [
        {"題目": "何者不適當？", "選項A": "甲", "選項B": "乙", "選項C": "丙", "正確答案": "B"},
        {"題幹": "何者不適當？", "選項": ["甲", "乙", "丙"], "標準答案": "B"},
        {"stem": "何者不適當？", "options": {"A": "甲", "B": "乙", "C": "丙"}, "gold_answer": "B"},
        {"text": "何者不適當？", "options": ["甲", "乙", "丙"], "the_correct_one": "b"},
        {"q": "何者不適當？", "o": ["甲", "乙", "丙"], "a": 1, "e": "甲说"},
    ],
)
def test_a_part_of_a_question_under_a_name_that_says_it(row):
    item = item_from_row(row, lambda: 0)
    assert (item.question, item.options, item.answer) == ("何者不適當？", {"A": "甲", "B": "乙", "C": "丙"}, {"B"})


def test_two_columns_that_may_be_the_answer_are_none():
    assert not is_exam_row({"question": "q", "options": ["甲", "乙"], "answer_of_one": "A", "answer_of_two": "B"})
    assert not is_exam_row({"question": "q", "A": "甲", "B": "乙", "a": "甲"})


def test_odd_rows_raise_nothing_but_value_errors():
    """Columns of any name with any value: a row is a question or a `ValueError`."""
    rng = random.Random(7)
    names = ("question", "Question", "题目", "options", "choices", "option_A", "opa", "opb", "A", "B", "answer", "answer_idx",
             "cop", "kind", "question_type", "image", "id", "", 5)  # fmt: skip
    values = (None, "", " ", "A", "AB", "甲", "['甲', '乙']", "{[]: 1}", "['\\d', '乙']", "A. 甲 B. 乙", "(A) 甲\n(B) 乙", 0, 1,
              2.5, float("nan"), float("inf"), True, [], ["甲", "乙"], [1], [["A"]], {"text": ["甲", "乙"], "label": [1, 2]},
              "opb", {"text": [None], "label": [[]]}, {"A": "甲", "B": "乙"}, [{"label": "A", "text": "甲"}, {"label": 2}],
              10**400, "\ud800", "[" * 9000, {"A": None, "B": "乙"}, "单选", "multi")  # fmt: skip
    read = 0
    for _ in range(20_000):
        row = {rng.choice(names): rng.choice(values) for _ in range(rng.randint(2, 9))}
        try:
            read += bool(item_from_row(row, lambda: rng.choice((0, 1, None))))
        except ValueError as error:
            assert str(error)
    assert read > 20


def test_a_row_without_options_is_no_exam_question():
    assert not is_exam_row({"question": "头痛怎么办", "answer": "A"})
    assert not is_exam_row({"question": "头痛怎么办", "options": ["休息", "就医"]})
    assert is_exam_row({"question": "头痛怎么办", "options": ["休息", "就医"], "answer": "A"})


@pytest.mark.parametrize("column", ["content", "body", "Title", "内容"])
def test_a_question_under_the_name_of_any_text(column):
    row = {
        column: "晨僵多见于哪一种关节炎？",
        "options": {"1": "类风湿", "2": "痛风"},
        "correct_answer": "2",
        "field": "风湿免疫科的题目",
    }
    item = item_from_row(row)
    assert (item.question, "".join(item.answer)) == (row[column], "B") and is_exam_row(row)
    other = {**row, "asked_here": "痛风的首选药物是哪一种？"}
    assert not is_exam_row(other)


def test_the_text_of_an_option_that_is_a_number_beyond_the_last():
    row = {"question": "阻力为原来的几倍？", "options": ["A. 64", "B. 16", "C. 8"], "answer": "16"}
    assert "".join(item_from_row(row).answer) == "B"
    with pytest.raises(ValueError, match="write letters"):
        item_from_row({**row, "options": ["A. 1", "B. 3", "C. 2"], "answer": "2"})
