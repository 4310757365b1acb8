from .advise import advise as advise
from .diagnose import diagnose as diagnose
from .prune import harden as harden
from .prune import prune as prune
from .prune import shrink as shrink
from .prune import verify as verify
from .repair import repair as repair
from .retrain import retrain as retrain
