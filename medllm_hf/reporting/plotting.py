"""Pictures that are the same bytes for the same values: their style, names, labels, colours and files.

Names and labels are text in the SVG, which the reader's browser draws with its own fonts. The PNG is drawn here, with the
fonts of this machine: a name that none of them has letters for is a number there, a label is in English, and the picture
says so.
"""

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from medllm_hf.reporting.phrases import DEFAULT, Language, Words, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888")
LATIN = "DejaVu Sans"  # comes with matplotlib
CHINESE = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei"),
    *("WenQuanYi Zen Hei", "Microsoft YaHei", "SimHei", "PingFang SC", "Heiti SC", "Hiragino Sans GB", "Droid Sans Fallback"),
)
# In columns, of which a Chinese letter takes two.
LONGEST_LABEL = 36
NO_FONT = (
    "No font here has the letters of all names: some stand by their number in the table. report.html and the SVG name all.\n"
    "For Chinese names install a Chinese font, such as Noto Sans CJK (Debian: fonts-noto-cjk), and report again."
)
NO_CHINESE = (
    "No font here has Chinese letters: the labels are in English. report.html and the SVG have them in Chinese.\n"
    "Install a Chinese font, such as Noto Sans CJK (Debian: fonts-noto-cjk), and report again."
)
# Letters of labels, by which a font for them is found.
_SAMPLE: dict[Language, str] = {"en": "", "zh": "准确率均分随机水平正确所选"}
# Marks that turn the direction of what follows, which would be the text behind the name.
_DIRECTIONS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Lettering:
    """How a picture is lettered: called with names and the word for a numbered one, it gives them as they may stand there.

    Attributes:
        names: What gives the names.
        label: The text of an axis, a title or a legend as it may stand there.
    """

    names: Callable[[Sequence[str], str], list[str]]
    label: Callable[[Words], str]

    def __call__(self, names: Sequence[str], word: Words) -> list[str]:
        return self.names(names, self.label(word))


Draw = Callable[[Lettering], "Figure"]


@contextmanager
def style(names: Iterable[str], language: Language = DEFAULT) -> Iterator[None]:
    """Has pictures drawn in the block look alike, with the `names` as they are written and no chance in the SVG."""
    from matplotlib import rc_context

    with rc_context(
        {
            "font.family": [LATIN, *_fonts_of([*shown_names(names), _SAMPLE[language]])],
            "svg.fonttype": "none",
            "svg.hashsalt": "medllm",
            "text.parse_math": False,
            "axes.unicode_minus": False,
            "savefig.bbox": "tight",
        }
    ):
        yield


def save(draw: Draw, folder: Path, name: str, language: Language = DEFAULT) -> None:
    """Writes what `draw` makes as PNG and SVG, without the time and the program.

    Args:
        draw: called once for each file, since the SVG can have names and labels that the PNG cannot.
    """
    notes = {}

    def drawable_names(names: Sequence[str], word: str) -> list[str]:
        found = labels(names, word)
        if found != shown_names(names):
            notes[NO_FONT] = True
        return found

    def drawable_label(words: Words) -> str:
        if _drawable().issuperset(map(ord, label := say(words, language))):
            return label
        notes[NO_CHINESE] = True
        return say(words, "en")

    figure = draw(Lettering(drawable_names, drawable_label))
    if notes:
        figure.supxlabel("\n".join(notes), fontsize=7, color="#b42318", x=0.01, ha="left")
    figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})
    with warnings.catch_warnings():
        # The browser has what is missing here.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        own = Lettering(lambda names, word: shown_names(names), lambda words: say(words, language))
        draw(own).savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
    _name_fonts(folder / f"{name}.svg")


def shown_names(names: Iterable[str]) -> list[str]:
    """The names on one line, without what XML cannot hold, and no longer than `LONGEST_LABEL` columns."""
    found = [_shorten(" ".join("".join(filter(_is_kept, name)).split())) for name in names]
    # A legend leaves out what begins with an underscore.
    return [f" {name}" if name.startswith("_") else name for name in found]


def labels(names: Iterable[str], word: str) -> list[str]:
    """The names as the fonts in use can draw them; one that has other letters is `word` and its number."""
    drawable = _drawable()
    shown = shown_names(names)
    return [
        name if drawable.issuperset(map(ord, name)) else f"{word} {number}".strip()
        for number, name in enumerate(shown, start=1)
    ]


def _is_kept(letter: str) -> bool:
    # Control characters, halves of a surrogate pair, and places that Unicode has given to nobody.
    return letter.isspace() or (unicodedata.category(letter) not in ("Cc", "Cs", "Cn") and letter not in _DIRECTIONS)


def _shorten(name: str) -> str:
    width = 0
    for place, letter in enumerate(name):
        width += 1 + (unicodedata.east_asian_width(letter) in "WF")
        if width > LONGEST_LABEL:
            return name[: place - 1] + "…"
    return name


def _fonts_of(names: Iterable[str]) -> list[str]:
    """The families on this machine that have those letters which the Latin font lacks: a Chinese one if it has any."""
    from matplotlib.font_manager import fontManager

    missing = {ord(letter) for name in names for letter in name} - _letters_of_font(_path_of(LATIN))
    if not missing:
        return []
    _find_new_fonts()
    upright = [font for font in fontManager.ttflist if font.style == "normal" and not font.name.startswith("Last Resort")]
    files = {font.name: font.fname for font in sorted(upright, key=lambda font: (font.name, font.fname))}
    chosen = []
    for name in [*(name for name in CHINESE if name in files), *files]:
        if missing & (own := _letters_of_font(files[name])):
            chosen.append(name)
            missing -= own
    return chosen


def _find_new_fonts() -> None:
    """Adds the fonts that were installed since matplotlib made its list of them."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    known = {Path(font.fname) for font in fontManager.ttflist}
    for path in sorted(findSystemFonts()):
        if Path(path) not in known:
            try:
                fontManager.addfont(path)
            except (OSError, RuntimeError, ValueError):  # no font that matplotlib can read, such as one of bitmaps
                continue


@cache
def _letters_of_font(path: str) -> frozenset[int]:
    from matplotlib.font_manager import get_font

    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def _path_of(family: str) -> str:
    from matplotlib.font_manager import FontProperties, findfont

    return str(findfont(FontProperties(family=[family])))


def _drawable() -> set[int]:
    from matplotlib import rcParams

    return {letter for family in rcParams["font.family"] for letter in _letters_of_font(_path_of(family))}


def _name_fonts(file: Path) -> None:
    """Has the text of an SVG name the fonts that a browser may have."""
    families = ", ".join(f"'{name}'" for name in (LATIN, *CHINESE))
    text = file.read_text(encoding="utf-8")
    # A name cannot stand in this form: its angle brackets are written as entities.
    text = re.sub(rf"""(<text style="[^"]*)'{LATIN}'[^;"]*""", rf"\1{families}, sans-serif", text)
    file.write_text(text, encoding="utf-8", newline="\n")
