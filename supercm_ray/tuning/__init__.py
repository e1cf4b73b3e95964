"""The commands `tune` and `train`, and the report of a study."""
