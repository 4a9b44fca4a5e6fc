"""Series from an archive (PACS) or a sender, answered into their study (extra ``dicom``)."""
