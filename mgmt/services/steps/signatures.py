"""Signatures of webhooks, as https://www.standardwebhooks.com specifies them (symmetric, version 1)."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"


def key_of(secret: str) -> bytes:
    """The key in a secret: base64, with or without `whsec_`. Raises ValueError, which does not repeat it."""
    text = secret.strip().removeprefix(PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a secret is not {PREFIX} and base64") from None
    if not key:
        raise ValueError("a secret is empty")
    return key


def signed_headers(message_id: str, timestamp: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers of a webhook: its id, the time of this attempt in seconds since 1970, a signature for each key.

    While secrets are rotated there are two: a receiver accepts a webhook if one of its signatures is right.
    """
    content = b".".join((message_id.encode(), str(timestamp).encode(), body))
    found = ["v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode() for key in keys]
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    return headers | ({"webhook-signature": " ".join(found)} if found else {})
