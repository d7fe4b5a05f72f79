"""What the report of comparisons of two systems says, in English and Chinese."""

from medllm_hf.evaluation.judging.phrases import CASE as CASE
from medllm_hf.evaluation.judging.phrases import CASES as CASES
from medllm_hf.evaluation.judging.phrases import CASES_OF as CASES_OF
from medllm_hf.evaluation.judging.phrases import COUNTED as COUNTED
from medllm_hf.evaluation.judging.phrases import CRITERION as CRITERION
from medllm_hf.evaluation.judging.phrases import FAILED as FAILED
from medllm_hf.evaluation.judging.phrases import INTERVAL as INTERVAL
from medllm_hf.evaluation.judging.phrases import JUDGED_BY as JUDGED_BY
from medllm_hf.evaluation.judging.phrases import NAMED as NAMED
from medllm_hf.evaluation.judging.phrases import NO as NO
from medllm_hf.evaluation.judging.phrases import PASSED as PASSED
from medllm_hf.evaluation.judging.phrases import REPLIES as REPLIES
from medllm_hf.evaluation.judging.phrases import SHARE as SHARE
from medllm_hf.evaluation.judging.phrases import WITHHELD as WITHHELD
from medllm_hf.evaluation.judging.phrases import YES as YES
from medllm_hf.evaluation.judging.phrases import P as P
from medllm_hf.evaluation.statistics.bootstrap import FEWEST
from medllm_hf.reporting.phrases import Phrase

TITLE = Phrase("Consultations of two systems compared by a judge", "裁判模型比较两个系统的问诊")
AGAINST = Phrase("{first} against {second}", "{first} 对 {second}")
JUDGED_IN = Phrase("{name}, judged by {judge} ({run})", "{name}（裁判：{judge}，{run}）")
RUN = Phrase("Run {run}. ", "运行 {run}。")
BOTH_ORDERS = Phrase(
    " Each case was judged in both orders, without the names of the systems.",
    "每个病例按两种先后顺序各评一次，裁判不知道系统的名字。",
)
NO_HEADLINE = Phrase(
    "No headline figure: {why}. The figures are withheld here; results.json has them.",
    "没有主结果：{why}。这里不公布数字，它们在 results.json 中。",
)
WARNING = Phrase("Warning: {text}.", "警告：{text}。")

# Why there is no headline figure, and what a reader is warned of.
FAILS = Phrase("the judge fails {canary}: {said}", "裁判没有通过 {canary}：{said}")
NO_CASE = Phrase("no case is scored", "没有一个病例得到评分")
FIRST_PREFERRED = Phrase(
    "{share}% of the verdicts that prefer a dialogue prefer the one shown first (95% interval {low} to {high}%)",
    "在选出优者的判定中，{share}% 选了先出示的对话（95% 置信区间 {low}% 至 {high}%）",
)
WITHOUT_OTHER = {
    "first": Phrase(
        "{cases} of the first system without a dialogue of the second one: {names}",
        "第一个系统有 {cases}没有第二个系统的对话：{names}",
    ),
    "second": Phrase(
        "{cases} of the second system without a dialogue of the first one: {names}",
        "第二个系统有 {cases}没有第一个系统的对话：{names}",
    ),
}

# Results.
OUTCOMES = {
    "wins": Phrase("wins", "胜"),
    "ties": Phrase("ties", "平"),
    "losses": Phrase("losses", "负"),
    "inconsistent": Phrase("inconsistent", "不一致"),
}
WIN_RATE = Phrase("win rate", "胜率")
RESULT_NOTE = Phrase(
    "Wins and losses are those of {first}. A win or a loss: both orders prefer the same system. A tie: both orders "
    "call it one, "
    "or one of them does. Inconsistent: the orders prefer different systems. Ties and inconsistent cases count half in the win "
    f"rate. Intervals: bootstrap over cases; Wilson's where all cases end alike; none of fewer than {FEWEST} cases. p: exact "
    "binomial test of wins against losses, not corrected for the number of criteria.",
    "胜负以 {first} 计。胜或负：两种顺序都认为同一系统更好。平：两种顺序都判平，或其中一种判平。"
    "不一致：两种顺序认为更好的系统不同。平和不一致的病例在胜率中各计一半。"
    f"区间：按病例的自助法；所有病例结果相同时用 Wilson 区间；少于 {FEWEST} 个病例时不给。"
    "p 值：胜与负的精确二项检验，未按标准数校正。",
)
UNSCORED = Phrase("{n} of {of} cases are unscored.", "{of} 个病例中有 {n} 个未评分。")
BOUNDS = Phrase(" Win rates if all were losses, and if all were wins: {ends}.", "它们若全算负、若全算胜，胜率分别为：{ends}。")

# Orders and length.
ORDERS = Phrase("Both orders", "两种先后顺序")
ORDERS_HEAD = (
    CRITERION, Phrase("same verdict in both orders", "两种顺序判定相同"),
    Phrase("verdicts that prefer one", "选出优者的判定数"), Phrase("the one shown first", "选先出示者"), INTERVAL,
)  # fmt: skip
ORDERS_NOTE = Phrase(
    "A judge without a preference for a position has half of these verdicts for the dialogue shown first.",
    "没有位置偏好的裁判，这些判定中应有一半选先出示的对话。",
)
LENGTH = Phrase(
    "Length: {first} says {one} characters a dialogue, {second} says {two}. Cases with a winner on the whole in which one says "
    "more: {n}; of these the longer one wins {share}.",
    "篇幅：{first} 每段对话 {one} 字，{second} 为 {two} 字。总体分出胜负且一方更长的病例：{n} 个；其中较长一方胜 {share}。",
)
ONLY_ONE_HAS = Phrase("Cases only {system} has, left out: {names}.", "只有 {system} 有、因而未纳入的病例：{names}。")

# Replies.
REPLIES_HEAD = (
    Phrase("replies", "回复数"), Phrase("unscored", "未评分"), Phrase("limit", "上限"), Phrase("headline", "主结果"),
    Phrase("calls", "调用次数"), Phrase("tokens in", "输入词元"), Phrase("tokens out", "输出词元"),
)  # fmt: skip
COST = Phrase("Cost: {cost}.", "费用：{cost}。")
WHY_UNSCORED = Phrase("Unscored: {why}.", "未评分的原因：{why}。")
CANARY_HEAD = (
    Phrase("pair with a known answer", "已知优劣的对话对（陷阱样例）"),
    Phrase("outcome for the real consultation", "真实问诊的结果"), Phrase("judge", "裁判"),
)  # fmt: skip

# The dialogues to read.
HOW_TO_READ = Phrase("How to read the dialogues", "怎样看对话")
HOW_TO_READ_NOTE = Phrase(
    "In the list of report.html 1 is a case that the system wins, 0.5 a tie or an inconsistent one, 0 one that it loses.",
    "在 report.html 的列表中，1 表示该系统胜，0.5 表示平或不一致，0 表示负。",
)
SHOWN_FIRST = Phrase("[{system} shown first]", "[先出示 {system}]")
