//! Attention against plain f64 loops: orders, groups of heads, masks, few and many queries.

mod common;

use byoc_cpu::fast::attention::{Attention, Heads, Mask, Order, PerScore, Shape, attention};
use common::{Random, close, everywhere};

/// An operand's elements in one of the orders.
struct Operand {
    data: Vec<f32>,
    start: usize,
    strides: [usize; 3],
}

impl Operand {
    /// As the middle one of three that lie side by side.
    fn new(random: &mut Random, [batch, heads, rows]: [usize; 3], size: usize, order: Order) -> Operand {
        let data = random.floats(3 * batch * heads * rows * size);
        let [b, h, r] = order.strides(heads, rows, size);
        match order {
            Order::HeadsFirst => Operand { data, start: batch * heads * rows * size, strides: [b, h, r] },
            Order::RowsFirst => Operand { data, start: heads * size, strides: [3 * b, h, 3 * r] },
        }
    }

    fn heads(&self) -> Heads<'_> {
        Heads { data: &self.data, start: self.start, strides: self.strides }
    }

    fn at(&self, [batch, head, row]: [usize; 3], i: usize) -> f64 {
        let [b, h, r] = self.strides;
        f64::from(self.data[self.start + batch * b + head * h + row * r + i])
    }
}

fn check(shape: Shape, orders: [Order; 4], masked: usize) {
    let Shape { batch, heads, key_heads, queries, keys, size, value_size } = shape;
    let mut random = Random((queries * 1000 + keys * 10 + size) as u64);
    let q = Operand::new(&mut random, [batch, heads, queries], size, orders[0]);
    let k = Operand::new(&mut random, [batch, key_heads, keys], size, orders[1]);
    let v = Operand::new(&mut random, [batch, key_heads, keys], value_size, orders[2]);
    let add: Vec<f32> =
        (0..queries * keys).map(|i| if i % keys > i / keys + 3 { -3.4e38 } else { random.float() }).collect();
    let keep: Vec<u8> =
        (0..batch * keys).map(|i| u8::from(i % 3 != 1 && i % keys < keys.max(9) - 4)).collect();
    let by_key = [0, 0, keys, 1];
    let mask = match masked {
        0 => Mask::None,
        1 => Mask::Add(PerScore { data: &add, strides: by_key }),
        2 => Mask::Keep(PerScore { data: &keep, strides: [keys, 0, 0, 1] }, f32::MIN),
        _ => Mask::Add(PerScore { data: &add[..1], strides: [0; 4] }),
    };
    let scale = 0.3f32;
    let mut want = vec![0.0; batch * heads * queries * value_size];
    let out = orders[3].strides(heads, queries, value_size);
    for (b, h, i) in
        (0..batch * heads * queries).map(|n| (n / queries / heads, n / queries % heads, n % queries))
    {
        let kv = h / (heads / key_heads);
        let mut scores: Vec<f64> = (0..keys)
            .map(|j| {
                let dot: f64 = (0..size).map(|e| q.at([b, h, i], e) * k.at([b, kv, j], e)).sum();
                let score = dot * f64::from(scale);
                match masked {
                    1 => score + f64::from(add[i * keys + j]),
                    2 if keep[b * keys + j] == 0 => f64::from(f32::MIN),
                    _ => score,
                }
            })
            .collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        scores.iter_mut().for_each(|x| *x = (*x - max).exp());
        let sum: f64 = scores.iter().sum();
        for e in 0..value_size {
            let at = b * out[0] + h * out[1] + i * out[2] + e;
            want[at] = (0..keys).map(|j| scores[j] / sum * v.at([b, kv, j], e)).sum();
        }
    }
    everywhere(
        |exec| {
            let mut y = vec![f32::NAN; want.len()];
            let call =
                Attention { shape, q: q.heads(), k: k.heads(), v: v.heads(), mask, sight: None, scale };
            attention(exec, &call, orders[3], &mut y);
            y
        },
        |isa, y| close(&format!("{shape:?} {orders:?} {masked} {isa:?}"), y, &want, 1e-5),
    );
}

fn shape(
    [batch, heads, key_heads]: [usize; 3],
    [queries, keys]: [usize; 2],
    [size, value_size]: [usize; 2],
) -> Shape {
    Shape { batch, heads, key_heads, queries, keys, size, value_size }
}

#[test]
fn sizes_and_masks() {
    use Order::{HeadsFirst, RowsFirst};
    for (i, [queries, keys]) in
        [[1, 1], [1, 129], [2, 50], [3, 7], [4, 4], [5, 3], [9, 17], [16, 49], [65, 48], [70, 130], [131, 65]]
            .into_iter()
            .enumerate()
    {
        for masked in 0..4 {
            let size = [[64, 64], [16, 33], [7, 5], [20, 64], [1, 1]][i % 5];
            let orders =
                [[HeadsFirst; 4], [RowsFirst; 4], [RowsFirst, HeadsFirst, RowsFirst, HeadsFirst]][i % 3];
            check(shape([1 + i % 2, 2, 2], [queries, keys], size), orders, masked);
        }
    }
}

#[test]
fn heads_that_share_keys() {
    for queries in [1, 12] {
        check(shape([2, 6, 2], [queries, 20], [8, 16]), [Order::RowsFirst; 4], 1);
        check(shape([1, 3, 1], [queries, 33], [32, 32]), [Order::HeadsFirst; 4], 0);
    }
}

#[test]
#[should_panic(expected = "lie outside of their data")]
fn short_operands_are_refused() {
    let shape = shape([1, 1, 1], [2, 2], [4, 4]);
    let short = Heads { data: &[0.0; 7], start: 0, strides: [8, 8, 4] };
    let whole = Heads { data: &[0.0; 8], ..short };
    everywhere(
        |exec| {
            let call =
                Attention { shape, q: whole, k: whole, v: short, mask: Mask::None, sight: None, scale: 1.0 };
            attention(exec, &call, Order::RowsFirst, &mut [0.0; 8]);
            Vec::<f32>::new()
        },
        |_, _| {},
    );
}
