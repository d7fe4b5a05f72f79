"""What two published runs say against each other."""

import json
from collections.abc import Iterator, Mapping, Sequence

from medllm_hf.evaluation.runs.folder import SCORES
from medllm_hf.evaluation.verification.findings import DIFFERENT, Finding
from medllm_hf.folders import sha256

# Settings that no answer of one and the same computation depends on, but for its last digits.
_FREE = ("batch_tokens", "batch_size", "device")


def contradictions(runs: Sequence[Mapping]) -> Iterator[Finding]:
    """Yields a finding for each exam that another one contradicts: the same weights, questions and settings, other answers."""
    first: dict[str, Mapping] = {}
    for run in runs:
        if run["manifest"].get("kind") != "mcq":
            continue
        one = first.setdefault(_asked(run["manifest"]), run)
        if one is not run and len({sha256(each["folder"] / SCORES) for each in (one, run)}) > 1:
            why = f"other answers than eval/{one['name']} of the same weights, questions and settings: one of them counts"
            yield Finding(f"eval/{run['name']}", DIFFERENT, why)


def _asked(manifest: Mapping) -> str:
    settings = {name: value for name, value in manifest["settings"].items() if name not in _FREE}
    return json.dumps([manifest["model"].get("weights_sha256"), manifest["data"]["sha256"], settings], sort_keys=True)
