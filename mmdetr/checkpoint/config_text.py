"""The config that a checkpoint of ours carries as text, read without running it."""

import ast
import math
from collections.abc import Mapping
from typing import Any

_LONGEST = 4_000_000
_NUMBERS = {'inf': math.inf, 'nan': math.nan}


def parse_config(config: Any) -> dict[str, Any] | None:
    """Read the assignments of a config's text; nothing in it is executed.

    mmengine writes constants, lists, tuples and ``dict(...)``. Anything else is kept as its text.

    Args:
        config: ``meta['cfg']`` of a checkpoint.

    Returns:
        The top level of the config; None where there is none or it cannot be read.
    """
    if isinstance(config, Mapping):
        return dict(config)
    if not isinstance(config, str) or len(config) > _LONGEST:
        return None
    try:
        statements = ast.parse(config).body
        return {
            target.id: _value(statement.value)
            for statement in statements
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name)
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in _NUMBERS:
        return _NUMBERS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand)
        return -number if isinstance(number, int | float) else ast.unparse(node)
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(each) for each in node.elts]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        values: dict[str, Any] = {}
        for keyword in node.keywords:
            value = _value(keyword.value)
            if keyword.arg is not None:
                values[keyword.arg] = value
            elif isinstance(value, dict):
                values |= value
        return values
    if isinstance(node, ast.Dict):
        return {
            _key(key): _value(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        }
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return ast.unparse(node)


def _key(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)
