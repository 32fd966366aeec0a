"""What became of every weight when a checkpoint was loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmdetr.utils.text import shorten

_SHOWN = 6  # names in a list for people


@dataclass
class LoadReport:
    """Account of one loading.

    Attributes:
        filename: The file.
        format: Its format.
        variant: What the file's weights tell about its model, for people.
        loaded: The model's names that took the file's values as they are.
        mapped: The model's name -> how it was filled from some of the file's rows.
        new_rows: What the mapped weights have kept of their initial values: ``'classes'`` and
            ``'rows of NAME'`` -> names or numbers.
        cut_rows: Sentences on tables of which the model takes the first rows only.
        initialised: The model's names that kept their initial values -> why.
        unused: The file's names that the model has no place for.
        notes: What had to be assumed.
        doubts: What was guessed and may be wrong.
        warnings: Signs that the file is of another model.
    """

    filename: str
    format: str
    variant: str
    loaded: list[str] = field(default_factory=list)
    mapped: dict[str, str] = field(default_factory=dict)
    new_rows: dict[str, list[str]] = field(default_factory=dict)
    cut_rows: list[str] = field(default_factory=list)
    initialised: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Every value of the model came from the file."""
        return not self.initialised and not self.new_rows

    @property
    def exact(self) -> bool:
        """Complete, and nothing of the file was left over."""
        return self.complete and not self.unused

    def text(self, full: bool = False) -> str:
        """The report for people; long lists are cut unless ``full``."""

        def listed(names: Sequence[str]) -> str:
            return shorten(names, len(names) if full else _SHOWN)

        total = len(self.loaded) + len(self.mapped) + len(self.initialised)
        lines = [
            f'Checkpoint {self.filename}',
            f'  format: {self.format}; {self.variant}',
            f'  loaded: {len(self.loaded)} of {total} weights of the model',
        ]
        if full:
            lines[-1] += f': {listed(self.loaded)}'
        for how in dict.fromkeys(self.mapped.values()):
            names = [name for name, reason in self.mapped.items() if reason == how]
            lines.append(f'  mapped: {", ".join(names)}: {how}')
        for what, rows in self.new_rows.items():
            lines.append(f'  NEWLY INITIALISED {what} ({len(rows)}): {listed(rows)}')
        if self.initialised:
            reasons = [f'{name} ({why})' if why else name for name, why in self.initialised.items()]
            lines.append(f'  NEWLY INITIALISED ({len(reasons)}): {listed(reasons)}')
        if self.unused:
            lines.append(f'  unused ({len(self.unused)}): {listed(self.unused)}')
        lines += [f'  note: {note}' for note in self.notes]
        lines += [f'  WARNING: {warning}' for warning in [*self.doubts, *self.warnings]]
        if not self.complete:
            lines.append('  What is newly initialised predicts nothing useful before training.')
        return '\n'.join(lines)
