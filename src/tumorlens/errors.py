"""The exceptions that TumorLens raises on purpose.

    TumorLensError
    ├── InputError                     the input cannot be read as an image
    │   ├── UnreadableFileError        no such file, a folder, no permission
    │   ├── EmptyInputError            zero bytes
    │   ├── UnsupportedFormatError     not a format TumorLens reads
    │   ├── TooLargeError              more bytes, pixels or frames than the limit
    │   ├── DecodeError                the right format, but truncated or damaged
    │   └── NotBrainMRIError           not a usable slice of a head
    ├── ModelFileError                 the model file cannot be used
    │   ├── ModelNotFoundError
    │   ├── ModelDamagedError          hash or self-test fails, truncated
    │   ├── ForeignModelError          no TumorLens card inside
    │   ├── NewerModelError            the format of a newer TumorLens
    │   └── OlderModelError            an older, unsupported format
    ├── ExplanationUnavailableError    the model has no class map
    ├── DataError                      a data set, manifest or split cannot be used
    │   ├── SourceNotFoundError
    │   ├── ManifestError
    │   ├── DownloadError
    │   ├── SplitError                 a split file is damaged or does not fit the data
    │   └── LeakageError               one group is in two parts of a split
    ├── ConfigError                    a setting is unknown, missing or out of range
    ├── LostProcessError               another process of a distributed training ended
    ├── ExportError                    torch and ONNX disagree, or the graph cannot be written
    ├── OutputError                    a result cannot be written (disk full, read-only)
    ├── ServiceError                   a service refused, or could not be reached
    ├── ArchiveError                   an archive (PACS) refused, or could not be reached
    ├── QueueError                     the queue of series to answer cannot be used
    └── MissingExtraError              an optional dependency is not installed

Messages say what is wrong, where, and what to do about it. Exceptions of libraries are translated
and kept as ``__cause__``.
"""

from __future__ import annotations


class TumorLensError(Exception):
    """Base of every error TumorLens raises on purpose."""


class InputError(TumorLensError):
    """The input cannot be read as an image."""


class UnreadableFileError(InputError):
    """The path does not exist, is a folder, or permission is denied."""


class EmptyInputError(InputError):
    """The file or upload has zero bytes."""


class UnsupportedFormatError(InputError):
    """The bytes are not in a format TumorLens reads."""


class TooLargeError(InputError):
    """The input exceeds the byte, pixel or frame limit; checked before decoding."""


class DecodeError(InputError):
    """The format is supported, but the content is truncated or damaged."""


class NotBrainMRIError(InputError):
    """The image is not a usable slice of a head."""


class ModelFileError(TumorLensError):
    """The model file cannot be used."""


class ModelNotFoundError(ModelFileError):
    """There is no model file at the path."""


class ModelDamagedError(ModelFileError):
    """The file is truncated, or its hash or self-test fails."""


class ForeignModelError(ModelFileError):
    """The file is not an ONNX model, or contains no TumorLens card."""


class NewerModelError(ModelFileError):
    """The file has the format of a newer TumorLens."""


class OlderModelError(ModelFileError):
    """The file has an older format that is not supported."""


class ExplanationUnavailableError(TumorLensError):
    """The model has no class map."""


class DataError(TumorLensError):
    """A data set, manifest or split cannot be used."""


class SourceNotFoundError(DataError):
    """A data source is neither a known name nor a folder with images."""


class ManifestError(DataError):
    """A manifest's columns or values are invalid."""


class DownloadError(DataError):
    """A data set, or pretrained weights, could not be downloaded."""


class SplitError(DataError):
    """A split file is damaged, or does not fit the data it is used with."""


class LeakageError(DataError):
    """A group of near-duplicates (or a patient) is in two parts of a split."""


class ConfigError(TumorLensError):
    """A setting is unknown, missing or out of range."""


class LostProcessError(TumorLensError):
    """Another process of a distributed training ended, or cannot be reached any more."""


class ExportError(TumorLensError):
    """The exported graph differs from the network, or cannot be written."""


class OutputError(TumorLensError):
    """A result cannot be written: disk full, read-only folder, no permission."""


class ServiceError(TumorLensError):
    """A TumorLens service refused a request, or could not be reached (``status`` is 0 then).

    ``problem`` is the service's RFC 9457 document; empty when there is none.
    """

    def __init__(
        self, message: str, status: int = 0, problem: dict[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem or {}


class ArchiveError(TumorLensError):
    """An archive (PACS) refused, or could not be reached: trying again later may help."""


class QueueError(TumorLensError):
    """The queue of series to answer cannot be reached or used."""


class MissingExtraError(TumorLensError):
    """An optional dependency is needed and not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the '{extra}' extra: pip install 'tumorlens[{extra}]'")
        self.extra = extra
