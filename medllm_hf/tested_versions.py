"""The versions that were tested: the ranges of setup.cfg, read from the installed package, and one line outside of them."""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, requires, version
from types import ModuleType

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet


def read_ranges() -> dict[str, SpecifierSet]:
    """Package → its range; empty where the project is not installed."""
    try:
        wanted = [Requirement(line) for line in requires("medllm_hf") or []]
    except PackageNotFoundError:
        return {}
    return {requirement.name: requirement.specifier for requirement in wanted if requirement.specifier}


def outside(ranges: dict[str, SpecifierSet]) -> list[str]:
    """The installed packages that are not within their range, as "package version (tested: range)"."""
    found = []
    for name, tested in ranges.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        if not tested.contains(installed, prereleases=True):
            found.append(f"{name} {installed} (tested: {tested})")
    return found


class Watch:
    """Looks for modules on `sys.meta_path`; when the first one outside of its range is run, prints one line, once.

    It names every package that is outside. To look whether a package is there, as libraries do, is not to import it.
    """

    def __init__(self, ranges: dict[str, SpecifierSet]):
        self.ranges = ranges

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's usual spec, which tells when the module is run; None for all that have no range."""
        if name not in self.ranges:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def tell_and_run(module: ModuleType) -> None:
                self.tell(name)
                run(module)

            # Only this module's loader, which PathFinder has just made.
            spec.loader.exec_module = tell_and_run  # type: ignore[method-assign]
        return spec

    def tell(self, name: str) -> None:
        """Print the line if `name` is outside of its range, and then never again."""
        if outside({name: self.ranges[name]}):
            print(f"medllm: {', '.join(outside(self.ranges))}: results may differ", file=sys.stderr, flush=True)
            self.ranges = {}


def watch() -> None:
    """Lets this process say so when it imports a library outside of the range that was tested; nothing is refused."""
    if not any(isinstance(finder, Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, Watch(read_ranges()))
