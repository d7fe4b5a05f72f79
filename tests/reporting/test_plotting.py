"""Pictures of reports: names that no plot may break on, in the fonts of the reader and of this machine."""

from xml.etree import ElementTree

import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from medllm_hf.reporting.html import pictures
from medllm_hf.reporting.plotting import LATIN, LONGEST_LABEL, labels, save, shown_names, style

NAMES = ["ICU", "心血管内科", "<b>&amp;</b>", "$x_1$ $", "طب", "_x", "儿科😀"]


@pytest.fixture
def only_latin(monkeypatch):
    """A machine with the font that comes with matplotlib and no other; the list of those that are installed later."""
    fonts = [font for font in font_manager.fontManager.ttflist if font.name == LATIN]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", fonts)
    installed: list[str] = []
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: installed)
    return installed


def drawn(names, word=""):
    """A function that draws a picture with these names at its axis, and the names that it was told to draw."""
    told = []

    def draw(named):
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot()
        told.append(named(names, word))
        axes.set_yticks(range(len(names)), told[-1])
        told[-1].append(figure)
        return figure

    return draw, told


def saved(folder, names, word=""):
    """What the PNG and what the SVG show of the names, the note of the PNG, and the SVG as it stands in a page."""
    draw, told = drawn(names, word)
    with style(names):
        save(draw, folder, "plot")
    png, svg = (one[:-1] for one in told)
    return png, svg, told[0][-1].get_supxlabel(), pictures(folder)["plot"]


def test_every_name_is_text_in_the_svg_and_no_box_in_the_png(tmp_path, only_latin):
    png, svg, note, element = saved(tmp_path, NAMES, "run")
    assert png == ["ICU", "run 2", "<b>&amp;</b>", "$x_1$ $", "طب", " _x", "run 7"]
    assert svg == [*NAMES[:5], " _x", NAMES[6]]
    assert "fonts-noto-cjk" in note
    texts = [one.text for one in ElementTree.parse(tmp_path / "plot.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text in svg] == svg
    assert "心血管内科</text>" in element and "<b>" not in element and "<?xml" not in element and "metadata" not in element
    assert "'Noto Sans CJK SC'" in element and "sans-serif" in element


def test_names_that_can_be_drawn_need_no_note(tmp_path, only_latin):
    png, svg, note, _ = saved(tmp_path, ["before", "lora"])
    assert png == svg == ["before", "lora"] and note == ""


def test_a_font_that_was_installed_since_is_found(tmp_path, only_latin):
    only_latin += [str(tmp_path / "broken.ttf"), str(tiny_font(tmp_path / "tiny.ttf", "内科"))]
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    png, _, note, _ = saved(tmp_path, ["内科", "外科"])
    assert png == ["内科", "2"] and "fonts-noto-cjk" in note


def tiny_font(file, letters):
    """A font with a square for each letter."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    for move, point in (("moveTo", (0, 0)), ("lineTo", (0, 800)), ("lineTo", (800, 800)), ("lineTo", (800, 0))):
        getattr(pen, move)(point)
    pen.closePath()
    glyph, names = pen.glyph(), [".notdef", *(f"uni{ord(letter):04X}" for letter in letters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names[1:], strict=True)})
    builder.setupGlyf(dict.fromkeys(names, glyph))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Tiny", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(file)
    return file


def test_names_are_one_line_without_what_a_file_cannot_hold():
    assert shown_names(["第一行\n第二行", "a\x01b\x00", "x\u202edcba\u202c", "\ud800z", "a\ufffeb"]) == [
        "第一行 第二行", "ab", "xdcba", "z", "ab"]  # fmt: skip
    assert shown_names(["n" * 50, "科" * 50]) == ["n" * (LONGEST_LABEL - 1) + "…", "科" * (LONGEST_LABEL // 2 - 1) + "…"]
    with style([]):
        assert labels(["a $x$", "内科"], "run") == ["a $x$", "run 2"]
