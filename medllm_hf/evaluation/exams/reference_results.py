"""Published figures that the report sets beside a run of the same benchmark. They are quoted, never measured here."""

SOURCE = "https://github.com/FudanDISC/DISC-MedLLM/blob/main/README_EN.md"

# Benchmark → n; then for each system its accuracy in per cent, in the order of the benchmarks.
_COUNTS = {
    "mlec-qa/clinic": 336,
    "mlec-qa/cwm": 268,
    "mlec-qa/publichealth": 185,
    "mlec-qa/stomatology": 264,
    "mlec-qa/tcm": 309,
    "neep306": 270,
}
_FEW_SHOT = {
    "GPT-3.5": ("58.63", "45.9", "53.51", "51.52", "43.47*", "44.81"),
    "Baichuan-13B-Chat": ("31.25", "37.69", "28.65", "27.27", "29.77", "24.81"),
    "Huatuo (13B)": ("31.85", "25", "32.43", "32.95", "26.54", "24.44"),
    "DISC-MedLLM": ("44.64", "41.42", "41.62", "38.26", "39.48", "33.33"),
}
_ZERO_SHOT = {
    "GPT-3.5": ("47.32", "33.96", "48.11", "39.77", "38.83", "33.33"),
    "Baichuan-13B-Chat": ("44.05", "43.28", "39.92*", "31.06", "41.42", "32.22"),
    "Huatuo (13B)": ("27.38", "21.64", "25.95", "25.76", "24.92", "20.37"),
    "DISC-MedLLM": ("44.64", "37.31", "35.68", "34.85", "41.75", "31.11"),
}


def quoted_rows(benchmark: str) -> list[dict]:
    """The published rows for a benchmark, empty where none is known: system, shots, accuracy, n, misprint."""
    if benchmark not in _COUNTS:
        return []
    column = list(_COUNTS).index(benchmark)
    rows = []
    for shots, systems in (("zero-shot", _ZERO_SHOT), ("few-shot", _FEW_SHOT)):
        for system, figures in systems.items():
            shown = figures[column]
            share = round(float(shown.rstrip("*")) / 100, 4)
            row = {"system": system, "shots": shots, "accuracy": share, "n": _COUNTS[benchmark], "misprint": "*" in shown}
            rows.append(row | {"as_printed": shown.rstrip("*")})
    return rows
