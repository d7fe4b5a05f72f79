"""Held-out questions in dialogues: planted ones are found, whatever was done to them, and nothing else is."""

import json
import random

import pytest
from support.made import generator
from support.paths import SAMPLE

from medllm_hf.data.mcq import McqItem, load_items
from medllm_hf.data.screening.decontamination import counts_alone, fewest_edits, index, letters_of, search
from medllm_hf.data.screening.near_duplicates import letters, marked, normal

BANK = [(name, item) for name in ("train", "test") for item in load_items(str(SAMPLE / f"questions_{name}.jsonl"))]
SMALL_TALK = (
    "您好，这个问题我也想过很久，一直没有弄明白，麻烦您看一看：",
    "谢谢您的提问，建议保持良好的作息，有不舒服请及时就诊。",
)


def dialogue(asked, answered=SMALL_TALK[1]):
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def question(stem, *options, answer="A"):
    options = dict(zip("ABCDE", options or ("甲药", "乙药", "丙药", "丁药"), strict=False))
    return "bank", McqItem(stem, stem, options, frozenset(answer), "", "single")


def found(dialogues, bank=BANK):
    """{dialogue: the questions found in it}."""
    hits = search(index(bank), letters(normal([marked(messages) for messages in dialogues])))
    result = {i: set() for i in range(len(dialogues))}
    for hit in hits:
        result[hit.text].add(hit.question)
    return result


def with_other_signs(rng, text):
    """`text` with spaces put in, other punctuation and full-width letters."""
    signs = str.maketrans({"，": rng.choice([",", " ", "、"]), "？": "?", "。": "", "（": "(", "）": ")", "A": "Ａ", "1": "１"})
    text = text.translate(signs)
    for _ in range(3):
        place = rng.randrange(len(text))
        text = text[:place] + rng.choice([" ", "\n", "…", "\u3000"]) + text[place:]
    return text


def with_other_letters(rng, text, edits):
    """`text` with letters exchanged, put in or left out."""
    for _ in range(edits):
        place = rng.randrange(len(text) - 1)
        text = text[:place] + rng.choice(["", "呢", text[place] + "的", "人"]) + text[place + 1 :]
    return text


def as_asked(rng, item, stem):
    """The question with its options in another order."""
    options = list(item.options.values())
    rng.shuffle(options)
    return "\n".join([stem, *(f"{letter}. {text}" for letter, text in zip("ABCDE", options, strict=False))])


@pytest.mark.parametrize("edits", [0, 1, 2])
def test_planted_questions_are_all_found(edits):
    """All 256 questions of the sample, options shuffled, punctuation and white space changed, up to two letters edited."""
    rng = random.Random(edits)
    planted = [as_asked(rng, item, with_other_signs(rng, with_other_letters(rng, item.question, edits))) for _, item in BANK]
    result = found([dialogue(SMALL_TALK[0] + text) for text in planted])
    assert [BANK[i][1].question for i in result if i not in result[i]] == []


def test_planted_stems_are_found_without_options():
    """In either role; below ten letters of evidence a stem is too little by itself, and its answer makes up for that."""
    rng = random.Random(5)
    stems = [with_other_signs(rng, item.question) for _, item in BANK]
    asked, told = found([dialogue(stem) for stem in stems]), found([dialogue(*SMALL_TALK[:1], stem) for stem in stems])
    little = {i for i, (_, item) in enumerate(BANK) if not counts_alone(letters_of(item.question))}
    assert {i for i in asked if i not in asked[i]} == {i for i in told if i not in told[i]} == little
    assert len(little) == 27
    answered = found([dialogue(item.question, "答案：" + item.option_text(item.answer)) for _, item in BANK])
    assert [i for i in answered if i not in answered[i]] == []


def test_longer_stems_bear_more_edits():
    rng = random.Random(6)
    long = [i for i, (_, item) in enumerate(BANK) if len(letters_of(item.question)) >= 30]
    result = found([dialogue(with_other_letters(rng, BANK[i][1].question, 5)) for i in long])
    assert len(long) > 50
    assert [BANK[i][1].question for k, i in enumerate(long) if i not in result[k]] == []


