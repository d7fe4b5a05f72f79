"""Pictures that are the same bytes for the same values: their style, letters, colours and files."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888")
LATIN = "DejaVu Sans"  # comes with matplotlib
CHINESE = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei"),
    *("WenQuanYi Zen Hei", "Microsoft YaHei", "SimHei", "PingFang SC", "Heiti SC", "Hiragino Sans GB", "Droid Sans Fallback"),
)
LONGEST_LABEL = 32


@contextmanager
def style() -> Iterator[None]:
    """Has pictures drawn in the block look alike: with Chinese letters where the machine has them, and no chance in SVG."""
    from matplotlib import rc_context

    with rc_context(
        {
            "font.family": [LATIN, *_chinese_font()],
            "svg.hashsalt": "medllm",
            "axes.unicode_minus": False,
            "savefig.bbox": "tight",
        }
    ):
        yield


def save(figure: "Figure", folder: Path, name: str) -> None:
    """Writes `figure` as PNG and SVG, without the time and the program."""
    figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})


def _chinese_font() -> list[str]:
    from matplotlib.font_manager import fontManager

    there = set(fontManager.get_font_names())
    return [name for name in CHINESE if name in there][:1]


def labels(names: Iterable[str], word: str) -> list[str]:
    """The names as they may stand in a picture; all by `word` and number when this machine lacks letters for any of them."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findfont, get_font

    names = [" ".join(name.split()) for name in names]
    drawable: set[int] = set()
    for family in rcParams["font.family"]:
        drawable |= get_font(findfont(FontProperties(family=[family]))).get_charmap().keys()
    if not all(ord(letter) in drawable for name in names for letter in name):
        return [f"{word} {number}".strip() for number in range(1, len(names) + 1)]
    short = [name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…" for name in names]
    return [name.replace("$", r"\$") for name in short]
