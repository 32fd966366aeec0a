"""YAML as data: mmengine's own reader runs what python tags ask for."""

from typing import Any

import yaml
from mmengine.fileio import register_handler
from mmengine.fileio.handlers import YamlHandler


@register_handler(['yaml', 'yml'])
class SafeYamlHandler(YamlHandler):
    """Read plain values; a tag is an error."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        return super().load_from_fileobj(file, **{**kwargs, 'Loader': yaml.SafeLoader})
