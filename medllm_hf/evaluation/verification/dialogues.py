"""Published consultations and their scores by a judge, done again from what was said: no model is asked."""

from collections.abc import Sequence

from medllm_hf.evaluation.consultations.cases import Case, read_cases
from medllm_hf.evaluation.consultations.derive import metrics, score_row
from medllm_hf.evaluation.consultations.transcript import dialogue, is_refused
from medllm_hf.evaluation.costs.prices import with_cost
from medllm_hf.evaluation.judging.canaries import canaries
from medllm_hf.evaluation.judging.derive import derive, load_metric
from medllm_hf.evaluation.judging.dialogues import record
from medllm_hf.evaluation.preferences.canaries import pair_canaries
from medllm_hf.evaluation.preferences.derive import SIDES, output_ids, pair_metrics, pair_rows, pairs_in
from medllm_hf.evaluation.verification.findings import (
    CONFIRMED,
    UNKNOWN,
    Finding,
    Known,
    compared,
    key_finding,
    metric_findings,
    row_finding,
)


def consultations(where: str, run: dict, known: Known, dialogues: Sequence[dict]) -> list[Finding]:
    """The findings on a consult run, which `read_run` gave, and its dialogues.jsonl.

    Who the patient was is in the cases; without them, all is done again but what compares with their diagnoses.
    """
    manifest, scores, outputs = run["manifest"], run["scores"], run["outputs"]
    data, name = manifest["data"], f"{where}/manifest.json"
    path = known.files.get(data["sha256"])
    if path:
        cases = list(read_cases(str(path)).items)
        hashed = Finding(f"{name} data.sha256", CONFIRMED, data["name"])
    else:
        cases = [Case(row["case_id"], row["source"], row["group"], "") for row in scores]
        hashed = Finding(f"{name} data.sha256", UNKNOWN, f"{data['name']} is not at hand; name it with --data")
    talks = {case.id: [row for row in outputs if row["case"] == case.id] for case in cases}
    records = [dialogue(case, talks[case.id], manifest["doctor"]["id"]) for case in cases]
    rows = [score_row(case, talks[case.id], one) for case, one in zip(cases, records, strict=True)]
    if not path:
        rows = [{**row, "said_diagnosis": stored["said_diagnosis"]} for row, stored in zip(rows, scores, strict=True)]
    wanted = [(case.id, turn) for case in cases for turn in range(len(talks[case.id]))]
    whole = [one for case, one in zip(cases, records, strict=True) if not is_refused(talks[case.id])]
    said = {} if path else {f"{where}/scores.jsonl said_diagnosis": f"{data['name']} is not at hand"}
    return [
        compared(f"{name} doctor.weights_sha256", known.weights, manifest["doctor"]["weights_sha256"]),
        hashed,
        compared(f"{name} data.n", len(cases), data["n"]),
        key_finding(f"{where}/outputs.jsonl", outputs, wanted, ("case", "turn")),
        row_finding(f"{where}/dialogues.jsonl", whole, dialogues),
        row_finding(f"{where}/scores.jsonl", rows, scores),
        *metric_findings(f"{where}/metrics.json", with_cost(metrics(rows, outputs), manifest), run["metrics"]),
        *(Finding(figure, UNKNOWN, why) for figure, why in said.items()),
    ]


def judgements(where: str, run: dict, dialogues: Sequence[dict]) -> tuple[list[Finding], dict]:
    """The findings on a judge run of the `dialogues`, and the metrics that follow from the judge's replies."""
    manifest, metric = run["manifest"], load_metric()
    rubric, settings, name = manifest["rubric"], manifest["settings"], f"{where}/manifest.json"
    names = [one["id"] for one in dialogues]
    stored = [row for row in run["scores"] if row["sample"] == 0]
    # A reference, which a rubric may want, is not part of the dialogue.
    references = {row["id"]: {"reference": row["reference"]} for row in stored if "reference" in row}
    dialogues = [{**one, **references.get(one["id"], {})} for one in dialogues]
    told = record(dialogues, manifest["data"]["name"])
    first = canaries(rubric["name"] == "checklist")
    wanted = [(one["id"], 0) for one in first] + [(one, i) for one in names for i in range(settings["samples"])]
    lines = key_finding(f"{where}/outputs.jsonl", run["outputs"], wanted, ("id", "sample"))
    found = [
        *(compared(f"{name} data.{key}", told[key], manifest["data"][key]) for key in ("sha256", "n")),
        *(
            compared(f"{name} rubric.{key}", value, rubric.get(key))
            for key, value in metric.rubric_record(rubric["name"], rubric["language"]).items()
        ),
        compared(f"{name} systems", list(dict.fromkeys(one["model"] for one in dialogues)), manifest["systems"]),
        lines,
    ]
    if lines.state != CONFIRMED:
        return [*found, Finding(f"{where}/metrics.json", UNKNOWN, "its outputs are not whole")], {}
    derived = derive(manifest, run["outputs"], dialogues)
    found.append(row_finding(f"{where}/scores.jsonl", derived.scores, run["scores"]))
    return [*found, *metric_findings(f"{where}/metrics.json", derived.metrics, run["metrics"])], derived.metrics


def preferences(where: str, run: dict) -> list[Finding]:
    """The findings on a comparison of two systems, which `read_run` gave; its dialogues are in its scores.jsonl."""
    manifest, metric, name = run["manifest"], load_metric(), f"{where}/manifest.json"
    pairs, low, samples = pairs_in(run["scores"]), pair_canaries(), manifest["settings"]["samples"]
    found = []
    for side in SIDES:
        own, stored = [pair[side] for pair in pairs], manifest["data"][side]
        told = record(own, stored["name"])
        found += [compared(f"{name} data.{side}.{key}", told[key], stored[key]) for key in ("sha256", "n")]
        found.append(compared(f"{name} systems.{side}", own[0]["model"], manifest["systems"][side]))
    asked = metric.pair_record(manifest["rubric"]["language"])
    found += [compared(f"{name} rubric.{key}", value, manifest["rubric"].get(key)) for key, value in asked.items()]
    wanted = [*output_ids(low, 1), *output_ids(pairs, samples)]
    lines = key_finding(f"{where}/outputs.jsonl", run["outputs"], wanted, ("id", "sample"))
    found.append(lines)
    if lines.state != CONFIRMED:
        return [*found, Finding(f"{where}/metrics.json", UNKNOWN, "its outputs are not whole")]
    outputs = {(row["id"], row["sample"]): row for row in run["outputs"]}
    rows = pair_rows(metric, pairs, outputs, samples)
    derived = with_cost(pair_metrics(rows, outputs, pair_rows(metric, low, outputs, 1), manifest), manifest)
    found.append(row_finding(f"{where}/scores.jsonl", rows, run["scores"]))
    return [*found, *metric_findings(f"{where}/metrics.json", derived, run["metrics"])]
