"""A finished run of consultations as its judge and the report take it: figures and dialogues that follow from its outputs."""

from dataclasses import dataclass

from medllm_hf.errors import UserError
from medllm_hf.evaluation.consultations import derive as consultations
from medllm_hf.evaluation.costs.prices import with_cost
from medllm_hf.evaluation.judging.records import Dialogue
from medllm_hf.evaluation.runs.compare import check_metrics
from medllm_hf.evaluation.runs.folder import FinishedRun, read_rows

FILE = "dialogues.jsonl"


@dataclass(frozen=True)
class ConsultRun:
    """What a run of consultations has stored, the dialogues for judging, and its metrics."""

    stored: consultations.StoredRun
    dialogues: list[Dialogue]
    figures: dict


def load_consult_run(name: str, run: FinishedRun) -> ConsultRun:
    """The consult run in `run`, which `read_run` gave.

    Raises:
        UserError: it is damaged, or its metrics or its dialogues.jsonl do not follow from its outputs.
    """
    stored = consultations.stored_run(name, run)
    held = consultations.derive(stored.manifest, stored.outputs, stored.cases, stored.scores).dialogues
    gate = stored.manifest["settings"].get("patient_gate")
    figures = with_cost(consultations.metrics(stored.scores, stored.outputs, gate), run["manifest"])
    check_metrics(name, figures, run["metrics"], "outputs", "run `medllm eval` again")
    if read_rows(run["folder"] / FILE) != held:
        do = f"bring back the run's own {FILE}, or name a file of edited dialogues that lies elsewhere"
        raise UserError(f"other dialogues in {FILE} of {name} than its outputs have", "what the run has held", do)
    return ConsultRun(stored, held, figures)
