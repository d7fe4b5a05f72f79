"""What the report says of judge runs, as values: everything that its tables and plots show."""

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from statistics import fmean
from typing import cast

from medllm_hf.evaluation.agreement.measures import alpha, compare, quadratic_kappa
from medllm_hf.evaluation.agreement.report import Place, Ratings, overall_of
from medllm_hf.evaluation.judging.axis_rows import axis_rows, withheld_for
from medllm_hf.evaluation.judging.cases import shown
from medllm_hf.evaluation.judging.derive import (
    Judged,
    JudgeRun,
    Scored,
    Unscored,
    family,
    judge_label,
    judge_text,
    self_preference,
)
from medllm_hf.evaluation.judging.paired_differences import System, comparisons, systems_of
from medllm_hf.evaluation.judging.reasons import NO_CANARIES, OWN_PATIENT, SAME_SCORES, gate_reasons, headline_reasons
from medllm_hf.evaluation.judging.records import JudgeManifest
from medllm_hf.evaluation.judging.style_drops import style_drops
from medllm_hf.evaluation.statistics.bootstrap import FEWEST
from medllm_hf.metrics.llm_judge import scoring

# The share of full marks from which on a criterion is said to be at its ceiling.
CEILING = 0.5
_POOLED = ("ceiling", "distribution", "length")


def judge_sets(runs: list[JudgeRun]) -> list[list[JudgeRun]]:
    """The judged runs that can stand in one table: those of one judge, which was shown the same, one rubric and dialogues from
    the same sources."""
    sets: dict[str, list[JudgeRun]] = {}
    for run in (one for one in runs if one.is_judged):
        sources = sorted({case[0] for case in (one.case for one in run.dialogues)})
        sets.setdefault(repr((run.manifest["judge"], _shown(run), run.manifest["rubric"], sources)), []).append(run)
    return list(sets.values())


def _shown(run: JudgeRun) -> str:
    return shown(one.dialogue for one in run.dialogues)


def judge_values(runs: list[JudgeRun]) -> dict:
    """The content of results.json: one entry a set, and what is said across sets."""
    pairs = combinations([run for run in runs if run.is_judged], 2)
    return {
        "kind": "judge",
        "axes": axis_rows(runs),
        "styles": style_drops(runs),
        "sets": [_set(members) for members in judge_sets(runs)],
        "agreement": [row for pair in pairs if (row := _agreement(*pair)) is not None],
        "consultations": [_consultation(run, run.consult) for run in runs if run.consult],
    }


def _consultation(run: JudgeRun, figures: Mapping) -> dict:
    """What is known of the dialogues of a run; `no_headline` says why what is counted and matched in them is withheld."""
    reasons = gate_reasons(run.manifest.get("patient_gate")) if withheld_for("inquiry", run) else []
    return {
        "run": run.name,
        "patients": run.style,
        **figures,
        "inventions": run.metrics.get("inventions"),
        "no_headline": [one.en for one in reasons],
        "no_headline_zh": [one.zh for one in reasons],
    }


def _set(runs: list[JudgeRun]) -> dict:
    systems = systems_of(runs)
    manifest = runs[0].manifest
    settings = [run.manifest["settings"] for run in runs]
    pooled = scoring.summary([one.item for run in runs for one in run.dialogues], manifest["rubric"]["name"])
    return {
        "name": ", ".join(dict.fromkeys(one.case[0] for run in runs for one in run.dialogues if one.case[0])) or "dialogues",
        "judge": manifest["judge"],
        "judge_label": judge_label(manifest),
        "judge_label_zh": judge_text(manifest).zh,
        "shown": _shown(runs[0]),
        "rubric": manifest["rubric"],
        "runs": [_run(run) for run in runs],
        "settings_differ": [
            name
            for name in sorted({name for one in settings for name in one})
            if any(one.get(name) != settings[0].get(name) for one in settings)
        ],
        "systems": [_system(system) for system in systems],
        "groups": list(dict.fromkeys(one.group for system in systems for one in system.dialogues)),
        "coverage": coverage(systems),
        "comparisons": comparisons(systems),
        "all": {name: pooled[name] for name in _POOLED},
    }


def _run(run: JudgeRun) -> dict:
    kept = ("no_headline", "failures", "canaries", "usage")
    patient = (run.consult or {}).get("patient", "")
    judge = run.manifest["judge"]["id"]
    # Cases that a system lacks are told once, under "coverage".
    warnings = self_preference(cast(JudgeManifest, run.manifest)) + ([] if run.metrics["canaries"] else [NO_CANARIES])
    if patient and family(judge) is not None and family(judge) == family(patient):
        warnings.append(OWN_PATIENT(judge=judge, name=patient))
    given = [tuple(one.verdict.scores.items()) for one in run.dialogues if isinstance(one.verdict, Scored)]
    if len(given) >= FEWEST and len(set(given)) == 1 and run.manifest["rubric"]["name"] != "checklist":
        warnings.append(SAME_SCORES(judge=judge, n=len(given)))
    no_headline = headline_reasons(run.metrics["canaries"], run.metrics["failures"], run.manifest.get("patient_gate"))
    reasons = Counter(verdict.reason for one in run.judged for verdict in one.verdicts if isinstance(verdict, Unscored))
    return {
        "run": run.name,
        "imported": bool(run.manifest.get("imported")),
        **({"benchmark": run.manifest["benchmark"]} if "benchmark" in run.manifest else {}),
        "data": run.manifest["data"],
        "settings": run.manifest["settings"],
        **{name: run.metrics[name] for name in kept},
        **({"cost": run.metrics["cost"]} if "cost" in run.metrics else {}),
        "no_headline_zh": [one.zh for one in no_headline],
        "warnings": [one.en for one in warnings],
        "warnings_zh": [one.zh for one in warnings],
        "unscored_reasons": dict(reasons),
        "without_scores": run.metrics.get("without_scores", []),
        "repeated": _repeated(run),
    }


