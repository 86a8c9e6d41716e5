//! A reference NPU: int8 systolic array, scratchpad, DMA and command stream, simulated cycle by cycle.
