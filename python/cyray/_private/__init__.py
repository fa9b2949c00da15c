"""Names that code written for Ray imports from here; cyray's own modules do not."""
