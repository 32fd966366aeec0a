"""Values of a config from the text that a checkpoint has of it, without running it."""

import ast
import math
from typing import Any

_NUMBERS = {'inf': math.inf, 'nan': math.nan}


def parse_config_text(text: Any) -> dict[str, Any] | None:
    """Read the assignments of a config written by mmengine (``Config.pretty_text``).

    Args:
        text: Lines ``name = value``, values of literals and ``dict(...)``.

    Returns:
        None where the text is anything else.
    """
    if not isinstance(text, str):
        return None
    try:
        values = {}
        for statement in ast.parse(text).body:
            if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
                return None
            target = statement.targets[0]
            if not isinstance(target, ast.Name):
                return None
            values[target.id] = _value(statement.value)
    except (MemoryError, RecursionError, SyntaxError, ValueError):
        return None
    return values


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Dict):
        if None in node.keys:
            raise ValueError('**')
        keys = [_value(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_value, node.values), strict=True))
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        items = [_value(item) for item in node.elts]
        return set(items) if isinstance(node, ast.Set) else items
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in ('dict', 'set') or node.args:
            raise ValueError('a call')
        if node.func.id == 'set':
            return set()
        if any(keyword.arg is None for keyword in node.keywords):
            raise ValueError('**')
        return {keyword.arg: _value(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Name):
        if node.id not in _NUMBERS:
            raise ValueError('a name')
        return _NUMBERS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    return ast.literal_eval(node)
