"""The body of a request as one image, without a form around it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tumorlens.serving.uploads.form import Upload

# Declared types that say: the body is the file. What the file is, its content decides.
RAW_TYPES = ("image/png", "image/jpeg", "application/dicom", "application/octet-stream")


def is_raw(content_type: str) -> bool:
    """Return whether a Content-Type announces the file itself: any image, DICOM, or bytes."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind in RAW_TYPES or kind.startswith("image/")


async def read_raw(stream: AsyncIterator[bytes]) -> Upload:
    """Return the whole body as one upload."""
    upload = Upload()
    async for chunk in stream:
        upload.data += chunk
    return upload
