"""Personal data: recall and precision on the labelled set, checks, labels, and masking that needs no second time.

`personal_data.jsonl` was written for this project: every number, name and address in it is invented. A row is a text and
what is personal in it, in order: [kind, the characters].
"""

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from medllm_hf.data.screening.pii import patterns
from medllm_hf.data.screening.pii.masking import KINDS, Found, find, mask

ROWS = [json.loads(line) for line in Path(__file__).with_name("personal_data.jsonl").read_text(encoding="utf-8").splitlines()]
MOBILE = "13824159206"
ID_NUMBER = "110199195304122716"
PIECES = re.split(
    " ",
    "微信 号 ： QQ 加 v + 手机 电话 订单号 身份证 138 1381234 5678 13824159206 010 - ( ） . / = token https:// www. @ qq.com "
    "1101 99195304122716 X 622202 0571-82345678 转 12 ］ ［手机号］ abc_12 12345 是我的 一三八零 零零一三八零零 扣扣 ， 万 mg "
    "wxid_ab12cd34 (at) ?a= & +86 0086 ?phone= 。com ² ① 𝟏 \u3000 \ud800 \u202d",
)


def labelled(row: dict) -> list[Found]:
    """The places that a row of the set names."""
    found, end = [], 0
    for kind, characters in row["found"]:
        start = row["text"].index(characters, end)
        end = start + len(characters)
        found.append(Found(kind, start, end))
    return found


def taken(text: str) -> list[tuple[str, str]]:
    """What `find` takes from a text, as kind and characters."""
    return [(item.kind, text[item.start : item.end]) for item in find(text)]


def random_texts(count: int) -> list[str]:
    """Texts of any characters, of pieces of personal data, and of halves of the labelled set, the same each time."""
    rng = random.Random(4)
    texts = []
    for i in range(count):
        if i % 3 == 0:
            sets = [range(32, 127), range(0x30, 0x3A), range(0xFF10, 0xFF5B), range(0x2000, 0x2070), range(0x110000)]
            texts.append("".join(chr(rng.choice(rng.choice(sets))) for _ in range(rng.randrange(80))))
        elif i % 3 == 1:
            texts.append("".join(rng.choices(PIECES, k=rng.randrange(16))))
        else:
            head, tail = rng.choice(ROWS)["text"], rng.choice(ROWS)["text"]
            texts.append(head[: rng.randrange(len(head))] + tail[rng.randrange(len(tail)) :])
    return texts