STOCK_BANK = [
    question("患者，男，35岁"),
    question("患者，男，35岁，最可能的诊断是", "肺炎", "肺结核", "支气管炎", "肺癌"),
    question("下列说法正确的是", "青霉素不需要皮试", "流感由细菌引起", "阿司匹林可退热", "维生素C治疗贫血"),
    question("关于糖尿病的叙述，错误的是", "血糖升高", "可有多饮", "胰岛素不足", "一律不能怀孕"),
    question("为明确诊断，应首先进行的检查是", "脑脊液培养", "骨髓穿刺", "肝活检", "肾动脉造影"),
    question("该患者应首选的治疗药物是", "两性霉素B", "链霉素", "异烟肼", "氟康唑"),
    question("高血压的临床表现有", "夜尿增多", "肢体麻木", "鼻出血", "视物模糊"),
    question("诊断是", "甲", "乙"),
    question("咳嗽", "甲", "乙"),
]
STOCK_TEXTS = (
    "患者，男，35岁，",
    "患者，女，35岁，最可能的诊断是什么？",
    "下列说法正确的是哪一个呢？",
    "关于糖尿病的叙述，网上都是错误的吗？",
    "为明确诊断，应首先进行的检查是什么？",
    "该患者应首选的治疗药物是什么？",
    "高血压的临床表现有哪些？",
    "诊断是",
)


@pytest.mark.slow
def test_an_unrelated_corpus_gives_no_hit():
    """10,000 dialogues about the same diseases and drugs, half with exam phrases, and 10,265 held-out questions."""
    make = generator()
    rng = random.Random(11)
    dialogues = [make.conversation(rng) for _ in range(10_000)]
    for messages in dialogues[::2]:
        messages[0]["content"] = rng.choice(STOCK_TEXTS) + messages[0]["content"]
    stems = [make.sentence(rng, rng.choice(make.STEMS)) for _ in range(10_000)]
    bank = BANK + STOCK_BANK + [question(stem, *rng.sample(make.WORDS["药"], 4)) for stem in stems]
    result = found(dialogues, bank)
    assert {i: [bank[k][1].question for k in hits] for i, hits in result.items() if hits} == {}


def test_real_dialogues_hold_no_question(disc):
    rows = [json.loads(line) for line in (disc / "disc_med_sft_163.jsonl").read_text(encoding="utf-8").splitlines()]
    assert not any(found([row["conversation"] for row in rows]).values())


def test_stock_stems_are_found_with_their_options():
    for i, (_, item) in enumerate(STOCK_BANK[1:7], start=1):
        options = "\n".join(reversed(item.options.values()))
        result = found([dialogue(f"{item.question}\n{options}"), dialogue(item.question)], STOCK_BANK)
        assert (result[0], result[1]) == ({i}, set()), item.question


# Stems, their options and answer, and what people say that holds the words of the stem and not the question.
SHORT_STEMS = (
    ("帕金森综合征（ ）。", ("中年起病，步态慌张", "左旋多巴无效", "多有家族史", "静止时不抖"), "B",
     ("我父亲确诊帕金森综合征三年，吃美多芭还要注意什么？", "帕金森综合征和帕金森病是一回事吗")),
    ("甲状腺功能减退症的表现", ("怕热多汗", "心动过缓", "易饥消瘦", "突眼"), "B",
     ("甲状腺功能减退症的妈妈能喝牛奶吗？", "查出甲状腺功能减退症，会遗传给孩子吗")),
    ("系统性硬化症伴雷诺现象", ("抗Scl-70抗体阳性", "抗Jo-1抗体阳性", "抗SSB抗体阳性", "抗RNP抗体阴性"), "A",
     ("她得的是系统性硬化症伴雷诺现象，冬天手指发白",)),
    ("继发性免疫性血小板减少症", ("出血程度与贫血平行", "脾大明显", "骨髓增生低下", "网织红细胞减少"), "A",
     ("诊断写的是继发性免疫性血小板减少症，能打疫苗吗",)),
    ("治疗疥疮的首选药物是", ("硫磺软膏", "氧化锌", "炉甘石", "水杨酸"), "A", ("治疗疥疮的药物要用几天才能洗澡？",)),
    ("细菌感染引起的疾病是", ("丹毒", "水痘", "体癣", "疥疮"), "A", ("尿路感染是由细菌感染引起的疾病，多喝水会好吗",)),
    ("人乳头瘤病毒可引起", ("跖疣", "水痘", "麻疹", "幼儿急疹"), "A", ("这种跖疣是由人乳头瘤病毒引起的，会传染",)),
)  # fmt: skip


