"""Cases of DISC's three published sets and of one's own files."""

import json

import pytest
from support.consulting import write_cases

from medllm_hf.errors import UserError
from medllm_hf.evaluation.consultations.cases import Case, read_cases, summary

OWN = {"id": "a", "description": "咳嗽三天", "first_question": "怎么办？", "diagnosis": "支气管炎", "group": "内科"}


@pytest.mark.parametrize(
    ("name", "source", "count", "groups", "first"),
    [
        ("CMB-cases", "CMB-clin", 73, {"": 73}, "0"),
        ("cmd_samples", "CMD", 120, dict.fromkeys(("儿科", "内科", "外科", "妇产科", "男科", "肿瘤科"), 20), "0-36638"),
        ("cmid_samples", "CMID", 120, dict.fromkeys(("病症", "药物", "治疗方案", "其他"), 30), "1-6020"),
    ],
)
def test_the_published_sets(disc, name, source, count, groups, first):
    """All rows are read, with the ids, groups and first words of the published dialogues, and without the doctor's answers."""
    file = disc / "eval" / "samples" / f"{name}.json"
    read = read_cases(str(file))
    assert {case.source for case in read.items} == {source}
    assert len(read.items) == read.record["n"] == count
    assert read.items[0].id == first
    found = [case.group for case in read.items]
    assert {group: found.count(group) for group in found} == groups
    assert f"{count} cases of {source}: {count} with a first question" in summary(read.items)
    talks = json.loads((disc / "eval" / "dialogues" / f"gpt-4_{source.lower()}.json").read_text(encoding="utf-8"))
    opened = {talk["id"]: talk["conversation"][0]["content"].strip() for talk in talks}
    assert all(opened[case.id] == case.first_question for case in read.items)
    for case, row in zip(read.items, json.loads(file.read_text(encoding="utf-8")), strict=True):
        assert case.description == row.get("case", row.get("question")).strip()
        if "raw_anwser" in row:
            assert row["raw_anwser"].strip() not in repr(case)


def test_own_cases(tmp_path):
    rows = [OWN, {"id": 7, "case": " 头晕 ", "group": None, "other": [1]}, {"id": "c", "source": "S", "question": "能跑步吗？"}]
    read = read_cases(write_cases(tmp_path / "mine.jsonl", rows))
    assert read.items == (
        Case("a", "mine", "内科", "咳嗽三天", "怎么办？", "支气管炎"),
        Case("7", "mine", "", "头晕"),
        Case("c", "S", "", "能跑步吗？", "能跑步吗？"),
    )
    assert read.record["name"] == "mine.jsonl"
    assert summary(read.items) == "3 cases of mine, S: 2 with a first question; groups 内科 1, (none) 2; 1 with a diagnosis"


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ([], "row: a list"),
        ({"case": "头痛"}, "id: missing"),
        ({"id": True, "case": "头痛"}, "id: not a text"),
        ({"id": "b", "case": "  "}, "description: missing or empty"),
        ({"id": "b", "description": 3}, "description: not a text"),
        ({"id": "b", "case": "头痛", "group": 1}, "group: not a text"),
        ({"id": "b", "case": "头\ud800痛"}, "case: text that is not valid Unicode"),
        (OWN, "id: 'a' a second time"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_row_is_named_by_its_line(tmp_path, refused, row, named):
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(json.dumps(one) for one in (OWN, row)), encoding="utf-8")
    told = refused("eval", "consult", "--cases", str(file), "--doctor", "d", "--patient", "p", "--out", str(tmp_path / "out"))
    assert f"mine.jsonl:2 {named}" in told
    assert not (tmp_path / "out").exists()


def test_several_bad_rows_are_counted(tmp_path, refused):
    file = write_cases(tmp_path / "mine.jsonl", [{"id": str(i)} for i in range(5)])
    told = refused("eval", "consult", "--cases", file, "--doctor", "d", "--patient", "p", "--out", str(tmp_path / "out"))
    assert all(f"mine.jsonl:{line} description" in told for line in (1, 2, 3))
    assert "and 2 more" in told


def test_no_cases(tmp_path, refused):
    empty = write_cases(tmp_path / "mine.jsonl", [])
    for path, named in ((empty, "no cases in"), (str(tmp_path / "none.jsonl"), "no file")):
        told = refused("eval", "consult", "--cases", path, "--doctor", "d", "--patient", "p", "--out", str(tmp_path / "out"))
        assert named in told


NEAR = {
    "facts": {"fact": [{"kind": "symptom", "text": "头痛"}]},
    "diagnosis": {"diagnose": "偏头痛"},
    "first_question": {"first question": "怎么办？"},
    "aliases": {"facts": [{"id": "a", "kind": "symptom", "text": "头痛", "alias": ["疼"]}]},
    "weight": {"checklist": [{"kind": "must_ask", "point": "问头痛多久", "weights": 2}]},
}


@pytest.mark.parametrize("meant", NEAR)
def test_a_key_that_is_nearly_one_is_not_left_out_in_silence(tmp_path, meant):
    file = write_cases(tmp_path / "mine.jsonl", [{"id": "a", "description": "头痛三天", **NEAR[meant]}])
    with pytest.raises(UserError, match=f"the key .*write '{meant}'"):
        read_cases(file)


def test_other_keys_are_free_and_facts_are_counted_with_ids_of_their_own(tmp_path):
    facts = [{"kind": "symptom", "text": "头痛"}, {"kind": "duration", "text": "三天"}]
    point = {"kind": "must_ask", "point": "问头痛多久"}
    rows = [
        {"id": "a", "description": "头痛三天", "facts": facts, "date": "x", "notes": 1, "questions": [], "question_type": "y"},
        {"id": "b", "description": "头痛三天", "checklist": [point], "diagnosis": "偏头痛"},
    ]
    read = read_cases(write_cases(tmp_path / "mine.jsonl", rows)).items
    assert read[0].facts and [fact.id for fact in read[0].facts.facts] == ["symptom-1", "duration-2"]
    assert summary(read).endswith("1 with facts, 1 with a checklist; 1 with a diagnosis")
    bad = write_cases(tmp_path / "bad.jsonl", [{"id": "a", "description": "头痛", "facts": [{"kind": "symptom"}]}])
    with pytest.raises(UserError, match=r"facts\[0\]\.text: missing"):
        read_cases(bad)
