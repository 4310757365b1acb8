from . import data as data
from . import models as models
from .comparison.records import records as records
from .export import export_onnx as export_onnx
from .export import latency as latency
from .export import load as load
from .export import save as save
from .graph import trace as trace
from .isometry import jacobian_singular_values as jacobian_singular_values
from .pruning import Pruned as Pruned
from .reporting import report as report
from .reproduction import sanity as sanity
from .types import IsopruneError as IsopruneError
from .types import Metric as Metric
from .types import Plan as Plan
from .types import Task as Task
from .verbs import advise as advise
from .verbs import diagnose as diagnose
from .verbs import harden as harden
from .verbs import prune as prune
from .verbs import repair as repair
from .verbs import retrain as retrain
from .verbs import rewind as rewind
from .verbs import shrink as shrink
from .verbs import verify as verify

__version__: str
