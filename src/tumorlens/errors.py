"""Every exception TumorLens raises on purpose, and nothing else.

::

    TumorLensError
    ├── InputError                     what was given cannot be read as an image
    │   ├── UnreadableFileError        no such file, a folder, no permission
    │   ├── EmptyInputError            zero bytes
    │   ├── UnsupportedFormatError     not a format TumorLens reads
    │   ├── TooLargeError              more bytes, pixels or frames than the limit
    │   ├── DecodeError                the right format, but truncated or damaged
    │   └── NotBrainMRIError           an image, but not a usable slice of a head
    ├── ModelFileError                 the model file cannot be used
    │   ├── ModelNotFoundError
    │   ├── ModelDamagedError          hash or self-test fails, truncated
    │   ├── ForeignModelError          no TumorLens card inside
    │   ├── NewerModelError            the format of a newer TumorLens
    │   └── OlderModelError            a format that is not read any more
    ├── ExplanationUnavailableError    the model has no class map
    ├── DataError                      a data set, manifest or split cannot be used
    │   ├── SourceNotFoundError
    │   ├── ManifestError
    │   ├── DownloadError
    │   ├── SplitError                 a split file is damaged or does not fit the data
    │   └── LeakageError               one group stands on two sides of a split
    ├── ConfigError                    a setting is unknown, missing or out of range
    ├── ExportError                    torch and ONNX disagree, or the graph cannot be written
    ├── OutputError                    a result cannot be written (disk full, read-only)
    ├── ServiceError                   a service refused, or could not be reached
    └── MissingExtraError              an optional dependency is not installed

Messages say what is wrong, where, and what to do about it. Foreign exceptions are
translated at one seam each and kept as ``__cause__``.
"""

from __future__ import annotations


class TumorLensError(Exception):
    """Base of every error TumorLens raises on purpose."""


class InputError(TumorLensError):
    """What was given cannot be read as an image."""


class UnreadableFileError(InputError):
    """The path is missing, is a folder, or may not be read."""


class EmptyInputError(InputError):
    """The file or upload holds zero bytes."""


class UnsupportedFormatError(InputError):
    """The bytes are not in a format TumorLens reads."""


class TooLargeError(InputError):
    """The input exceeds the byte, pixel or frame limit; checked before decoding."""


class DecodeError(InputError):
    """The format is right but the content is truncated or damaged."""


class NotBrainMRIError(InputError):
    """The image was read but is not a usable slice of a head."""


class ModelFileError(TumorLensError):
    """The model file cannot be used."""


class ModelNotFoundError(ModelFileError):
    """No model file stands at the path."""


class ModelDamagedError(ModelFileError):
    """The file's hash or its self-test fails, or the file is truncated."""


class ForeignModelError(ModelFileError):
    """The file is not an ONNX model, or carries no TumorLens card."""


class NewerModelError(ModelFileError):
    """The file has the format of a newer TumorLens than this one."""


class OlderModelError(ModelFileError):
    """The file has a format that this TumorLens does not read any more."""


class ExplanationUnavailableError(TumorLensError):
    """The model answers without a class map, so there is nothing to show."""


class DataError(TumorLensError):
    """A data set, manifest or split cannot be used."""


class SourceNotFoundError(DataError):
    """A data source is neither a known name nor a folder with images."""


class ManifestError(DataError):
    """A manifest's columns or values are wrong."""


class DownloadError(DataError):
    """A data set, or pretrained weights, could not be downloaded."""


class SplitError(DataError):
    """A split file is damaged, or does not fit the data it is used with."""


class LeakageError(DataError):
    """A group of near-duplicates (or a patient) stands on two sides of a split."""


class ConfigError(TumorLensError):
    """A setting is unknown, missing or out of range."""


class ExportError(TumorLensError):
    """The exported graph disagrees with the network, or cannot be written."""


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


class MissingExtraError(TumorLensError):
    """An optional dependency is needed and not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the '{extra}' extra: pip install 'tumorlens[{extra}]'")
        self.extra = extra
