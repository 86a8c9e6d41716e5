"""What a call of an operator is, and the table that the families fill."""


from dataclasses import dataclass, field
from typing import Callable

@dataclass
class Call:
    """Inputs in order (`None`: left out), attributes, and how many outputs are asked for."""

    inputs: list
    attributes: dict = field(default_factory=dict)
    outputs: int = 1
    rtol: float = 0.0
    atol: float = 0.0


@dataclass
class Operator:
    draw: Callable
    domain: str = ""
    dtypes: tuple = ()  # element types of the first input that are tried, of those that the schema allows
    since: int = 7
    quanta: int = 0
    constants: tuple = ()  # inputs that ONNX Runtime wants to be constant


OPERATORS = {}


def operator(*names, **more):
    def register(draw):
        for name in names:
            OPERATORS[name] = Operator(draw, **more)
        return draw

    return register


def maybe(d, share=0.5, **attributes):
    """Each attribute or none of it."""
    return {name: value for name, value in attributes.items() if d.chance(share)}
