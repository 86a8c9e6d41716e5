//! Rates of the fast kernels on the shapes of well-known models, beside the peak of the machine.
//!
//! `cargo run --release -p byoc-cpu --example kernels [-- THREADS [FILTER]]`

mod peak;

use std::time::Duration;

use byoc_cpu::fast::Exec;
use byoc_cpu::fast::gemm::{Epilogue, Matrix, PackedB, Rhs, gemm};
use byoc_cpu::pool::ThreadPool;

/// Name, m, n, k.
const PRODUCTS: &[(&str, usize, usize, usize)] = &[
    ("bert qkv", 128, 768, 768),
    ("bert ffn up", 128, 3072, 768),
    ("bert ffn down", 128, 768, 3072),
    ("vit ffn up", 197, 3072, 768),
    ("vit ffn down", 197, 768, 3072),
    ("gpt2 head", 128, 50257, 768),
    ("resnet50 head", 1, 1000, 2048),
    ("gpt2 decode ffn", 1, 3072, 768),
    ("square", 1024, 1024, 1024),
];

struct Bench<'a> {
    exec: Exec<'a>,
    peak: f64,
    filter: String,
}

impl Bench<'_> {
    fn report(&self, name: &str, shape: &str, flops: f64, mut run: impl FnMut()) {
        let seconds = peak::best(Duration::from_millis(200), &mut run);
        let rate = flops / seconds / 1e9;
        println!(
            "{name:<24} {shape:<34} {:>9.1} us {rate:>8.1} GFLOP/s {:>5.1} %",
            seconds * 1e6,
            rate / self.peak * 100.0
        );
    }

    fn products(&self) {
        for &(name, m, n, k) in PRODUCTS.iter().filter(|p| p.0.contains(&self.filter)) {
            let (a, b, mut c) = (filled(m * k), filled(k * n), vec![0.0; m * n]);
            let weights = PackedB::pack(self.exec.isa, Matrix::row_major(&b, k, n));
            let flops = 2.0 * (m * n * k) as f64;
            let a = Matrix::row_major(&a, m, k);
            self.report(name, &format!("{m}x{n}x{k} packed"), flops, || {
                gemm(self.exec, a, Rhs::Packed(&weights), &mut c, n, &Epilogue::default());
            });
            let b = Matrix::row_major(&b, k, n);
            self.report(name, &format!("{m}x{n}x{k} plain"), flops, || {
                gemm(self.exec, a, Rhs::Plain(b), &mut c, n, &Epilogue::default());
            });
        }
    }
}

fn filled(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().and_then(|n| n.parse().ok());
    let pool = threads.map_or_else(ThreadPool::default, ThreadPool::new);
    let exec = Exec::new(&pool);
    let peak = peak::flops(exec);
    println!("{:?}, {} threads, peak {peak:.0} GFLOP/s", exec.isa, pool.threads());
    let bench = Bench { exec, peak, filter: arguments.next().unwrap_or_default() };
    bench.products();
}
