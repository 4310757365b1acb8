"""The papers' tables and figures as studies, judged, with the published numbers beside ours."""

from isoprune.reproduction.claims import Claim, Published, Reproduction, Verdict
from isoprune.reproduction.dry_runs import DryRun, days, dry_run, unique_networks
from isoprune.reproduction.page import reproduction_page
from isoprune.reproduction.sanity import sanity
from isoprune.reproduction.sanity_result import Sanity
from isoprune.reproduction.studies import REPRODUCTIONS, SCALES, find, study_of

__all__ = [
    "REPRODUCTIONS",
    "SCALES",
    "Claim",
    "DryRun",
    "Published",
    "Reproduction",
    "Sanity",
    "Verdict",
    "days",
    "dry_run",
    "find",
    "reproduction_page",
    "sanity",
    "study_of",
    "unique_networks",
]
