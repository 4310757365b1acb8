"""Records -> tables, sentences, figures and one web page; what is not in a record cannot be reported.

Loaded when first used: a table needs no charts.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "advice_page": ["advice_page"],
        "diagnosis_page": ["diagnosis_page"],
        "export": ["export_figures", "write_figure"],
        "live_page": ["live_page"],
        "page": ["report"],
        "sentences": ["explain"],
        "tables": ["markdown_table", "terminal_table"],
    },
)
