"""The papers' tables and figures as studies, judged, with the published numbers beside ours."""

from isoprune.reproduction.claims import Claim, Published, Reproduction, Verdict
from isoprune.reproduction.page import reproduction_page
from isoprune.reproduction.rehearsal import Rehearsed, days, rehearse, unique_networks
from isoprune.reproduction.sanity import sanity
from isoprune.reproduction.sanity_result import Sanity
from isoprune.reproduction.studies import REPRODUCTIONS, SCALES, find, study_of

__all__ = [
    "REPRODUCTIONS",
    "SCALES",
    "Claim",
    "Published",
    "Rehearsed",
    "Reproduction",
    "Sanity",
    "Verdict",
    "days",
    "find",
    "rehearse",
    "reproduction_page",
    "sanity",
    "study_of",
    "unique_networks",
]
