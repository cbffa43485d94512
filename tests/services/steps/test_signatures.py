"""Webhooks are signed as Standard Webhooks specifies it."""

import base64
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from mgmt.services.steps.signatures import key_of, signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"another key of 24 bytes!").decode()


def test_the_official_vector() -> None:
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [key_of(SECRET)])
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_official_library_verifies_each_secret_of_a_rotation() -> None:
    body = '{"target": "Fotos/für später"}'.encode()
    headers = signed_headers("msg_1", int(time.time()), body, [key_of(SECRET), key_of(OTHER)])
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(body, headers) == {"target": "Fotos/für später"}
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(b"a third").decode()).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers)


@pytest.mark.parametrize("text", [SECRET, SECRET.removeprefix("whsec_"), f" {SECRET}\n"])
def test_a_secret_may_lack_its_prefix(text: str) -> None:
    assert key_of(text) == base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


def test_padding_may_be_left_out() -> None:
    assert key_of("whsec_YWI") == b"ab"


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_not base64", "whsec_é", "passw0rd!"])
def test_what_is_no_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a secret is") as caught:
        key_of(text)
    assert len(text) < 7 or text not in str(caught.value)


def test_without_secrets_there_is_no_signature() -> None:
    assert signed_headers("msg_1", 1, b"", []) == {"webhook-id": "msg_1", "webhook-timestamp": "1"}
