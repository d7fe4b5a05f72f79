"""An Excel workbook → raw rows, with what its cells show; within limits of size."""

import datetime
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from medllm_hf.data.archives import check_growth
from medllm_hf.data.row_readers import check_names
from medllm_hf.errors import UserError, first_line

if TYPE_CHECKING:  # the package may not be there
    from openpyxl.cell.read_only import EmptyCell, ReadOnlyCell
    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

# Of a sheet of Excel; the cells of a workbook, the empty ones before the last of each row counted; and the bytes of what is
# held in memory as a whole, which are above all the texts of the cells.
_MOST_ROWS, _MOST_CELLS, MOST_HELD = 2**20, 2**26, 2**28
# What Excel shows where a formula has no value.
_NO_VALUES = ("#N/A", "#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?")
_SMALLER = "save it as CSV, or in parts"


def xlsx_rows(file: Path) -> Iterator[tuple[int, object]]:
    """Yields (row, dict) of the sheets of an Excel workbook; the first row of a sheet that is not empty, or the one below its
    title, names the columns.

    Rows of later sheets are numbered on. A cell is the text that is shown, a formula what was last calculated for it.

    Raises:
        UserError: the package that reads it is not installed, it is no workbook or too large, or a sheet names two columns
            alike.
    """
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        do = "install medllm_hf[xlsx], or save it as CSV"
        raise UserError(f"{file} without the package openpyxl", "it, to read Excel workbooks", do) from error
    with file.open("rb") as stream:  # of a path it would want the suffix
        _check_size(stream, file)
        try:
            book = load_workbook(stream, read_only=True, data_only=True)
        except Exception as error:  # it raises whatever its parsers do
            found = f"{file} that cannot be read ({first_line(error)})"
            raise UserError(found, "an Excel workbook", "save it again") from error
        try:
            yield from _book_rows(book.worksheets, file)
        except UserError:
            raise
        except Exception as error:
            raise OSError(first_line(error)) from error
        finally:
            book.close()


def _check_size(stream: IO[bytes], file: Path) -> None:
    try:
        with zipfile.ZipFile(stream) as archive:
            infos = archive.infolist()
    except Exception as error:
        raise UserError(f"{file} that cannot be read ({first_line(error)})", "an Excel workbook", "save it again") from error
    check_growth(infos, file, _SMALLER)
    held = sum(info.file_size for info in infos if not info.filename.startswith(("xl/worksheets/", "xl/media/")))
    if held > MOST_HELD:
        raise UserError(f"{file} with texts of {held:,} bytes", f"at most {MOST_HELD:,} in a workbook", _SMALLER)


def _book_rows(sheets: "list[ReadOnlyWorksheet]", file: Path) -> Iterator[tuple[int, object]]:
    number = size = 0
    for sheet in sheets:
        # What a workbook says of its size may be too small, or all that Excel has room for.
        sheet.reset_dimensions()
        header: list[str] = []
        begun, last = False, number + _MOST_ROWS
        for cells in sheet.iter_rows():
            number, size = number + 1, size + len(cells)
            if number > last or size > _MOST_CELLS:
                most = f"at most {_MOST_ROWS:,} rows in a sheet and {_MOST_CELLS:,} cells in all"
                raise UserError(f"{file} with more rows or columns than are read", most, _SMALLER)
            texts = [_shown(cell) for cell in cells]
            filled = sum(map(bool, texts))
            # One cell above several is the title of the sheet.
            if not header or (not begun and filled > 1 == sum(map(bool, header))):
                header = texts if filled else []
                check_names(header, file)
            elif filled:
                begun = True
                texts += [""] * (len(header) - len(texts))
                yield number, {name: text for name, text in zip(header, texts, strict=False) if name}


def _shown(cell: "ReadOnlyCell | EmptyCell") -> str:
    """The text that a cell shows: 0.05 may be 5%, a whole number has no point, and a day no time."""
    value = cell.value
    if value is None or value in _NO_VALUES:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        percent = re.search(r"0(?:\.(0+))?%", cell.number_format)
        # Fifteen digits, as there; not 0.30000000000000004.
        return f"{value:.{len(percent[1] or '')}%}" if percent else str(value) if isinstance(value, int) else f"{value:.15g}"
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return str(value.date())
    return str(value)
