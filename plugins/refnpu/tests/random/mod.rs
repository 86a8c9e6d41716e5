//! Seeded numbers (xorshift64*), and layers made of them.

use byoc_refnpu::layer::{Border, Conv, Layer, Network, Op, Shape, Window};
use byoc_refnpu::quant::Range;

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 33) as usize) % bound
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn byte(&mut self) -> i8 {
        (self.next() >> 40) as i8
    }

    pub fn bytes(&mut self, count: usize) -> Vec<i8> {
        (0..count).map(|_| self.byte()).collect()
    }

    /// Between `low` and `high`.
    pub fn float(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.below(1 << 20) as f32 / (1 << 20) as f32)
    }

    pub fn range(&mut self) -> Range {
        let zero = self.byte();
        match self.below(3) {
            0 => Range { zero, low: zero, high: i8::MAX },
            1 => Range { zero, low: zero, high: zero.saturating_add(90) },
            _ => Range::full(zero),
        }
    }

    /// A convolution whose results mostly fall inside int8.
    pub fn conv(&mut self, inputs: usize, outputs: usize, groups: usize, window: Window) -> Conv {
        let depth = inputs / groups * window.taps();
        let spread = 1.0 / (60.0 * (depth as f32).sqrt());
        Conv {
            window,
            groups,
            weights: self.bytes(outputs * depth),
            weight_zero: if self.below(2) == 0 { 0 } else { self.byte() },
            input_zero: self.byte(),
            bias: (0..outputs).map(|_| self.below(20_001) as i32 - 10_000).collect(),
            multiplier: (0..outputs).map(|_| self.float(0.2 * spread, spread)).collect(),
            range: self.range(),
        }
    }
}

/// A network of one layer.
pub fn single(op: Op, inputs: &[Shape], output: Shape) -> Network {
    let border = |tensor| Border { tensor, unsigned: tensor % 2 == 1, rank: 4 };
    let count = inputs.len();
    Network {
        tensors: inputs.iter().copied().chain([output]).collect(),
        layers: vec![Layer { name: "layer".into(), op, inputs: (0..count).collect(), output: count }],
        inputs: (0..count).map(border).collect(),
        outputs: vec![border(count)],
    }
}
