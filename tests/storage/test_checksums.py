import base64
import hashlib
import io

import pytest
from awscrt.checksums import crc64nvme
from hypothesis import given
from hypothesis import strategies as st

from mgmt.errors import IntegrityError
from mgmt.storage.checksums import checksum, checksum_of_file, encoded, of_parts, of_whole, proven_by
from mgmt.storage.store import Sent

parts_of_an_object = st.lists(st.binary(max_size=300), min_size=1, max_size=8)


def test_known_values() -> None:
    assert checksum("crc64nvme", [b"123456789"]).hex() == "ae8b14860a799888"  # the check value of CRC-64/NVME
    assert of_whole("crc64nvme", checksum("crc64nvme", [b"123456789"])) == "crc64nvme:rosUhgp5mIg="
    assert of_whole("md5", checksum("md5", [b""])) == "md5:d41d8cd98f00b204e9800998ecf8427e"
    assert encoded(checksum("sha256", [b"abc"])) == "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="


@given(parts_of_an_object)
def test_the_crc_of_the_parts_is_the_crc_of_the_whole(parts: list[bytes]) -> None:
    combined = of_parts("crc64nvme", [(checksum("crc64nvme", [part]), len(part)) for part in parts], "")
    assert combined == "crc64nvme:" + encoded(crc64nvme(b"".join(parts)).to_bytes(8, "big"))


@given(parts_of_an_object)
def test_composites_are_digests_of_digests(parts: list[bytes]) -> None:
    shas = b"".join(hashlib.sha256(part).digest() for part in parts)
    md5s = b"".join(hashlib.md5(part).digest() for part in parts)
    n = len(parts)
    assert (
        of_parts("sha256", [(checksum("sha256", [part]), len(part)) for part in parts], "")
        == f"sha256:{base64.b64encode(hashlib.sha256(shas).digest()).decode()}-{n}"
    )
    assert (
        of_parts("md5", [(checksum("md5", [part]), len(part)) for part in parts], "whole")
        == f"md5:{hashlib.md5(md5s).hexdigest()}-{n} md5:whole"
    )


@given(st.binary(max_size=5000))
def test_a_file_has_the_checksum_of_its_bytes(data: bytes) -> None:
    file = io.BytesIO(data)
    file.seek(3)
    for algorithm in ("crc64nvme", "sha256", "md5"):
        assert checksum_of_file(algorithm, file) == checksum(algorithm, [data[:3], memoryview(data)[3:]])


CRC = "crc64nvme:AAAA"
SHA = "sha256:SSSS-3"
MD5 = "md5:m-3 md5:w"


@pytest.mark.parametrize(
    ("sent", "stated", "trusted", "proof"),
    [
        (CRC, {"crc64nvme": "AAAA", "md5": "x-3"}, "crc64nvme", "crc64nvme"),
        (CRC, {"crc64nvme": "BBBB"}, "crc64nvme", IntegrityError),
        (CRC, {"md5": "x-3"}, "crc64nvme", None),  # the store states none
        (CRC, {"crc64nvme": "AAAA"}, "md5", None),  # the endpoint was not seen to verify this one
        (CRC, {"crc64nvme": "BBBB"}, "md5", None),
        (CRC, {"crc64nvme": "AAAA"}, None, None),
        (None, {"crc64nvme": "AAAA"}, "crc64nvme", None),
        (SHA, {"sha256": "SSSS-3"}, "sha256", "sha256"),
        (SHA, {"sha256": "TTTT-3"}, "sha256", IntegrityError),
        (SHA, {"sha256": "SSSS"}, "sha256", None),  # a composite without -N: unsupported, not a mismatch
        (SHA, {"sha256": "TTTT-4"}, "sha256", None),  # of other parts: nothing to compare
        ("sha256:SSSS", {"sha256": "SSSS"}, "sha256", "sha256"),
        ("sha256:SSSS", {"sha256": "TTTT"}, "sha256", IntegrityError),
        ("sha256:SSSS", {"sha256": "SSSS-1"}, "sha256", None),
        (MD5, {"md5": "m-3"}, "md5", "md5"),
        (MD5, {"md5": "w"}, "md5", "md5"),
        (MD5, {"md5": "m-4"}, "md5", None),
        (MD5, {"md5": "n-3"}, "md5", None),  # an ETag need not be an md5
        (MD5, {"md5": "v"}, "md5", None),
        (MD5, {}, "md5", None),  # SSE-KMS, SSE-C
        ("md5:w", {"md5": "w"}, "md5", "md5"),
        ("md5:w", {"md5": "w-1"}, "md5", None),
    ],
)
def test_proven_by(
    sent: str | None, stated: dict[str, str], trusted: str | None, proof: str | type[IntegrityError] | None
) -> None:
    object_sent = Sent(10, sent, 3, 5)
    if proof is IntegrityError:
        with pytest.raises(IntegrityError, match="s3://b/k"):
            proven_by("s3://b/k", object_sent, 10, stated, trusted)
    else:
        assert proven_by("s3://b/k", object_sent, 10, stated, trusted) == proof
    with pytest.raises(IntegrityError, match="11 bytes"):
        proven_by("s3://b/k", object_sent, 11, stated, trusted)
