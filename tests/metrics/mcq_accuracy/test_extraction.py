"""What is read from a reply: labelled replies of every kind, and properties that hold for all of them."""

import doctest
import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from medllm_hf.metrics.mcq_accuracy import extraction
from medllm_hf.metrics.mcq_accuracy.extraction import extract_choice

ROWS = [json.loads(line) for line in Path(__file__).with_name("replies.jsonl").read_text(encoding="utf-8").splitlines()]
ITEMS = {row["item"]: row["options"] for row in ROWS if "options" in row}
REPLIES = [row for row in ROWS if "reply" in row]
KINDS = sorted({row["class"] for row in REPLIES})
UNCLEAR = {"ambiguous", "refusal", "empty", "foreign"}


def wrong(rows):
    """The rows that are read otherwise than labelled, with what was read."""
    told = [(row, (row["reply"], ITEMS[row["item"]], row.get("question", ""), row.get("kind", ""))) for row in rows]
    read = [(row, extract_choice(*given)) for row, given in told]
    return [(row, found) for row, found in read if found != row["chosen"]]


@pytest.mark.parametrize("kind", KINDS)
def test_labelled_replies(kind):
    assert wrong(row for row in REPLIES if row["class"] == kind) == []


def test_the_replies_cover_what_they_should():
    distinct = {(row["item"], row["reply"], row.get("question"), row.get("kind")) for row in REPLIES}
    assert len(distinct) == len(REPLIES) >= 1_400
    assert min(sum(row.get("kind") == kind for row in REPLIES) for kind in ("single", "multi")) >= 10
    kinds = Counter(row["class"] for row in REPLIES)
    assert set(kinds) == {
        *("letter", "verdict", "negation", "fullwidth", "bracket", "list", "reasoning", "text", "nested", "term", "boxed"),
        *("markdown", "json", "restated", "changed", "think", "repeat", "lowercase", "stem", "next", *UNCLEAR),
    }
    assert min(kinds.values()) >= 8
    english = [row for row in REPLIES if not re.search("[\u4e00-\u9fff]", row["reply"]) and re.search("[a-z]{3}", row["reply"])]
    assert len(english) >= 150
    assert sum(len(row["chosen"] or "") > 1 for row in REPLIES) >= 80
    assert sum(len(row["reply"]) > 100 for row in REPLIES) >= 30
    assert all(row["chosen"] is None for row in REPLIES if row["class"] in UNCLEAR)
    assert sum(row["chosen"] is None for row in REPLIES) >= 200


def test_a_wrong_label_is_found():
    assert len(wrong([{"item": "drugs", "reply": "故选B", "chosen": "A"}])) == 1


def test_thinking_before_the_reply_changes_nothing():
    thought = "<think>选A？答案是A。故选B，或者C。\n\n不对，the answer is D.</think>\n"
    rows = [{**row, "reply": thought + row["reply"]} for row in REPLIES if "think" not in row["reply"]]
    assert wrong(rows) == []


def test_full_width_letters_and_space_around_change_nothing():
    wide = {ord(c): chr(ord(c) + 0xFEE0) for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    rows = [{**row, "reply": "\n " + row["reply"].translate(wide) + " \n"} for row in REPLIES if "\\" not in row["reply"]]
    assert wrong(rows) == []


def test_letters_come_sorted_and_belong_to_the_question():
    pieces = [
        "答案是",
        "故选",
        "A",
        "B",
        "C",
        "F",
        "、",
        "或",
        "和",
        "，",
        "。",
        "\n",
        "不",
        "链霉素",
        "青霉素",
        " is ",
        "answer",
        "（",
        "）",
    ]
    pieces += [
        "正确",
        "错误",
        "选项",
        "?",
        "型",
        "boxed",
        "\\boxed{",
        "}",
        "<think>",
        "</think>",
        "*",
        "ABD",
        "d",
        "因为",
        "都对",
        "\u3000",
        "{",
    ]
    rng, parsed = random.Random(7), 0
    for _ in range(4000):
        reply = "".join(rng.choices(pieces, k=rng.randint(0, 14)))
        found = extract_choice(reply, ITEMS["drugs"])
        parsed += found is not None
        assert found is None or (found == "".join(sorted(set(found))) and set(found) <= set(ITEMS["drugs"])), reply
    assert 100 < parsed < 4000


def test_the_options_order_and_a_duplicate_text():
    turned = dict(reversed(ITEMS["drugs"].items()))
    assert extract_choice("应选链霉素和青霉素", turned) == "AB"
    assert extract_choice("答案：链霉素", {"A": "链霉素", "B": "链霉素", "C": "青霉素"}) is None
    assert extract_choice("答案：B", {"A": "链霉素", "B": "链霉素", "C": "青霉素"}) == "B"


@pytest.mark.parametrize(("text", "chosen"), [("A", "A"), ("B", "B")])
def test_option_texts_that_are_letters(text, chosen):
    assert extract_choice(f"答案：{text}", {"A": "A", "B": "B", "C": "AB", "D": "O"}) == chosen
    assert extract_choice(f"答案：{text}", {"A": "B", "B": "A", "C": "AB", "D": "O"}) is None


def test_a_letter_alone_is_read_as_with_a_line_end_behind_it():
    """The short way for choices by likelihood gives what the rules give, whatever the options say."""
    draw = random.Random(5)
    texts = [
        "青霉素",
        "否",
        "A",
        "b",
        "ＡＢ",
        "A型",
        "维生素A",
        "A和B都对",
        "Ⓐ",
        "",
        " ",
        "(A)",
        "**A**",
        "答案是B",
        "Both A and B",
        "以上都对",
    ]
    short = 0
    for _ in range(1_000):
        options = {letter: draw.choice(texts) for letter in "ABCDEF"[: draw.randint(2, 6)]}
        reply, kind = draw.choice(list(options)), draw.choice(["", "single", "multi"])
        question = draw.choice(["", "下列说法错误的是", "正确的有哪些？", "不属于A的是"])
        found = extract_choice(reply, options, question, kind)
        assert found == extract_choice(reply + "\n", options, question, kind), (reply, options, question, kind)
        short += found is not None
    assert 300 < short < 1_000


def test_a_model_that_repeats_itself_without_end():
    assert extract_choice("答案是B。" * 4000, ITEMS["drugs"]) == "B"
    assert extract_choice("A、B、" * 4000, ITEMS["drugs"]) is None
    assert extract_choice("链霉素" * 4000 + "\n" + "选" * 4000 + "\n故选D", ITEMS["drugs"]) == "D"


def test_examples_in_the_code():
    assert doctest.testmod(extraction).attempted == 4
    assert doctest.testmod(extraction).failed == 0
