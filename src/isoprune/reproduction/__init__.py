"""The papers' tables and figures as studies, judged, with the published numbers beside ours."""

from isoprune.reproduction.claims import Claim as Claim
from isoprune.reproduction.claims import Published as Published
from isoprune.reproduction.claims import Reproduction as Reproduction
from isoprune.reproduction.claims import Verdict as Verdict
from isoprune.reproduction.dry_runs import DryRun as DryRun
from isoprune.reproduction.dry_runs import days as days
from isoprune.reproduction.dry_runs import dry_run as dry_run
from isoprune.reproduction.dry_runs import unique_networks as unique_networks
from isoprune.reproduction.page import reproduction_page as reproduction_page
from isoprune.reproduction.sanity import sanity as sanity
from isoprune.reproduction.sanity_result import Sanity as Sanity
from isoprune.reproduction.studies import REPRODUCTIONS as REPRODUCTIONS
from isoprune.reproduction.studies import SCALES as SCALES
from isoprune.reproduction.studies import find as find
from isoprune.reproduction.studies import study_of as study_of
