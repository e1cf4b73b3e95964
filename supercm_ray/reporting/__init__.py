"""Style, HTML and text tables, shared by all reports."""
