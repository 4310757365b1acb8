"""The documentation as a site: `make docs`. Sphinx with furo and myst.

Sphinx, because the API reference is made of the docstrings without a second tool, search works offline, and
references that lead nowhere are warnings, which are errors here; myst, because the pages are Markdown that
reads on GitHub as it stands; furo for its dark mode and its width.
"""

from __future__ import annotations

from importlib import metadata

project = "isoprune"
author = "The isoprune authors"
project_copyright = "The isoprune authors, Apache-2.0"
release = metadata.version("isoprune")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "figures"]
html_theme = "furo"
html_title = "isoprune"

myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]  # console blocks with output are no programs

default_role = "code"  # a name in single backticks is code
autodoc_typehints = "none"  # shapes stand in the signatures as they are written
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes in a docstring are not described a second time
