"""What reports of all kinds share: style, HTML and text tables."""
