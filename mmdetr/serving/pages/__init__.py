"""The service's pages; each file is complete in itself."""

import base64
import hashlib
import re
from importlib.resources import files


def read_page(name: str) -> tuple[str, str]:
    """Return a page of this folder and the policy under which browsers show it.

    Scripts and styles are allowed by their hashes, so that no other one runs, wherever it came
    from; nothing is fetched from elsewhere.

    Args:
        name: Of the file.

    Returns:
        The text, and the value of the header ``Content-Security-Policy``.
    """
    text = files(__package__).joinpath(name).read_text(encoding='utf-8')
    policy = [
        "default-src 'none'",
        f'script-src {_hashes("script", text)}',
        f'style-src {_hashes("style", text)}',
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return text, '; '.join(policy)


def _hashes(tag: str, text: str) -> str:
    found = re.findall(rf'<{tag}>(.*?)</{tag}>', text, flags=re.S)
    digests = (hashlib.sha256(each.encode()).digest() for each in found)
    return ' '.join(f"'sha256-{base64.b64encode(each).decode()}'" for each in digests)