@pytest.mark.parametrize(("stem", "options", "answer", "said"), SHORT_STEMS)
def test_a_short_stem_counts_only_beside_its_options(stem, options, answer, said):
    """Real dialogues name the disease that a stem consists of, in a hundred cases for one that asks the question."""
    bank = [question(stem, *options, answer=answer)]
    assert not any(found([dialogue(text) for text in said], bank).values())
    right = dict(zip("ABCD", options, strict=False))[answer]
    asked = [dialogue(f"{stem} {options[2]} {options[0]}"), dialogue("\n".join([stem, *options]))]
    assert found(asked, bank) == {0: {0}, 1: {0}}
    # A stem that asks in so many words counts with its right answer too, one that may be a name does not.
    alone = found([dialogue(stem, f"答案：{right}")], bank)
    assert bool(alone[0]) == any(word in stem for word in ("是", "的", "引起", "导致"))


@pytest.mark.parametrize("stem", ["小儿骨骺端低度恶性肿瘤绝大部分发生于", "高龄房颤合并肾功能不全时抗凝药宜选用"])
def test_a_stem_whose_end_asks_counts_by_itself(stem):
    bank = [question(stem, "桡骨", "股骨", "胫骨", "肋骨")]
    assert found([dialogue(f"想问{stem}什么")], bank) == {0: {0}}
    assert found([dialogue(stem[:-3])], bank) == {0: set()}


def test_other_questions_on_one_pattern_are_not_confused():
    bank = [question("关于胃癌的叙述，正确的是", "多见于胃窦", "与幽门螺杆菌有关", "早期可无症状", "多为腺癌")]
    others = ["关于肝癌的叙述，正确的是", "关于胃癌的说法，您看正确吗"]
    assert not any(found([dialogue(other) for other in others], bank).values())


def test_one_stem_with_several_sets_of_options_names_the_right_question():
    stem = "老年男性进行性排尿困难最常见的原因是"
    bank = [question(stem, "尿道结石", "膀胱肿瘤", "前列腺增生"), question(stem, "糖尿病", "包茎", "神经源性膀胱")]
    result = found([dialogue(f"{stem} 糖尿病 包茎 神经源性膀胱"), dialogue(f"{stem} 膀胱肿瘤 前列腺增生 尿道结石")], bank)
    assert result == {0: {1}, 1: {0}}


def test_stems_that_are_too_short_are_counted():
    assert index([question("心"), question("心电图"), question("心电图波")]).unsearched == 2


def test_english_questions():
    bank = [question("Which of the following is true about?"), question("Deficiency of which vitamin causes night blindness?")]
    texts = [
        "Is it true? Which of the following is true about diabetes",
        "Q: deficiency of which Vitamin causes nightblindness",
    ]
    assert found([dialogue(text) for text in texts], bank) == {0: set(), 1: {1}}


def test_fewest_edits_against_the_full_table():
    def table(pattern, text):
        row = [0] * (len(text) + 1)
        for i, one in enumerate(pattern, start=1):
            new = [i]
            for k, other in enumerate(text, start=1):
                new.append(min(row[k - 1] + (one != other), row[k] + 1, new[-1] + 1))
            row = new
        return min(row), row.index(min(row))

    rng = random.Random(1)
    for _ in range(3000):
        pattern = [rng.randrange(4) for _ in range(rng.randint(1, 9))]
        text = [rng.randrange(4) for _ in range(rng.randint(0, 15))]
        assert fewest_edits(pattern, text) == table(pattern, text)
