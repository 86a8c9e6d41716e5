//! Rates of the fast kernels on the shapes of well-known models, beside the peak of the machine.
//!
//! `cargo run --release -p byoc-cpu --example kernels [-- THREADS [FILTER]]`

use std::time::Duration;

use byoc_cpu::fast::bytes::{BytesLast, Coding, ConvBytes, Finish, conv_bytes};
use byoc_cpu::fast::conv::{Channels, ConvEpilogue, Images, PackedConv, Window, conv};
use byoc_cpu::fast::gemm::{Epilogue, Matrix, PackedB, Rhs, Zero, gemm};
use byoc_cpu::fast::{Activation, Exec};
use byoc_cpu::peak;
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

/// Name, input channels, output channels, groups, input size, kernel, stride; pads keep the size.
const CONVOLUTIONS: &[(&str, usize, usize, usize, usize, usize, usize)] = &[
    ("resnet50 stem", 3, 64, 1, 224, 7, 2),
    ("resnet50 3x3", 64, 64, 1, 56, 3, 1),
    ("resnet50 3x3", 128, 128, 1, 28, 3, 1),
    ("resnet50 3x3", 256, 256, 1, 14, 3, 1),
    ("resnet50 3x3", 512, 512, 1, 7, 3, 1),
    ("resnet50 3x3 s2", 128, 128, 1, 56, 3, 2),
    ("resnet50 1x1", 64, 256, 1, 56, 1, 1),
    ("resnet50 1x1", 256, 64, 1, 56, 1, 1),
    ("resnet50 1x1", 128, 512, 1, 28, 1, 1),
    ("resnet50 1x1", 256, 1024, 1, 14, 1, 1),
    ("resnet50 1x1", 2048, 512, 1, 7, 1, 1),
    ("resnet50 1x1 s2", 1024, 2048, 1, 14, 1, 2),
    ("mobilenet 1x1", 32, 16, 1, 112, 1, 1),
    ("mobilenet 1x1", 24, 144, 1, 56, 1, 1),
    ("mobilenet 1x1", 32, 192, 1, 28, 1, 1),
    ("mobilenet 1x1", 384, 64, 1, 14, 1, 1),
    ("mobilenet 1x1", 960, 160, 1, 7, 1, 1),
    ("mobilenet depthwise", 32, 32, 32, 112, 3, 1),
    ("mobilenet depthwise s2", 96, 96, 96, 112, 3, 2),
    ("mobilenet depthwise", 144, 144, 144, 56, 3, 1),
    ("mobilenet depthwise", 384, 384, 384, 14, 3, 1),
    ("mobilenet depthwise", 960, 960, 960, 7, 3, 1),
    ("unet 3x3", 64, 64, 1, 128, 3, 1),
    ("unet 3x3", 32, 32, 1, 256, 3, 1),
    ("shufflenet 1x1 groups", 240, 240, 3, 28, 1, 1),
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

impl Bench<'_> {
    fn convolutions(&self) {
        for &(name, input, output, groups, size, kernel, stride) in
            CONVOLUTIONS.iter().filter(|c| c.0.contains(&self.filter))
        {
            let channels = Channels { input, output, groups };
            let window = Window { strides: [stride; 2], pads: [kernel / 2; 4], ..Window::new([kernel; 2]) };
            let taps = input / groups * kernel * kernel;
            let weights =
                PackedConv::pack_for(self.exec.isa, channels, window, &filled(output * taps), [size; 2]);
            let x = filled(input * size * size);
            let pixels = size.div_ceil(stride).pow(2);
            let mut y = vec![0.0; output * pixels];
            let bias = filled(output);
            let epilogue =
                ConvEpilogue { bias: Some(&bias), activation: Activation::Relu, ..Default::default() };
            let shape = format!("{input}->{output} {size}x{size}");
            self.report(name, &shape, 2.0 * (output * pixels * taps) as f64, || {
                let images = Images { data: &x, count: 1, size: [size; 2] };
                conv(self.exec, images, &weights, &mut y, &epilogue);
            });
        }
    }
}

impl Bench<'_> {
    /// The same convolutions by bytes.
    fn bytes(&self) {
        for &(name, input, output, groups, size, kernel, stride) in
            CONVOLUTIONS.iter().filter(|c| c.0.contains(&self.filter))
        {
            let channels = Channels { input, output, groups };
            let window = Window { strides: [stride; 2], pads: [kernel / 2; 4], ..Window::new([kernel; 2]) };
            let taps = input / groups * kernel * kernel;
            let weights: Vec<i8> = (0..output * taps).map(|i| (i % 251) as i8).collect();
            let coding = Coding { signed: false, zero: 120, scale: 0.01 };
            let finish = Finish::new(output, &[0.0007], coding, None);
            let weights = (&weights[..], Zero::All(0));
            let conv = ConvBytes::new(self.exec.isa, (channels, window), coding, weights, None, finish);
            let x: Vec<u8> = (0..input * size * size).map(|i| i as u8).collect();
            let pixels = size.div_ceil(stride).pow(2);
            let mut y = vec![0; output * pixels];
            let shape = format!("{input}->{output} {size}x{size} bytes");
            self.report(name, &shape, 2.0 * (output * pixels * taps) as f64, || {
                let images = BytesLast { data: &x, count: 1, size: [size; 2] };
                conv_bytes(self.exec, images, &conv, &mut y);
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
    let peak = peak::measure(exec).flops / 1e9;
    println!("{:?}, {} threads, peak {peak:.0} GFLOP/s", exec.isa, pool.threads());
    let bench = Bench { exec, peak, filter: arguments.next().unwrap_or_default() };
    bench.products();
    bench.convolutions();
    bench.bytes();
}
