"""The report of a study: table, plots and one HTML page."""

from supercm_ray.tuning.report.build import Report, build_report
from supercm_ray.tuning.report.text import headline, table_text

__all__ = ["Report", "build_report", "headline", "table_text"]
