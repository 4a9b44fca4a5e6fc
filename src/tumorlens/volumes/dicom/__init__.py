"""DICOM files → stacks of slices → volumes; pydicom is imported when a file is read."""
