"""Type hints of what is built from a config."""

from typing import Any

from torch.optim import AdamW
from torch.utils.data import DataLoader

from mmdetr.config.argument_hints import argument_hints
from mmdetr.config.type_hints import describe_hint, find_mismatches


class Base:
    def __init__(self, size: int, name: str = 'a', depth: int = None) -> None:  # noqa: RUF013
        pass


class Child(Base):
    def __init__(self, *args: Any, rate: float = 0.1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class Closed(Base):
    def __init__(self, rate: 'float' = 1, odd: 'NoSuchName' = 2) -> None:  # noqa: F821
        super().__init__(1)


def test_arguments_of_bases_count_where_they_are_passed_on() -> None:
    assert argument_hints(Child) == dict(rate=float, size=int, name=str, depth=int | None)
    assert argument_hints(Closed) == dict(rate=float, odd=Any)
    assert argument_hints(describe_hint) == dict(hint=Any, plural=bool)
    assert argument_hints(dict) == {}


def test_torch() -> None:
    """Its hints are written in several ways, some for type checkers alone."""
    assert find_mismatches('1e-4', argument_hints(AdamW)['lr'])
    assert not find_mismatches((0.9, 0.99), argument_hints(AdamW)['betas'])
    assert not find_mismatches([0.9, 0.99], argument_hints(AdamW)['betas'])
    assert find_mismatches('2', argument_hints(DataLoader)['batch_size'])
    assert not find_mismatches(None, argument_hints(DataLoader)['batch_size'])
