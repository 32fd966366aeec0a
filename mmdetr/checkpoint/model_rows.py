"""What a model says about the rows of its weights.

Any module may define

- ``class_rows``: names of its own parameters that have one row per class, followed by one row for
  no-object if its ``has_no_object_row`` is True;
- ``resizable_rows``: names of its own tensors in which row i means the same whatever the number of
  rows, as those of a table of queries.
"""

from typing import NamedTuple

from torch import nn


class ModelRows(NamedTuple):
    """Weights of a model, under their full names, whose rows need not agree with a file's.

    Attributes:
        classes: Weights with a row per class -> whether a row for no-object follows.
        resizable: Weights whose rows keep their meaning when there are more or fewer.
    """

    classes: dict[str, bool]
    resizable: frozenset[str]

    def num_classes(self, model: nn.Module) -> int | None:
        """Classes that the model has rows for; None if it names no such rows."""
        weights = model.state_dict()
        for name, has_no_object_row in self.classes.items():
            return len(weights[name]) - has_no_object_row
        return None


def model_rows(model: nn.Module) -> ModelRows:
    """Collect ``class_rows`` and ``resizable_rows`` of all modules.

    Raises:
        ValueError: A module names a weight that it does not have.
    """
    own = model.state_dict().keys()
    classes: dict[str, bool] = {}
    resizable: set[str] = set()
    for path, module in model.named_modules():
        for attribute in ('class_rows', 'resizable_rows'):
            for name in getattr(module, attribute, ()):
                full_name = f'{path}.{name}' if path else name
                if full_name not in own:
                    raise ValueError(
                        f'{type(module).__name__}.{attribute} names {name}, which is no weight of '
                        f'it (looked for {full_name})'
                    )
                if attribute == 'class_rows':
                    classes[full_name] = bool(getattr(module, 'has_no_object_row', False))
                else:
                    resizable.add(full_name)
    return ModelRows(classes, frozenset(resizable))
