"""Hide credentials in texts that are recorded or printed.

Everything that writes an address or a configuration where people see it (ledger, manifest, limiter
state, log lines, errors) passes it through `redact`; only the connection itself has the original.
"""

import re

_HIDDEN = "***"
_SECRET = r"[\w.%-]*(?:signature|credential|token|secret|passw|pwd|api_?key|access_?key)[\w.%-]*"
# Bounds keep the time proportional to the text: an error may quote a whole file.
_RULES = (
    # scheme://user:password@host; a password may contain @, the last one ends it
    (re.compile(r"([a-z][a-z0-9+.-]{0,40}://)[^/\s?#]+@", re.IGNORECASE), rf"\1{_HIDDEN}@"),
    # user:password@host, as proxies are written
    (re.compile(r"(?<![\w:/*])[\w.%+~-]{1,1000}:[^\s/@:]+@(?=[\w\[])"), f"{_HIDDEN}@"),
    # ?X-Amz-Signature=…, &token=…
    (
        re.compile(rf"([?&;](?:{_SECRET}|sig|key|auth)=)[^&;#\s\"']+", re.IGNORECASE),
        rf"\1{_HIDDEN}",
    ),
    # "secret": "…" of fsspec's options
    (
        re.compile(rf"([\"'](?:{_SECRET}|key)[\"']\s*:\s*[\"'])[^\"']*", re.IGNORECASE),
        rf"\1{_HIDDEN}",
    ),
)


def redact(text: str) -> str:
    """Return a text without the passwords, signatures and tokens of the addresses in it.

    Examples:
        >>> redact("cannot read https://me:secret@host/all.zip?X-Amz-Signature=1f")
        'cannot read https://***@host/all.zip?X-Amz-Signature=***'
    """
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def redact_values(value: object) -> object:
    """Return a configuration with every text in it redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_values(item) for item in value]
    return value
