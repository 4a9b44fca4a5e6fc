"""De-identified copies of DICOM images by PS3.15, Annex E (extra ``dicom``)."""
