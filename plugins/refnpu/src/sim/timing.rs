//! When commands run: three engines beside each other, held in order by a scoreboard.
//!
//! The front end takes a word a cycle and puts commands into the queue of their engine, waiting while it is full. An
//! engine works through its queue in order; a command begins when the engine is free and nothing earlier still
//! writes what it reads, or reads or writes what it writes. The scoreboard knows the scratchpad by granules of 256
//! bytes and the accumulators by granules of 16 rows.

use std::collections::VecDeque;
use std::ops::Range;

use super::bounds::Footprint;
use crate::device::{
    ACCUMULATOR_ROWS, ARRAY_DRAIN, ARRAY_FILL, DMA_BYTES_PER_CYCLE, DMA_LATENCY, LANES, QUEUE_DEPTH,
    VECTOR_LATENCY, WEIGHT_LOAD_CYCLES,
};
use crate::isa::{Command, Engine};

const SCRATCHPAD_GRANULE: usize = 256;
const ACCUMULATOR_GRANULE: usize = 16;

/// What a run has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub cycles: u64,
    pub dma_busy: u64,
    pub array_busy: u64,
    pub vector_busy: u64,
    pub bytes_loaded: u64,
    pub bytes_stored: u64,
    /// Multiply-accumulates of array and vector unit, idle lanes included.
    pub macs: u64,
    /// The highest scratchpad address used.
    pub scratchpad_used: u64,
    pub words: u64,
}

impl Counters {
    /// What two cores count that work beside each other.
    pub fn beside(mut self, other: Self) -> Self {
        let cycles = self.cycles.max(other.cycles);
        self += other;
        Counters { cycles, ..self }
    }

    /// The share of the array's products that are wanted ones, of so many.
    pub fn utilisation(&self, wanted: u64, cores: usize) -> f64 {
        let most = self.cycles * (LANES * LANES * cores) as u64;
        if most == 0 { 0.0 } else { wanted as f64 / most as f64 }
    }
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.cycles += other.cycles;
        self.dma_busy += other.dma_busy;
        self.array_busy += other.array_busy;
        self.vector_busy += other.vector_busy;
        self.bytes_loaded += other.bytes_loaded;
        self.bytes_stored += other.bytes_stored;
        self.macs += other.macs;
        self.scratchpad_used = self.scratchpad_used.max(other.scratchpad_used);
        self.words += other.words;
    }
}

impl std::fmt::Display for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} cycles (dma {}, array {}, vector {} busy), {} bytes loaded, {} stored, {} multiply-accumulates, \
             {} bytes of scratchpad, {} words",
            self.cycles,
            self.dma_busy,
            self.array_busy,
            self.vector_busy,
            self.bytes_loaded,
            self.bytes_stored,
            self.macs,
            self.scratchpad_used,
            self.words
        )
    }
}

/// The device's clock while a stream is worked through.
pub struct Clock {
    counters: Counters,
    /// When the front end has taken the last command.
    issued: u64,
    /// Words that it has taken by then.
    words: usize,
    queues: [Queue; 3],
    scratchpad: Scoreboard,
    accumulators: Scoreboard,
}

#[derive(Default)]
struct Queue {
    free_at: u64,
    /// When the last commands left the queue.
    started: VecDeque<u64>,
}

/// For each granule, until when it is read and written.
struct Scoreboard {
    granule: usize,
    read_until: Vec<u64>,
    written_until: Vec<u64>,
}

impl Clock {
    /// With a scratchpad of so many bytes.
    pub fn new(scratchpad: usize) -> Self {
        Clock {
            counters: Counters::default(),
            issued: 0,
            words: 0,
            queues: Default::default(),
            scratchpad: Scoreboard::new(SCRATCHPAD_GRANULE, scratchpad),
            accumulators: Scoreboard::new(ACCUMULATOR_GRANULE, ACCUMULATOR_ROWS),
        }
    }