def _system(system: System) -> dict:
    named = {"name": system.name, "model": system.model, "run": system.run.name, "withheld": system.withheld}
    return named | system.run.metrics["systems"][system.model]


def coverage(systems: list[System]) -> list[dict]:
    """The cases that some of the systems lack: `in` which systems they are, `not_in` which, and the cases."""
    holders: dict[tuple, dict[str, None]] = {}
    for system in systems:
        for one in system.dialogues:
            holders.setdefault(one.case, {})[system.name] = None
    found: dict[tuple, list[str]] = {}
    for case, own in holders.items():
        if len(own) < len(systems):
            found.setdefault(tuple(own), []).append("/".join(filter(None, case)))
    names = [system.name for system in systems]
    return [
        {"in": list(own), "not_in": [name for name in names if name not in own], "cases": cases} for own, cases in found.items()
    ]


def _repeated(run: JudgeRun) -> dict | None:
    """How far the samples of a run agree, by criterion: Krippendorff's alpha, and the mean kappa over pairs of samples."""
    samples = run.manifest["settings"]["samples"]
    if samples < 2:
        return None
    found = {}
    for criterion in run.criteria:
        given: list[dict[str, float]] = [{} for _ in range(samples)]
        for one in run.judged:
            for own, verdict in zip(given, one.verdicts, strict=True):
                if not isinstance(verdict, Unscored):
                    own[one.id] = verdict[criterion]
        kappas = []
        for first, second in combinations(given, 2):
            shared = [name for name in first if name in second]
            kappas.append(quadratic_kappa([first[name] for name in shared], [second[name] for name in shared]))
        known = [kappa for kappa in kappas if kappa is not None]
        found[criterion] = {"alpha": alpha(given), "kappa": fmean(known) if known else None, "pairs": len(known)}
    return {"samples": samples, "n": len(run.dialogues), "criteria": found}


def _agreement(first: JudgeRun, second: JudgeRun) -> dict | None:
    """How far two runs agree on the dialogues that both judged; None where there is none.

    A dialogue of the same id in other words is another one; such ids are named.
    """
    words = [{one.id: one.turns for one in run.dialogues} for run in (first, second)]
    both = [name for name in words[0] if name in words[1]]
    other = {name for name in both if words[0][name] != words[1][name]}
    criteria = [name for name in first.criteria if name in second.criteria]
    if len(both) == len(other) or not criteria:
        return None
    whole = first.criteria == second.criteria
    sides = [_rows(run, other, criteria, whole) for run in (first, second)]
    return {
        "first": first.name,
        "second": second.name,
        "judges": [judge_label(run.manifest) for run in (first, second)],
        "judges_zh": [judge_text(run.manifest).zh for run in (first, second)],
        "n": len(both) - len(other),
        "other_words": sorted(other),
        **compare(*sides),
    }


def _rows(run: JudgeRun, left_out: set[str], criteria: list[str], whole: bool) -> list[dict]:
    rows = []
    for one in run.dialogues:
        if one.id not in left_out:
            names = [*criteria, *(["overall"] if whole else [])]
            rows.append({"id": one.id, "scores": {name: _figures(one).get(name) for name in names}})
    return rows


def _figures(one: Judged) -> dict[str, float]:
    """The scores of a dialogue and their mean by name; nothing where it is unscored."""
    return {**one.verdict.scores, "overall": one.verdict.overall} if isinstance(one.verdict, Scored) else {}


def ratings(run: JudgeRun) -> Ratings:
    """The run as `eval agree` compares it with other raters."""
    names = [*run.criteria, *overall_of(run.criteria)]
    return Ratings(
        run=run.name,
        about={
            **{key: run.manifest[key] for key in ("judge", "rubric", "data")},
            "shown": _shown(run),
            "samples": run.manifest["settings"]["samples"],
        },
        unit="dialogues",
        scale=(run.manifest["rubric"]["low"], run.manifest["rubric"]["high"]),
        scores={key: {one.id: own[key] for one in run.dialogues if (own := _figures(one))} for key in names},
        turns={one.id: one.turns for one in run.dialogues},
        places={one.id: Place(one.dialogue["model"], "/".join(one.case), one.group) for one in run.dialogues},
        unscored=[one.id for one in run.dialogues if isinstance(one.verdict, Unscored)],
        no_headline=run.metrics["no_headline"],
    )
