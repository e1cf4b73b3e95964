"""The verb tune and its report."""