    /// Accounts for the command of word `at`.
    pub fn advance(&mut self, command: &Command, footprint: &Footprint, at: usize) {
        self.issued += (at + 1 - self.words) as u64;
        self.words = at + 1;
        let queue = &mut self.queues[command.engine() as usize];
        if queue.started.len() == QUEUE_DEPTH {
            let left = queue.started.pop_front().unwrap_or(0);
            self.issued = self.issued.max(left);
        }
        let reads = footprint.reads.iter().map(|range| self.scratchpad.readable(range)).max().unwrap_or(0);
        let start = [
            self.issued,
            queue.free_at,
            reads,
            self.scratchpad.writable(&footprint.writes),
            self.accumulators.readable(&footprint.rows_read),
            self.accumulators.writable(&footprint.rows_written),
        ]
        .into_iter()
        .max()
        .unwrap_or(0);
        let end = start.saturating_add(duration(command));
        queue.started.push_back(start);
        queue.free_at = end;
        for range in &footprint.reads {
            self.scratchpad.read(range, end);
        }
        self.scratchpad.write(&footprint.writes, end);
        self.accumulators.read(&footprint.rows_read, end);
        self.accumulators.write(&footprint.rows_written, end);
        self.count(command, footprint, end);
    }

    /// The counters once all engines are idle.
    pub fn finish(mut self, words: usize) -> Counters {
        self.counters.words = words as u64;
        self.counters.cycles = self.counters.cycles.max(words as u64);
        self.counters
    }

    fn count(&mut self, command: &Command, footprint: &Footprint, end: u64) {
        let counters = &mut self.counters;
        counters.cycles = counters.cycles.max(end);
        let busy = match command.engine() {
            Engine::Dma => &mut counters.dma_busy,
            Engine::Array => &mut counters.array_busy,
            Engine::Vector => &mut counters.vector_busy,
        };
        *busy += duration(command);
        match command {
            Command::Load(transfer) => counters.bytes_loaded += transfer.bytes(),
            Command::Store(transfer) => counters.bytes_stored += transfer.bytes(),
            Command::MatMul { area, .. } => counters.macs += area.vectors() * (LANES * LANES) as u64,
            Command::Depthwise { area, taps, .. } => {
                counters.macs += area.vectors() * taps.count() * LANES as u64;
            }
            _ => {}
        }
        let highest =
            footprint.reads.iter().map(|range| range.end).max().unwrap_or(0).max(footprint.writes.end);
        counters.scratchpad_used = counters.scratchpad_used.max(highest as u64);
    }
}

/// Cycles for which a command keeps its engine.
fn duration(command: &Command) -> u64 {
    match command {
        Command::Load(t) | Command::Store(t) => {
            let beats = u64::from(t.row_bytes).div_ceil(DMA_BYTES_PER_CYCLE);
            DMA_LATENCY + beats * u64::from(t.rows) * u64::from(t.planes)
        }
        Command::Weights { .. } => WEIGHT_LOAD_CYCLES,
        Command::MatMul { area, .. } => ARRAY_FILL + area.vectors() + ARRAY_DRAIN,
        Command::Depthwise { area, taps, .. } | Command::MaxPool { area, taps, .. } => {
            area.vectors() * taps.count() + VECTOR_LATENCY
        }
        Command::Requantise { area, .. }
        | Command::Add { area, .. }
        | Command::Lookup { area, .. }
        | Command::Move { area, .. }
        | Command::Fill { area, .. } => area.vectors() + VECTOR_LATENCY,
    }
}

impl Scoreboard {
    fn new(granule: usize, size: usize) -> Self {
        let count = size.div_ceil(granule);
        Scoreboard { granule, read_until: vec![0; count], written_until: vec![0; count] }
    }

    fn granules(&self, range: &Range<usize>) -> Range<usize> {
        if range.is_empty() { 0..0 } else { range.start / self.granule..range.end.div_ceil(self.granule) }
    }

    fn readable(&self, range: &Range<usize>) -> u64 {
        latest(&self.written_until[self.granules(range)])
    }

    fn writable(&self, range: &Range<usize>) -> u64 {
        let granules = self.granules(range);
        latest(&self.written_until[granules.clone()]).max(latest(&self.read_until[granules]))
    }

    fn read(&mut self, range: &Range<usize>, end: u64) {
        let granules = self.granules(range);
        for until in &mut self.read_until[granules] {
            *until = (*until).max(end);
        }
    }

    fn write(&mut self, range: &Range<usize>, end: u64) {
        let granules = self.granules(range);
        for until in &mut self.written_until[granules] {
            *until = (*until).max(end);
        }
    }
}

fn latest(times: &[u64]) -> u64 {
    times.iter().copied().max().unwrap_or(0)
}
