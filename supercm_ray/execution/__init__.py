"""Runs jobs on an executor and keeps their records. It does not import Ray."""
