"""Questions with a picture, by a column or by words; and those whose words only seem to point at one."""

import pytest

from medllm_hf.data.mcq import item_from_row, read_question_file
from medllm_hf.data.pictures import NeedsImage, needs_picture
from tests.data.test_formats import write_lines

OPTIONS = {"options": ["甲", "乙"], "answer": "A"}


@pytest.mark.parametrize("columns", [{"image": "a.png"}, {"has_image": True}, {"text_only": False}, {"图片": "1.jpg"}])
def test_columns_that_say_there_is_a_picture(columns):
    with pytest.raises(NeedsImage, match="comes with a picture"):
        item_from_row({"question": "诊断是", **OPTIONS, **columns})


@pytest.mark.parametrize(
    "columns", [{"image": "无"}, {"image": "None"}, {"img": []}, {"has_image": False}, {"has_image": None}, {"text_only": True}]
)
def test_columns_that_say_there_is_none(columns):
    assert item_from_row({"question": "诊断是", **OPTIONS, **columns})


def test_questions_of_any_file_that_point_at_a_picture_are_left_out_and_counted(tmp_path):
    asked = ["发热首选", "皮疹见（图），诊断是", "What does the arrow in figure A point at?", "咳嗽首选"]
    path = write_lines(tmp_path / "q.jsonl", [{"question": one, **OPTIONS} for one in asked])
    read = read_question_file(path)
    assert ([item.question for item in read.items], read.with_picture) == (["发热首选", "咳嗽首选"], 2)


@pytest.mark.parametrize(
    ("question", "pictured"),
    [
        ("A photograph of the rash is shown. What is it?", True),
        ("An MRI of the knee was performed and is shown below. Which ligament is torn?", True),
        ("He has blisters on both hands, as shown. What is the treatment?", True),
        ("His eyes are shown in the exhibit. Which nerve is hurt?", True),
        ("Laboratory values are shown below: sodium 139, potassium 4. What is the next step?", False),
        ("An ECG was normal. The drug has been shown to prolong life. Which is it?", False),
        ("Which of the following has been shown on MRI to shrink with age?", False),
        ("He has a rash on both arms (see image). What is it?", True),
        ("Radiographs are obtained (Figures A and B). Which is the next step?", True),
        ("Which of these findings (Figures A-E) would a biopsy show?", True),
        ("Which organism is shown in the second photograph?", True),
        ("Polarized light microscopy of the fluid is shown. Which drug helps?", True),
        ("Which anomaly is the one shown on the ultrasound?", True),
        ("There are many mitotic figures (9 per field). He sees two images at once. Which tumour is it?", False),
        ("Results of laboratory studies are shown: sodium 139. Recent studies have shown that it helps.", False),
        ("The mass (seen on imaging) was biopsied. A lesion shown on CT to be cystic is most likely", False),
        ("心电图示窦性心动过速，首选", False),
        ("要求患者看三张图片并讲故事，属于", False),
    ],
)
def test_words_that_point_at_a_picture_and_words_that_only_seem_to(question, pictured):
    assert needs_picture(question) == pictured


@pytest.mark.parametrize(("asked", "picture"), [
    ("男，六十岁，胸痛一小时，心电图如下，首选的处理是", True), ("胸片如下诊断考虑", True), ("其X线片如下。最可能是", True),
    ("心电图如下：窦性心律，首选的处理是", False), ("血糖结果如下，诊断是", False), ("治疗方案如下，不妥的是", False),
])  # fmt: skip
def test_a_picture_that_is_said_to_follow(asked, picture):
    assert needs_picture(asked) is picture
