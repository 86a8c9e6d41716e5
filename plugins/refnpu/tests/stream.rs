//! The command stream: encoding, text, timing, and what the simulator makes of nonsense.

mod random;

use byoc_refnpu::codegen::{Options, lower};
use byoc_refnpu::device::{ACTIVATIONS_BASE, Device};
use byoc_refnpu::isa::{Command, Decoder, Register, disassemble, encode};
use byoc_refnpu::layer::{Op, Shape, Window};
use byoc_refnpu::program::{ArtefactError, Program};
use byoc_refnpu::sim::{self, Dram, Machine};
use random::{Random, single};

/// A convolution in two tiles of two blocks: small enough to read, large enough to show double buffering.
fn sample() -> Program {
    let input = Shape { channels: 40, height: 24, width: 30 };
    let output = Shape { channels: 33, height: 24, width: 30 };
    let random = &mut Random::new(3);
    let conv = random.conv(40, 33, 1, Window { kernel: [1, 2], pads: [0, 1], ..Window::POINT });
    let output = Shape { width: output.width + 1, ..output };
    lower(&single(Op::Conv(conv), &[input], output), Options::default()).expect("it fits")
}

/// The only stream of a program for one core.
fn words(program: &Program) -> Vec<u64> {
    program.phases[0][0].clone()
}

fn commands(words: &[u64]) -> Vec<Command> {
    let mut decoder = Decoder::new(words);
    std::iter::from_fn(|| decoder.command().expect("a good stream").map(|(_, command)| command)).collect()
}

#[test]
fn commands_survive_encoding() {
    let words = words(&sample());
    assert_eq!(encode(&commands(&words)), words);
    // Registers set at random reach every operand of every command.
    let random = &mut Random::new(5);
    for opcode in [0x10u64, 0x11, 0x20, 0x21, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36] {
        let mut words: Vec<u64> = (0..Register::ALL.len() as u64)
            .map(|register| 1 << 56 | register << 48 | u64::from(random.byte() as u8))
            .collect();
        words.extend([opcode << 56, 0]);
        let first = commands(&words);
        assert_eq!(format!("{:?}", commands(&encode(&first))), format!("{first:?}"));
    }
}

#[test]
fn a_stream_as_text() {
    insta::assert_snapshot!(disassemble(&words(&sample())).expect("a good stream"));
}

#[test]
fn artefacts_survive_and_damage_is_noticed() {
    let program = sample();
    let bytes = program.to_bytes();
    assert_eq!(Program::from_bytes(&bytes), Ok(program));
    for length in 0..bytes.len().min(400) {
        assert!(Program::from_bytes(&bytes[..length]).is_err(), "cut to {length} bytes");
    }
    for at in (0..bytes.len()).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        assert!(Program::from_bytes(&damaged).is_err(), "byte {at} changed");
    }
    let mut newer = bytes;
    newer[4] = 9;
    assert_eq!(Program::from_bytes(&newer), Err(ArtefactError::Version(9)));
}

/// Runs a stream on a little memory; whether it is good or not, it must come back.
fn survive(words: &[u64]) -> bool {
    let mut activations = vec![0; 1 << 16];
    let constants = vec![0; 1 << 16];
    let mut dram = Dram { constants: &constants, activations: &mut activations };
    let timed = sim::time(words, &Device::default());
    let ran = Machine::default().run(words, &mut dram);
    // Timing knows all but the size of the device's memory, and whether there are weights.
    if let Ok(counters) = &ran {
        assert_eq!(timed.as_ref(), Ok(counters));
    }
    ran.is_ok()
}

#[test]
fn no_stream_breaks_the_simulator() {
    let mut good = 0;
    for seed in 0..3000 {
        let random = &mut Random::new(seed);
        let words: Vec<u64> = (0..random.below(60)).map(|_| nearly_a_word(random)).chain([0]).collect();
        good += usize::from(survive(&words));
        survive(&words[..words.len() - 1]);
        survive(&(0..20).map(|_| random.next()).collect::<Vec<u64>>());
    }
    assert!(good > 30, "only {good} streams ran: the generator has become useless");
}

/// Mostly a good word with an operand that may be good.
fn nearly_a_word(random: &mut Random) -> u64 {
    let value = match random.below(6) {
        0 => random.next() as u32,
        1 => ACTIVATIONS_BASE + random.below(1 << 12) as u32,
        2 => random.below(1 << 20) as u32,
        _ => random.below(40) as u32,
    };
    let opcodes = [0x10, 0x11, 0x20, 0x21, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x40];
    match random.below(8) {
        0 => random.pick(&opcodes) << 56 | (random.below(2) as u64) << 48,
        _ => 1 << 56 | (random.below(Register::ALL.len() + 1) as u64) << 48 | u64::from(value),
    }
}

#[test]
fn a_damaged_stream_is_an_error_or_runs() {
    let program = sample();
    for seed in 0..500 {
        let random = &mut Random::new(seed);
        let mut words = words(&program);
        let at = random.below(words.len());
        words[at] ^= 1 << random.below(64);
        survive(&words);
    }
}

/// Double buffering hides transfers behind work wherever there are both.
#[test]
fn double_buffering_saves_cycles() {
    let shape = Shape { channels: 64, height: 56, width: 56 };
    for (kernel, most) in [(3, 0.95), (1, 0.80)] {
        let random = &mut Random::new(kernel as u64);
        let window = Window { kernel: [kernel; 2], pads: [kernel / 2; 2], ..Window::POINT };
        let network = single(Op::Conv(random.conv(64, 64, 1, window)), &[shape], shape);
        let cycles = |double_buffer| {
            let program = lower(&network, Options { double_buffer, ..Options::default() }).expect("it fits");
            program.time().expect("a good stream").cycles as f64
        };
        let ratio = cycles(true) / cycles(false);
        assert!(ratio < most, "kernel {kernel}: {ratio:.2} of the cycles without");
    }
}
