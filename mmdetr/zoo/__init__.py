"""Published models by name. Importing this needs the standard library alone."""

from .index import (
    ModelEntry,
    UnknownModelError,
    find_model,
    known_models,
    models_table,
    unknown_model,
)

__all__ = [
    'ModelEntry',
    'UnknownModelError',
    'find_model',
    'known_models',
    'models_table',
    'unknown_model',
]
