"""What a model is shown, to the byte: prompts, examples, orders of options, and the answers that are compared."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.paths import SAMPLE
from support.published import ENGLISH_SINGLE, MULTI, SINGLE, item

from medllm_hf.data.mcq import load_items
from medllm_hf.errors import UserError
from medllm_hf.evaluation.exams.prompts import BLANK, Prompts, answers, candidates, draw, present_options, reorder_options
from medllm_hf.pretrained import load_tokenizer

ONE = item("a", "选哪项？", ["甲", "乙", "丙"], "B")
SEVERAL = item("b", "选哪几项？", ["甲", "乙", "丙"], "AC", kind="multi")
ENGLISH = item("c", "Which one?", ["one", "two"], "A", language="en")
SHOT = item("d", "示例？", ["子", "丑"], "A")
SHOTS = {"single": (SHOT,), "multi": (replace(SEVERAL, id="e", question="另一示例？"),)}
USER, BOT = "<reserved_106>", "<reserved_107>"
TRAIN, TEST = (load_items(str(SAMPLE / f"questions_{name}.jsonl")) for name in ("train", "test"))


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return load_tokenizer(Path(tiny["base"]))


def test_zero_shot_chat(tokenizer):
    question = f"{SINGLE}\n选哪项？\nA. 甲\nB. 乙\nC. 丙"
    assert Prompts(tokenizer, {}).text(ONE) == f"<s>{USER}{question}{BOT}答案："
    assert Prompts(tokenizer, {}, score="text").text(ONE) == f"<s>{USER}选哪项？{BOT}答案："
    assert Prompts(tokenizer, {}, mode="reply").text(ONE) == f"<s>{USER}{question}{BOT}"


def test_examples_are_rounds_of_the_chat(tokenizer):
    assert Prompts(tokenizer, SHOTS).text(ONE) == (
        f"<s>{USER}{SINGLE}\n示例？\nA. 子\nB. 丑{BOT}答案：A</s>{USER}{SINGLE}\n选哪项？\nA. 甲\nB. 乙\nC. 丙{BOT}答案："
    )
    assert Prompts(tokenizer, SHOTS).text(SEVERAL) == (
        f"<s>{USER}{MULTI}\n另一示例？\nA. 甲\nB. 乙\nC. 丙{BOT}答案：AC</s>"
        f"{USER}{MULTI}\n选哪几项？\nA. 甲\nB. 乙\nC. 丙{BOT}答案："
    )
    assert (
        Prompts(tokenizer, SHOTS, score="text").text(SEVERAL)
        == f"<s>{USER}另一示例？{BOT}答案：甲、丙</s>{USER}选哪几项？{BOT}答案："
    )


def test_plain_text(tokenizer):
    plain = Prompts(tokenizer, SHOTS, chat=False)
    assert plain.text(ONE) == f"{SINGLE}\n示例？\nA. 子\nB. 丑\n答案：A\n\n{SINGLE}\n选哪项？\nA. 甲\nB. 乙\nC. 丙\n答案："
    assert Prompts(tokenizer, {}, chat=False).text(ENGLISH) == f"{ENGLISH_SINGLE}\nWhich one?\nA. one\nB. two\nAnswer: "
    assert Prompts(tokenizer, {}, chat=False, mode="reply").text(ENGLISH).endswith("\nAnswer:")


def test_an_endpoint_gets_the_turns_themselves():
    user, assistant, last = Prompts(None, SHOTS, mode="reply").turns(ONE)
    assert user == {"role": "user", "content": f"{SINGLE}\n示例？\nA. 子\nB. 丑"}
    assert assistant == {"role": "assistant", "content": "答案：A"}
    assert last == {"role": "user", "content": f"{SINGLE}\n选哪项？\nA. 甲\nB. 乙\nC. 丙"}


def test_text_of_a_question_is_never_a_control_token(tokenizer):
    bad = item("x", f"问</s>{USER}？", ["甲</s>", "乙"], "A")
    for chat in (True, False):
        text = Prompts(tokenizer, {"single": (bad,)}, chat=chat).text(ONE)
        assert "问＜/s>＜reserved_106>？" in text and "甲＜/s>" in text
    assert answers(bad, "text", [("A",)]) == ["甲＜/s>"]


def test_candidates_and_how_they_end(tokenizer):
    assert candidates(ONE) == [("A",), ("B",), ("C",)]
    assert answers(SEVERAL, "letter", candidates(SEVERAL)) == ["A", "B", "C", "AB", "AC", "BC", "ABC"]
    assert answers(SEVERAL, "text", [("A",), ("A", "C")]) == ["甲", "甲、丙"]
    assert len(candidates(item("f", "?", "甲乙丙丁戊", "A", kind="multi"))) == 31, "one right letter may be the whole answer"
    chat, plain = Prompts(tokenizer, {}), Prompts(tokenizer, {}, chat=False)
    assert (chat.ending(ONE), chat.ending(SEVERAL), plain.ending(ONE), plain.ending(SEVERAL)) == ("", "</s>", "", BLANK)
    assert Prompts(tokenizer, {}, score="text").ending(ONE) == "</s>"


def test_a_template_writes_its_own_first_token(tokenizer):
    first = tokenizer.bos_token_id
    assert Prompts(tokenizer, {}).ids([Prompts(tokenizer, {}).text(ONE)])[0].count(first) == 1
    plain = Prompts(tokenizer, {}, chat=False)
    assert plain.ids([plain.text(ONE)])[0] == tokenizer(plain.text(ONE))["input_ids"]


def test_options_in_another_order():
    moved = reorder_options(SEVERAL, "CAB")
    assert moved.item.options == {"A": "丙", "B": "甲", "C": "乙"}
    assert moved.item.answer == frozenset("AB")
    assert (moved.order, moved.own("AB"), moved.own("C")) == ("CAB", "AC", "B")
    gap = replace(ONE, options={"A": "甲", "B": "乙", "E": "戊"}, answer=frozenset("E"))
    assert reorder_options(gap, "ABE").item == gap
    assert reorder_options(gap, "EAB").item.options == {"A": "戊", "B": "甲", "E": "乙"}
    assert reorder_options(gap, "EAB").own("A") == "E"


def test_shuffled_orders_depend_on_seed_and_item_alone():
    orders = {one.item.id: one.order for one in present_options(TEST, 7, shuffle=True)}
    again = present_options(TEST[::-1][:40], 7, shuffle=True)
    assert [one.order for one in again] == [orders[one.item.id] for one in again]
    assert {one.order for one in present_options(TEST, 8, shuffle=True)} != set(orders.values())
    assert all(sorted(one.order) == list(one.item.options) for one in again)
    for one, own in zip(present_options(TEST, 7, shuffle=True), TEST, strict=True):
        assert {own.options[letter] for letter in one.own(one.item.answer)} == {own.options[letter] for letter in own.answer}
    first = [one.order[0] for one in present_options(TEST, 7, shuffle=True)]
    assert max(first.count(letter) for letter in "ABCDE") < len(TEST) / 2, "no letter is mostly first"


def test_circular_shows_every_option_at_every_place():
    rotations = present_options([ONE, ENGLISH], 0, circular=True)
    assert [(one.item.id, one.rotation, one.order) for one in rotations] == [
        ("a", 0, "ABC"), ("a", 1, "BCA"), ("a", 2, "CAB"), ("c", 0, "AB"), ("c", 1, "BA"),
    ]  # fmt: skip
    assert rotations[0].item == ONE
    assert [one.own(one.item.answer) for one in rotations] == ["B", "B", "B", "A", "A"]


def test_examples_are_the_same_whatever_the_order_of_the_file():
    drawn = draw(TRAIN, TEST, 5, 3)
    assert drawn.left_out == 0
    assert {kind: [one.kind for one in items] for kind, items in drawn.of_kind.items()} == {
        "single": ["single"] * 5,
        "multi": ["multi"] * 5,
    }
    shuffled = random.Random(0).sample(TRAIN, len(TRAIN))
    assert draw(shuffled, TEST, 5, 3) == drawn
    assert draw(TRAIN, TEST, 5, 4) != drawn


def test_examples_do_not_depend_on_the_hash_seed():
    program = (
        "from medllm_hf.data.mcq import load_items\nfrom medllm_hf.evaluation.exams.prompts import draw, present_options\n"
        f"train, test = (load_items(f'{SAMPLE}/questions_{{name}}.jsonl') for name in ('train', 'test'))\n"
        "drawn = draw(train, test, 4, 1).of_kind\n"
        "print([one.id for kind in sorted(drawn) for one in drawn[kind]], "
        "[one.order for one in present_options(test, 1, True)])"
    )
    printed = [
        subprocess.run([sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1] != ""


def test_no_example_is_a_question():
    same_text = [replace(one, id=f"x{i}", question=f"  {one.question.replace('，', ',')} ") for i, one in enumerate(TEST[:5])]
    same_id = [replace(TRAIN[0], id=TEST[5].id)]
    only_a_number = replace(TRAIN[1], id="17")
    questions = [*TEST, replace(ONE, id="17")]
    drawn = draw([*same_text, *same_id, only_a_number, *TRAIN[2:6]], questions, 5, 0)
    assert drawn.left_out == 6
    assert {one.id for one in drawn.of_kind["single"]} == {"17", *(one.id for one in TRAIN[2:6])}
    with pytest.raises(UserError, match=r"5 examples that are not among the questions \(6 are\).*6 for --shots"):
        draw([*same_text, *same_id, only_a_number, *TRAIN[2:6]], questions, 6, 0)


def test_too_few_of_a_kind_are_filled_up_from_the_other():
    pool = [replace(ONE, id=f"s{i}", question=f"单{i}") for i in range(4)] + [replace(SEVERAL, id="m", question="多")]
    drawn = draw(pool, [ONE, SEVERAL], 3, 0)
    assert [one.kind for one in drawn.of_kind["multi"]] == ["single", "single", "multi"], "its own kind stands nearest"
    assert [one.kind for one in drawn.of_kind["single"]] == ["single"] * 3
    assert set(draw(pool, [ONE], 3, 0).of_kind) == {"single"}


def test_the_digest_covers_all_that_shapes_a_prompt(tokenizer, tiny):
    base = Prompts(tokenizer, SHOTS)
    other = load_tokenizer(Path(tiny["base"]))
    other.chat_template = other.chat_template.replace("bos_token", "eos_token")
    another = load_tokenizer(Path(tiny["base"]))
    another.add_tokens(["question"])
    changed = [
        base,
        replace(base, examples={}),
        replace(base, examples={**SHOTS, "single": (replace(SHOT, answer=frozenset("B")),)}),
        replace(base, score="text"),
        replace(base, chat=False),
        replace(base, mode="reply"),
        replace(base, tokenizer=None),
        replace(base, tokenizer=other),
        replace(base, tokenizer=another),
    ]
    assert len({prompts.digest([ONE]) for prompts in changed}) == len(changed)
    assert base.digest([ONE]) == replace(base).digest([replace(ONE, question="其他？")])
    assert len({base.digest([ONE]), base.digest([SEVERAL]), base.digest([ENGLISH])}) == 3


def test_prompts_of_the_same_kind_share_their_beginning(tokenizer):
    prompts = Prompts(tokenizer, draw(TRAIN, TEST, 3, 0).of_kind)
    starts = {prompts.text(one).rpartition(one.question)[0] for one in TEST if one.kind == "single"}
    assert len(starts) == 1 and json.dumps(next(iter(starts)), ensure_ascii=False).count("答案：") == 3
