"""A client that believes whatever an endpoint says: what tests/quirks.py must be able to convict."""

from typing import Any

from tests.quirks import BUCKET, checksum_of


class Careless:
    def __init__(self, client: Any) -> None:
        self.client = client

    def store(self, key: str, data: bytes, operation: str, part_size: int) -> bool:
        """Upload without looking back; returns whether the endpoint repeats the checksum of what was sent."""
        place = {"Bucket": BUCKET, "Key": key}
        metadata = {"mgmt-operation": operation}
        begun = self.client.create_multipart_upload(**place, Metadata=metadata, ChecksumAlgorithm="CRC64NVME")
        place["UploadId"], parts = begun["UploadId"], []
        for number, start in enumerate(range(0, len(data), part_size), start=1):
            piece = data[start : start + part_size]
            stated = {"ChecksumCRC64NVME": checksum_of("crc64nvme", piece)}
            sent = self.client.upload_part(**place, PartNumber=number, Body=piece, **stated)
            parts.append({"PartNumber": number, "ETag": f'"{sent["ETag"].strip(chr(34))}"', **stated})
        self.client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        stated = self.client.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        return bool(stated["ChecksumCRC64NVME"] == checksum_of("crc64nvme", data))

    def is_ours(self, key: str, operation: str) -> bool:
        return bool(self.client.head_object(Bucket=BUCKET, Key=key)["Metadata"].get("mgmt-operation") == operation)

    def keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [entry["Key"] for page in pages for entry in page.get("Contents", []) if entry["ETag"] and entry["Size"]]

    def read(self, key: str) -> bytes:
        etag = self.client.head_object(Bucket=BUCKET, Key=key)["ETag"].strip('"')
        body = self.client.get_object(Bucket=BUCKET, Key=key, IfMatch=f'"{etag}"')["Body"]
        return bytes(body.read())
