"""The sentence that a report of several exam runs begins with: above, below, or no difference shown."""

import pytest
from support.exam_runs import answered, as_shown, questions, reported, right_with, run_folder, two_runs

from medllm_hf.evaluation.exams.headline import headlines


def row(difference, low, high, p, **more):
    given = {"first": "lora", "second": "before", "n": 128, "counted": "first", "settings_differ": []}
    return given | {"difference": difference, "interval_low": low, "interval_high": high, "p": p, "p_holm": p} | more


def sentences(*rows):
    return [(one["en"], one["zh"]) for one in headlines("before", list(rows), "all")]


@pytest.mark.parametrize(
    ("found", "en", "zh"),
    [
        (
            row(45 / 128, 0.2704, 0.4287, 1e-9),
            "lora is 35.2 points above before on the same questions (95% interval +27.0 to +42.9, McNemar p < 0.001, n = 128).",
            "在同一批题目上，lora 比 before 高 35.2 个百分点（95% 区间 +27.0 至 +42.9，McNemar 检验 p < 0.001，n = 128）。",
        ),
        (
            row(-0.05, -0.081, -0.019, 0.0021),
            "lora is 5.0 points below before on the same questions (95% interval -8.1 to -1.9, McNemar p = 0.002, n = 128).",
            "在同一批题目上，lora 比 before 低 5.0 个百分点（95% 区间 -8.1 至 -1.9，McNemar 检验 p = 0.002，n = 128）。",
        ),
        (
            row(-1e-9, -0.03, 0.03, 1.0),
            "No difference between lora and before is shown on the same questions: +0.0 points "
            "(95% interval -3.0 to +3.0, McNemar p = 1.000, n = 128).",
            "在同一批题目上，未显示出 lora 与 before 有差异：+0.0 个百分点"
            "（95% 区间 -3.0 至 +3.0，McNemar 检验 p = 1.000，n = 128）。",
        ),
    ],
)
def test_above_below_and_not_shown(found, en, zh):
    assert sentences(found) == [(en, zh)]


def test_what_else_a_reader_must_know_stands_in_the_sentence():
    ((en, zh),) = sentences(row(0.3, 0.2, 0.4, 0.0, counted="all", settings_differ=["prompt_sha256", "chat_template"]))
    assert "n = 128, right in all rotations); their settings differ too (prompt, chat template)." in en
    assert "各轮换均答对才计" in zh and "两者的设置也不同（提示词、对话模板）。" in zh


def test_several_runs_stand_against_the_first_with_the_corrected_p():
    rows = [row(0.1, 0.01, 0.2, 0.03, p_holm=0.09), row(0.2, 0.1, 0.3, 0.001, first="dpo", p_holm=0.003)]
    rows.append(row(0.1, 0.0, 0.2, 0.04, first="dpo", second="lora", p_holm=0.09))
    found = headlines("before", rows, "all")
    assert [(one["run"], one["against"], one["shown"]) for one in found] == [("lora", "before", False), ("dpo", "before", True)]
    assert "McNemar p = 0.090, Holm, n" in found[0]["en"] and "p = 0.003（Holm 校正）" in found[1]["zh"]


def test_the_report_begins_with_it_in_both_languages(tmp_path, capsys):
    runs = two_runs(tmp_path, shots=5)
    results, text = reported(tmp_path, *runs)
    (one,) = results["datasets"][0]["headlines"]
    (difference,) = results["datasets"][0]["comparisons"]
    points = f"{100 * difference['difference']:.1f}"
    assert one["en"].startswith(f"strong is {points} points above weak on the same questions (95% interval +") and one["shown"]
    assert one["en"].endswith("their settings differ too (shots).") and difference["settings_differ"] == ["shots"]
    lines = text.splitlines()
    place = lines.index("## exam.jsonl")
    assert lines[place + 2] == one["en"].replace("<", "&lt;") and f"strong 比 weak 高 {points} 个百分点" in one["zh"]
    assert capsys.readouterr().out.splitlines()[-1] == one["en"]
    again, chinese = reported(tmp_path, *runs, out="zh", language="zh")
    lines = chinese.splitlines()
    assert lines[lines.index("## exam.jsonl") + 2] == one["zh"].replace("<", "&lt;") and again == results
    assert capsys.readouterr().out.splitlines()[-1] == one["zh"]


def test_one_run_has_none_and_runs_of_other_questions_neither(tmp_path, capsys):
    rows = as_shown(questions(20))
    runs = [run_folder(tmp_path / "a", answered(rows, right_with(0.5, 1)))]
    runs.append(run_folder(tmp_path / "b", answered(rows, right_with(0.5, 1)), data={"sha256": "00" * 32}))
    results, text = reported(tmp_path, *runs)
    assert [one["headlines"] for one in results["datasets"]] == [[], []] and "on the same questions" not in text


def test_forty_runs_are_told_in_part(tmp_path):
    rows = as_shown(questions(12))
    runs = [run_folder(tmp_path / f"run{i}", answered(rows, right_with(0.5, i))) for i in range(24)]
    results, text = reported(tmp_path, *runs)
    assert len(results["datasets"][0]["headlines"]) == 23 and "3 more are in results.json." in text
    assert "Each run against the first, run0." in text and text.count(" and run0 is shown") == 20
