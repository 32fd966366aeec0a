"""From a folder of data to a training: the config for it, chosen and written."""

from .choose import Machine, choose_base, this_machine
from .errors import RecipeError
from .result import score_and_tell
from .start import Options, prepare

__all__ = [
    'Machine',
    'Options',
    'RecipeError',
    'choose_base',
    'prepare',
    'score_and_tell',
    'this_machine',
]