def test_the_set_is_large_and_without_repeats():
    kinds = Counter(kind for row in ROWS for kind, _ in row["found"])
    assert set(kinds) == set(KINDS) and min(kinds.values()) >= 30
    assert sum(kinds.values()) >= 300
    assert sum(not row["found"] for row in ROWS) >= 300
    assert len({row["text"] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_found(kind):
    missed = [
        (row["text"], item) for row in ROWS for item in labelled(row) if item.kind == kind and item not in find(row["text"])
    ]
    count = sum(item.kind == kind for row in ROWS for item in labelled(row))
    assert len(missed) <= 0.03 * count, missed


def test_recall_and_precision_of_spans():
    right, missed, wrong = 0, [], []
    for row in ROWS:
        expected, found = set(labelled(row)), set(find(row["text"]))
        right += len(expected & found)
        missed += [(item.kind, row["text"][item.start : item.end], row["text"]) for item in expected - found]
        wrong += [(item.kind, row["text"][item.start : item.end], row["text"]) for item in found - expected]
    recall, precision = right / (right + len(missed)), right / (right + len(wrong))
    report = "\n".join(
        [f"recall {recall:.4f} precision {precision:.4f}", *(f"missed {m}" for m in missed), *(f"wrong {w}" for w in wrong)]
    )
    assert recall >= 0.99 and precision >= 0.97, report


def test_masking_leaves_nothing():
    for row in ROWS:
        found = find(row["text"])
        after = mask(row["text"], found)
        for item in found:
            assert row["text"][item.start : item.end] not in after, after
            assert KINDS[item.kind] in after
        assert find(after) == [], after


def test_masked_text_in_full():
    text = "家属１３８－２４１５－９２０６，微信号：li_na88；报告发 lina@example.com。"
    assert mask(text, find(text)) == "家属［手机号］，微信号：［微信号］；报告发 ［邮箱］。"


def test_random_texts_never_raise_and_stay_masked():
    hits = 0
    for text in random_texts(5000):
        found = find(text)
        assert all(0 <= item.start < item.end <= len(text) for item in found)
        assert all(left.end <= right.start for left, right in zip(found, found[1:], strict=False)), (text, found)
        after = mask(text, found)
        assert find(after) == [], (text, after)
        hits += bool(found)
    assert hits >= 500


def test_the_first_scan_hides_nothing(monkeypatch):
    """The cheap scan that most texts fail lets through whatever the patterns take."""
    texts = [row["text"] for row in ROWS] + random_texts(3000)
    quick = [find(text) for text in texts]
    monkeypatch.setattr(patterns, "MAYBE", re.compile(""))
    slow = [find(text) for text in texts]
    assert [text for text, a, b in zip(texts, quick, slow, strict=True) if a != b] == []


def test_mobile_prefixes():
    found = {f"1{n:02}" for n in range(100) if taken(f"请打1{n:02}24159206，谢谢") == [("mobile", f"1{n:02}24159206")]}
    assert found == {
        *(f"13{n}" for n in range(10)), *(f"14{n}" for n in "56789"), *(f"15{n}" for n in "012356789"),
        *(f"16{n}" for n in "2567"), *(f"17{n}" for n in "012345678"), *(f"18{n}" for n in range(10)),
        *(f"19{n}" for n in "012356789"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "kind, number", [("id_number", ID_NUMBER), ("bank_card", "6222021234567894"), ("bank_card", "4392258312345673")]
)
def test_one_wrong_digit_is_no_number_with_a_check(kind, number):
    assert taken(f"号码{number}，请核对") == [(kind, number)]
    for i, digit in enumerate(number):
        for other in set("0123456789") - {digit}:
            changed = f"{number[:i]}{other}{number[i + 1 :]}"
            assert (kind, changed) not in taken(f"号码{changed}，请核对")


@pytest.mark.parametrize("born", ["19530230", "19531301", "19530001", "18530412", "19990229"])
def test_an_identity_number_needs_a_day_of_birth(born):
    digits = f"110199{born}271"
    check = "10X98765432"[sum(int(digit) * 2 ** (17 - i) for i, digit in enumerate(digits)) % 11]
    assert find(f"号码{digits}{check}，请核对") == []


@pytest.mark.parametrize("number, kind", [(MOBILE, "mobile"), (ID_NUMBER, "id_number"), ("6222021234567894", "bank_card")])
@pytest.mark.parametrize(
    "label", ["订单号：", "病历号", "（订单编号 ", "住院号为", "样本编号：", "就诊卡号", "快递单号:", "Order No. "]
)
def test_the_label_before_decides(number, kind, label):
    assert taken(f"已查到，{number}，请核对") == [(kind, number)]
    assert find(f"已查到，{label}{number}，请核对") == []


@pytest.mark.parametrize(
    "text", [f"{MOBILE}ml", f"{MOBILE}拷贝", f"{MOBILE}号样本", f"0.{MOBILE}", f"A{MOBILE}", f"7{MOBILE}", f"{MOBILE}7"]
)
def test_units_and_neighbours_decide(text):
    assert find(f"结果{text}，复查") == []


def test_an_identity_number_with_a_slip_counts_under_its_label():
    wrong = ID_NUMBER[:-1] + ("3" if ID_NUMBER[-1] != "3" else "4")
    for label in ("身份证号", "身份证号码：", "我的身份证是 ", "證件號碼:", "sfz"):
        assert taken(f"{label}{wrong}，请核对") == [("id_number", wrong)], label
    for label in ("号码", "流水号", "身份证下面的条码", "ID "):
        assert find(f"{label}{wrong}，请核对") == [], label


@pytest.mark.parametrize("service", ["10086", "12580", "12320", "95588", "116114"])
def test_a_service_number_is_no_wechat_id(service):
    assert find(f"微信{service}可以挂号，微信号：{service}") == []
    assert taken(f"微信{service}77") == [("wechat", f"{service}77")]


def test_numbers_joined_to_each_other_are_all_found():
    landline = "0571-82345678"
    for join in ("-", "/", "、", " ", "，", "或"):
        numbers = [MOBILE, "13924159206", "15024159206"]
        assert taken(f"电话{join.join(numbers)}") == [("mobile", number) for number in numbers], join
    assert taken(f"{landline}，{MOBILE}{ID_NUMBER[:6]}") == [("landline", landline)]


def test_a_number_under_two_labels():
    assert taken(f"微信{MOBILE}") == [("wechat", MOBILE)]
    assert taken(f"微信同号{MOBILE}") == taken(f"手机/微信：{MOBILE}") == taken(f"{MOBILE}（微信同号）") == [("mobile", MOBILE)]
    assert taken("QQ/微信：28415920") == [("wechat", "28415920")]
    assert taken("微信/QQ：28415920") == [("qq", "28415920")]


def test_addresses_of_pages():
    page = "https://example.com/article/13824159206.html"
    assert find(f"见{page}") == []
    assert taken(f"见{page}，电话{MOBILE}") == [("mobile", MOBILE)]
    assert taken(f"见{page}?access_token=9f3ab27c61d8。") == [("url", f"{page}?access_token=9f3ab27c61d8")]


@pytest.mark.parametrize(
    "text", ["1 " * 20000, "http://a.cn/" * 10000, "eyJaaaaaaaaaaaa" * 60000, f"{MOBILE}-" * 2000, "微信：" * 20000]
)
def test_hostile_texts_end(text):
    """A pattern that reads such a text again and again would take minutes or hours."""
    assert len(find("微信 http://" + text)) <= 2000


def test_published_dialogues_have_no_false_hit(disc):
    """The 163 dialogues were read: they hold doses, values and dates, and nobody's number."""
    rows = [json.loads(line) for line in (disc / "disc_med_sft_163.jsonl").read_text(encoding="utf-8").splitlines()]
    texts = [turn["content"] for row in rows for turn in row["conversation"]]
    assert len(texts) > 800
    assert [taken(text) for text in texts if find(text)] == []
