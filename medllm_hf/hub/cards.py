"""The model card: Hub metadata and text, filled from the folder and its evaluation runs."""

from importlib.resources import files
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from medllm_hf.evaluation.report import result_row, results_table


def model_card(
    repo_id: str, config: dict, provenance: dict, runs: list[dict], license: str, base_model: str | None
) -> ModelCard:
    """The card of a model.

    Args:
        config: the model's `config.json`.
        provenance: its `provenance.json` from `medllm convert` or `medllm merge`; empty when there is none.
        runs: finished runs of these weights, from `run_folder.read_run`.
        license: a Hub licence id.
        base_model: the Hub id of the base, if it has one.
    """
    name = repo_id.split("/")[-1]
    data = ModelCardData(
        language=["zh"],
        license=license,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["medical", "conversational", "medllm_hf"],
        base_model=base_model,
        model_name=name if runs else None,
        eval_results=[eval_result(run) for run in runs] or None,
    )
    shape = f"{config['num_hidden_layers']} layers of width {config['hidden_size']}, vocabulary {config['vocab_size']}"
    facts = [
        f"- architecture: {config['architectures'][0]}, {shape}, {config.get('dtype', 'float32')}",
        f"- licence: {license}",
        *provenance_facts(provenance),
    ]
    return ModelCard.from_template(
        data,
        template_path=str(files("medllm_hf") / "hub" / "model_card.md"),
        repo_id=repo_id,
        name=name,
        base_model=base_model,
        results="\n".join(results_table([result_row(run) for run in runs])) if runs else "",
        facts="\n".join(facts),
    )


def provenance_facts(provenance: dict) -> list[str]:
    """What the card says of a conversion or a merge, a line each."""
    facts = []
    if "source" in provenance:
        revision = f" at revision {provenance['revision']}" if provenance.get("revision") else ""
        facts.append(f"- converted from {provenance['source']}{revision}, chat template `{provenance['template']}`")
    for adapter in provenance.get("adapters", []):
        onto = f"{provenance['base']} ({provenance['base_weights']}) in {provenance['arithmetic']}"
        qlora = "if it was trained over a quantised base (QLoRA), answers can differ slightly from those during training"
        facts.append(f"- LoRA {adapter['name']} merged onto {onto}; {qlora}")
    return facts


def eval_result(run: dict) -> EvalResult:
    """A run as an entry of the Hub's `model-index`; n and the interval stand in the metric's name."""
    row = result_row(run)
    interval = f"95% interval {row['interval_low']:.4f} to {row['interval_high']:.4f}"
    return EvalResult(
        task_type="question-answering",
        task_name="Multiple-choice questions",
        dataset_type=Path(row["data"]).stem,
        dataset_name=row["data"],
        metric_type="accuracy",
        metric_name=f"accuracy, n={row['n']}, {interval}",
        metric_value=float(row["accuracy"]),
    )
