"""Running jobs and keeping their records, wherever they run. Knows no Ray."""
