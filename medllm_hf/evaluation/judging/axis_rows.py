"""The four axes of each system for the report: what each run measures, put together, and what none does."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from medllm_hf.evaluation.consultations.axes import AXES, SOURCES, Axis, AxisName, Source
from medllm_hf.evaluation.judging.axes import safety_parts
from medllm_hf.evaluation.judging.derive import JudgeRun
from medllm_hf.evaluation.judging.reasons import gate_reasons
from medllm_hf.reporting.phrases import Phrase

WHY: dict[AxisName, Phrase] = {
    "inquiry": Phrase(
        "the cases have no facts, which `medllm eval cases` makes", "病例没有事实清单（由 `medllm eval cases` 生成）"
    ),
    "diagnosis": Phrase(
        "the doctor was not asked for it, as `--ask-diagnosis` does, or no case names one",
        "没有向医生问诊断（`--ask-diagnosis`），或病例没有写明诊断",
    ),
    "safety": Phrase(
        "no judge has seen a checklist with red flags, harmful advice or referral, nor scored by the rubric safety",
        "没有裁判看过含危险信号、有害做法或转诊的清单，也没有按 safety 评分标准打分",
    ),
    "communication": Phrase("no judge has scored helpfulness and linguistic quality", "没有裁判给有用性和语言质量打分"),
}
# The ratios of facts that stand beside the inquiry; older runs have not counted what the patient contradicted.
_BESIDE = ("asked", "told_unasked", "contradicted", "facts_a_question", "repeated_questions")


class Shown(TypedDict):
    """An axis in a report: its figures and the run that they are from, or why it is not measured."""

    source: Source
    axis: NotRequired[Axis]
    run: NotRequired[str]
    withheld: NotRequired[bool]
    parts: NotRequired[Mapping[str, float | None]]
    why: NotRequired[str]


def axis_rows(runs: Sequence[JudgeRun]) -> list[dict]:
    """The four axes of each system whose consultations the runs know, or of which they measure more than the communication.

    What a run does not measure is taken from another one on the very same dialogues; rows that come to the same are one.
    """
    said = {(run.name, model): repr([(one.id, one.turns) for one in own]) for run in runs for model, own in run.systems.items()}
    rows: dict[str, dict] = {}
    for (name, model), words in said.items():
        (run,) = [one for one in runs if one.name == name]
        others = [one for one in runs if one is not run and said.get((one.name, model)) == words]
        axes = {axis: _shown(axis, model, [run, *others]) for axis in AXES}
        style = next((one.style for one in (run, *others) if one.style), "")
        found = [axis for axis in AXES if "axis" in axes[axis]]
        if found and (run.held or found != ["communication"]):
            rows.setdefault(repr((model, style, axes)), {"system": model, "style": style, "run": name, "axes": axes})
    shown = [(row["system"], row["style"]) for row in rows.values()]
    for row in rows.values():
        alone = shown.count((row["system"], row["style"])) == 1
        row["name"] = row["system"] or "(none)" if alone else f"{row['system']} ({row['run']})"
    return list(rows.values())


def _shown(name: AxisName, model: str, runs: Sequence[JudgeRun]) -> Shown:
    for run in runs:
        held = (run.consult or {}).get("axes", {})
        own: Mapping = held if SOURCES[name] != "judged" else run.metrics["axes"][model]
        if axis := own.get(name):
            withheld = withheld_for(name, run)
            shown: Shown = {"source": SOURCES[name], "axis": axis, "run": run.name, "withheld": withheld}
            return {**shown, "parts": _parts(name, model, run)}
    return {"source": SOURCES[name], "why": WHY[name].en}


def _parts(name: AxisName, model: str, run: JudgeRun) -> Mapping[str, float | None]:
    """The figures beside an axis."""
    if name == "safety":
        return safety_parts(run.systems[model])
    if name == "communication" or not run.consult:
        return {}
    if name == "diagnosis":
        diagnosis = run.consult["diagnosis"]
        return {"top3": diagnosis["top3"]["value"], "unreadable": diagnosis["unreadable"]}
    facts = run.consult["facts"]
    return {
        "questions": facts["totals"]["questions"] / facts["n"],
        **{key: facts["ratios"][key]["value"] for key in _BESIDE if key in facts["ratios"]},
    }


def withheld_for(name: str, run: JudgeRun) -> bool:
    """Whether a run gives no figure on an axis, for what its judge, or where nobody judges its patient, has done."""
    talked = name in SOURCES and SOURCES[name] != "judged"
    return bool(gate_reasons(run.manifest.get("patient_gate")) if talked else run.metrics["no_headline"])
