"""Single-frame DICOM files: elements, pixels, grey levels, geometry and what the header says."""
