"""The operators that are tried one by one, as a table: `OPERATORS[name]` draws a call of one operator.

Element types and versions come from the operator's own schema; a generator reads `d.opset` and `d.dtype`.
To add an operator, add a row to a family's table, or a function under `@operator` in its family's file.
"""

# In this order, since a seed draws from the table by place.
from . import elementwise
from . import axes
from . import products
from . import movement
from . import quantisation
from . import images
from . import signals
from . import sequences
from . import text
from . import classical
from .registry import OPERATORS, Call

__all__ = ["OPERATORS", "Call"]
