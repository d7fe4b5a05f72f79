"""What a comparison of exam runs comes to, in one sentence: each run against the first, on the questions that both have."""

from collections.abc import Mapping
from typing import TypedDict

from medllm_hf.reporting.blocks import chance_text
from medllm_hf.reporting.phrases import joined
from medllm_hf.reporting.terms import term

# A difference is said to be shown when its p, corrected where there are several, is below.
P_LIMIT = 0.05


class Headline(TypedDict):
    """One run against another; `shown` says whether p is below `P_LIMIT`, and the sentences say the same in words."""

    run: str
    against: str
    shown: bool
    en: str
    zh: str


def headlines(
    first: str, comparisons: list[dict], all_rotations: str, limited: Mapping[str, int] | None = None
) -> list[Headline]:
    """A headline for each of the `comparisons` (see `report.compared`) with the run `first`.

    Args:
        all_rotations: what a comparison has as "counted" when a question is right only in all rotations.
        limited: of how many questions these are the first, see `limit_of`.
    """
    return [
        _headline(row, len(comparisons) > 1, row["counted"] == all_rotations, limited)
        for row in comparisons
        if row["second"] == first
    ]


def _headline(row: dict, several: bool, circular: bool, limited: Mapping[str, int] | None) -> Headline:
    p = row["p_holm"] if several else row["p"]
    shown = p < P_LIMIT
    points = abs(100 * row["difference"])
    difference, low, high = (_points(row[key]) for key in ("difference", "interval_low", "interval_high"))
    p_text = chance_text(p) if p < 0.001 else f"= {chance_text(p)}"
    test = f"McNemar p {p_text}{', Holm' * several}, n = {row['n']}{', right in all rotations' * circular}"
    test_zh = f"McNemar 检验 p {p_text}{'（Holm 校正）' * several}，n = {row['n']}{'，各轮换均答对才计' * circular}"
    run, against = row["first"], row["second"]
    if shown:
        above = row["difference"] > 0
        en = f"{run} is {points:.1f} points {'above' if above else 'below'} {against} on the same questions"
        zh = f"在同一批题目上，{run} 比 {against} {'高' if above else '低'} {points:.1f} 个百分点"
    else:
        en = f"No difference between {run} and {against} is shown on the same questions: {difference} points"
        zh = f"在同一批题目上，未显示出 {run} 与 {against} 有差异：{difference} 个百分点"
    en, zh = f"{en} (95% interval {low} to {high}, {test})", f"{zh}（95% 区间 {low} 至 {high}，{test_zh}）"
    if other := row["settings_differ"]:
        names = joined(map(term, other))
        en, zh = f"{en}; their settings differ too ({names.en})", f"{zh}；两者的设置也不同（{names.zh}）"
    if limited:
        en = f"{en}; limited to {limited['n']} of {limited['of']} questions, a trial"
        zh = f"{zh}；只做了 {limited['of']} 题中的前 {limited['n']} 题，是试跑"
    return {"run": run, "against": against, "shown": shown, "en": f"{en}.", "zh": f"{zh}。"}


def _points(share: float) -> str:
    # The zero added makes a -0.0 a 0.0.
    return f"{round(100 * share, 1) + 0.0:+.1f}"
