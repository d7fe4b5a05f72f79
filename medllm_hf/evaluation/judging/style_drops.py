"""What a style of patients costs a doctor beside plain patients: the same cases, paired."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from medllm_hf.evaluation.consultations.axes import AXES, diagnosis_of, inquiry_of, mean_interval
from medllm_hf.evaluation.consultations.manners import STYLES
from medllm_hf.evaluation.judging.axes import communication_of, safety_of
from medllm_hf.evaluation.judging.axis_rows import withheld_for
from medllm_hf.evaluation.judging.derive import JudgeRun
from medllm_hf.evaluation.judging.judged import Judged, Scored

_COUNTED: dict[str, Callable[[Mapping], float | None]] = {"inquiry": inquiry_of, "diagnosis": diagnosis_of}
_JUDGED: dict[str, Callable[[Judged], float | None]] = {"safety": safety_of, "communication": communication_of}
MEASURES = (*AXES, "overall")
# What two runs may differ in.
_OWN = ("patient_style", "patient_prompt")


def style_drops(runs: Sequence[JudgeRun]) -> list[dict]:
    """Each run with patients of a style beside the first one with plain patients and all else the same.

    Of each measure that both have there is the mean with plain patients and with these, and the drop from the one to the
    other with its interval, over the cases that both have. `against` is None where there is no such run.
    """
    plain = [run for run in runs if run.held and run.style == STYLES[0]]
    rows = []
    for run in runs:
        if run.style not in STYLES[1:]:
            continue
        base = next((one for one in plain if _alike(one) == _alike(run)), None)
        row = {"system": next(iter(run.systems)), "style": run.style, "run": run.name, "against": base.name if base else None}
        rows.append({**row, "measures": _measures(base, run) if base else {}})
    return rows


def _alike(run: JudgeRun) -> object:
    """What two runs of consultations must have in common."""
    held = (run.held or {})["manifest"]
    settings = {name: value for name, value in held["settings"].items() if name not in _OWN}
    return {"settings": settings, **{name: held[name] for name in ("doctor", "patient", "data")}}


def _measures(plain: JudgeRun, styled: JudgeRun) -> dict[str, dict]:
    found = {}
    same_judge = all(plain.manifest.get(name) == styled.manifest.get(name) for name in ("judge", "rubric", "settings"))
    for name in MEASURES:
        first, second = (_values(name, run) for run in (plain, styled))
        shared = [case for case in first if case in second]
        if not shared or (name not in _COUNTED and not same_judge):
            continue
        drops = [first[case] - second[case] for case in shared]
        found[name] = {
            "n": len(shared),
            "scale": [0, 1] if name in _COUNTED else [styled.manifest["rubric"][end] for end in ("low", "high")],
            "plain": fmean(first[case] for case in shared),
            "styled": fmean(second[case] for case in shared),
            "drop": fmean(drops),
            "interval": mean_interval(drops),
            "withheld": any(withheld_for(name, run) for run in (plain, styled)),
        }
    return found


def _values(name: str, run: JudgeRun) -> dict[tuple[str, str], float]:
    """The measure by case, of the dialogues that have it."""
    if name in _COUNTED:
        valid = {one.case for one in run.dialogues}
        rows = {(row["source"], row["case_id"]): _COUNTED[name](row) for row in (run.held or {})["scores"]}
        return {case: value for case, value in rows.items() if value is not None and case in valid}
    of = _JUDGED.get(name, _overall)
    return {one.case: value for one in run.dialogues if (value := of(one)) is not None}


def _overall(one: Judged) -> float | None:
    return one.verdict.overall if isinstance(one.verdict, Scored) else None
