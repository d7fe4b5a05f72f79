"""Rubric benchmarks: rows in the published layouts in, exact cases out, and what is none is reported with its place."""

import json
from pathlib import Path

import pytest

from medllm_hf.data.files import BadRow
from medllm_hf.data.rubric_benchmarks import benchmark_of, physician_labels, read_answers, rubric_cases
from medllm_hf.errors import UserError

POINTS = [{"criterion": "Asks how long.", "points": 7, "tags": ["axis:completeness"]}, {"criterion": "Guesses.", "points": -4}]
HEALTHBENCH = {
    "prompt_id": "p-1",
    "prompt": [
        {"role": "user", "content": "My knee hurts."},
        {"role": "assistant", "content": "Since when?"},
        {"role": "user", "content": "Since May."},
    ],
    "rubrics": POINTS,
    "example_tags": ["physician_agreed_category:x", "theme:context_seeking"],
    "ideal_completions_data": None,
    "canary": "healthbench:0",
}
META = {
    "prompt_id": "p-1",
    "completion_id": "c-1",
    "prompt": [{"role": "user", "content": "膝盖疼"}],
    "completion": "疼了多久？",
    "rubric": "Asks for context.",
    "category": "cluster:context",
    "binary_labels": [True, False],
    "anonymized_physician_ids": ["a", "b"],
    "canary": "healthbench:0",
}
LIVE = {
    "case_id": "7",
    "post_time": "2025-01-01T00:00:00",
    "narrative": "男，40岁，腹痛两天。",
    "core_request": "需要去急诊吗？",
    "doctor_advice": "去。",
    "rubric_items": [{"criterion": "是否建议尽快就诊？", "points": 10}, {"criterion": "是否误荐止痛药？", "points": -5}],
}
CLIN = {
    "case_id": "CC-0001",
    "difficulty": "low",
    "subject_labels": ["心内科", "急诊"],
    "clinical_context": "女，62岁，胸闷。",
    "user_request": "请给出处理建议。",
    "rubrics": ["提到心电图", {"criterion": "提到肌钙蛋白"}],
}


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("row", "name", "licence", "case"),
    [
        (
            HEALTHBENCH,
            "HealthBench",
            "MIT",
            (
                "p-1",
                "p-1",
                "context_seeking",
                "user: My knee hurts.\n\nassistant: Since when?\n\nuser: Since May.",
                [7, -4],
                None,
            ),
        ),
        (META, "HealthBench meta evaluation", "MIT", (None, "p-1", "cluster:context", "膝盖疼", [1], "疼了多久？")),
        (LIVE, "LiveMedBench", "MIT", ("7", "7", "", "男，40岁，腹痛两天。\n\n需要去急诊吗？", [10, -5], None)),
        (
            CLIN,
            "ClinConsensus",
            "CC-BY-4.0",
            ("CC-0001", "CC-0001", "心内科", "女，62岁，胸闷。\n\n请给出处理建议。", [1, 1], None),
        ),
    ],
)
def test_published_layouts(tmp_path, row, name, licence, case):
    path = write(tmp_path / "rows.jsonl", row)
    benchmark = benchmark_of(path)
    assert benchmark and (benchmark.name, benchmark.licence) == (name, licence)
    (found,) = rubric_cases(benchmark, path)
    weights = [point["weight"] for point in found.points]
    assert (case[0] or found.id, *case[1:]) == (found.id, found.case_id, found.group, found.question, weights, found.answer)
    listed = tmp_path / "rows.json"
    listed.write_text(json.dumps([row]), encoding="utf-8")
    assert rubric_cases(benchmark, str(listed)) == [found]


def test_another_one_s_rows_in_the_layout_of_healthbench_have_no_licence_of_its_publishers(tmp_path):
    row = {key: value for key, value in HEALTHBENCH.items() if key != "canary"}
    found = benchmark_of(write(tmp_path / "rows.jsonl", row))
    assert found and (found.name, found.licence) == ("HealthBench layout", "not told by the file")


def test_what_is_no_benchmark(tmp_path):
    assert benchmark_of(write(tmp_path / "d.jsonl", {"id": "1", "turns": []})) is None
    assert benchmark_of(write(tmp_path / "list.jsonl", ["prompt"])) is None
    assert benchmark_of(write(tmp_path / "none.jsonl")) is None
    assert benchmark_of(str(tmp_path / "absent.jsonl")) is None


@pytest.mark.parametrize(
    ("row", "change", "said"),
    [
        (HEALTHBENCH, {"prompt": []}, "prompt: no messages of user and assistant"),
        (HEALTHBENCH, {"prompt": [{"role": "system", "content": "x"}]}, "prompt: no messages of user and assistant"),
        (HEALTHBENCH, {"prompt": HEALTHBENCH["prompt"][:2]}, "prompt: the last message is not the user's"),
        (HEALTHBENCH, {"prompt_id": True}, "prompt_id: no text"),
        (HEALTHBENCH, {"rubrics": []}, "rubrics: no list of points"),
        (HEALTHBENCH, {"rubrics": POINTS[1:]}, "rubrics: no point above 0"),
        (HEALTHBENCH, {"rubrics": [*POINTS, {"criterion": "x", "points": "5"}]}, "rubrics[2]: no criterion with points"),
        (META, {"completion": None}, "completion: no text"),
        (META, {"rubric": ""}, "rubric: no text"),
        (LIVE, {"core_request": None}, "core_request: no text"),
        (CLIN, {"rubrics": [1]}, "rubrics[0]: no criterion with points"),
        (CLIN, {"case_id": "CC-0001"}, "id: CC-0001 a second time"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, change, said):
    other = {key: "p-2" for key in ("prompt_id",) if key in row}
    path = write(tmp_path / "rows.jsonl", row, {**row, **other, **change})
    with pytest.raises(UserError) as error:
        rubric_cases(benchmark_of(path), path)
    assert f"rows.jsonl:2 {said}" in str(error.value)


def test_answers_in_the_layouts_of_several_tools(tmp_path):
    rows = [
        {"prompt_id": "p-1", "completion": "a"},
        {"case_id": 7, "model_response": "b", "model": "m-7b"},
        {"id": "CC-0001", "response": "", "model": "m-7b"},
    ]
    assert read_answers(write(tmp_path / "a.jsonl", *rows)) == {"": {"p-1": "a"}, "m-7b": {"7": "b", "CC-0001": ""}}
    for bad, said in (({"id": "x"}, "no answer of a case"), (rows[0], "a second answer to p-1")):
        with pytest.raises(UserError, match=said):
            read_answers(write(tmp_path / "b.jsonl", rows[0], bad))


def test_labels_of_the_meta_evaluation(tmp_path):
    path = write(tmp_path / "rows.jsonl", META)
    (case,) = rubric_cases(benchmark_of(path), path)
    assert list(physician_labels(META)) == [(case.id, "physician 1", True), (case.id, "physician 2", False)]
    assert case.id.startswith("p-1/c-1/") and case.id != list(physician_labels({**META, "rubric": "Other."}))[0][0]
    for labels in (None, [], [1, 0], ["true"]):
        with pytest.raises(BadRow):
            list(physician_labels({**META, "binary_labels": labels}))
