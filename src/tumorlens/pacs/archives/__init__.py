"""Archives: Orthanc by its REST interface, any other by DICOMweb."""
