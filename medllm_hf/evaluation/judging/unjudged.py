"""Consultations that nobody has judged, as the report takes them beside judged ones: what was counted and matched of them."""

from medllm_hf.evaluation.judging.consult_runs import load_consult_run
from medllm_hf.evaluation.judging.derive import JudgeRun, is_judged, load_judge_run
from medllm_hf.evaluation.judging.dialogues import gate_in
from medllm_hf.evaluation.judging.judged import Judged, Unscored
from medllm_hf.evaluation.judging.reasons import gate_reasons
from medllm_hf.evaluation.judging.records import Dialogue, Item
from medllm_hf.evaluation.runs.folder import FinishedRun

NOT_JUDGED = "no judge has seen it"


def load_talks(name: str, run: FinishedRun) -> JudgeRun:
    """The judge run in `run`, which `read_run` gave; of consultations without a judge, a run without rubric and scores.

    Raises:
        UserError: see `load_judge_run` and `load_consult_run`.
    """
    if is_judged(run):
        return load_judge_run(name, run)
    found = load_consult_run(name, run)
    model, gate = found.stored.manifest["doctor"]["id"], gate_in(run["metrics"], name)
    metrics: dict = {"axes": {model: {}}, "headline": None, "no_headline": [one.en for one in gate_reasons(gate)]}
    manifest = {"systems": [model], **({"patient_gate": gate} if gate else {})}
    figures = found.figures | {"patient": found.stored.manifest["patient"]["id"]}
    held = {key: run[key] for key in ("manifest", "scores")}
    return JudgeRun(name, manifest, metrics, [_unjudged(one) for one in found.dialogues], figures, {}, held)


def _unjudged(one: Dialogue) -> Judged:
    item: Item = {
        "scores": {}, "overall": None, "unscored": NOT_JUDGED, "samples": [], "replies": [],
        "doctor_characters": sum(len(turn["content"]) for turn in one["turns"] if turn["role"] == "doctor"),
    }  # fmt: skip
    return Judged(one, [], [], Unscored(NOT_JUDGED), item)
