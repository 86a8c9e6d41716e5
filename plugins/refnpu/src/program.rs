//! A compiled network: command stream, packed constants, and where inputs and outputs are.
//!
//! As an artefact (all numbers little-endian): `"RNPU"`, version `u32`, activation bytes `u64`; inputs, then outputs,
//! each a count `u32` and for every port six `u32`: address, channels, rows, columns, unsigned, rank; phases, a count
//! `u32`, for each its streams, a count `u32`, and for each its words, a count `u64` and `u64`s; the constants, a count
//! `u64` and bytes; FNV-1a `u64` of all that. Behind the version the device: scratchpad `u32`, cores `u32`.

use crate::device::{ACTIVATIONS_BASE, BARRIER_CYCLES, CORES, Device, SCRATCHPAD_KIB};
use crate::isa::StreamError;
use crate::layer::Shape;
use crate::layout;
use crate::sim::{Counters, Dram, Machine};

const MAGIC: &[u8; 4] = b"RNPU";
pub const VERSION: u32 = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The device that it was made for.
    pub device: Device,
    /// One behind the other; in each a stream for every core that takes part. A device with one core has one phase.
    pub phases: Vec<Vec<Vec<u64>>>,
    pub constants: Vec<u8>,
    /// The size of a run's own memory.
    pub activation_bytes: usize,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

/// An input or output in a run's own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    pub address: u32,
    pub shape: Shape,
    /// The bytes are uint8 outside.
    pub unsigned: bool,
    /// Dimensions outside, the batch counted.
    pub rank: usize,
}

/// Why bytes are no artefact of this device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtefactError {
    #[error("this is no refnpu artefact")]
    Magic,
    #[error("the artefact has format {0}; this device reads format {VERSION}: compile the model again")]
    Version(u32),
    #[error("the artefact is damaged: its checksum does not match")]
    Checksum,
    #[error("the artefact ends in the middle")]
    Truncated,
    #[error("the artefact has a port outside the device's memory")]
    Port,
    #[error("the artefact is for a device that there is not")]
    Device,
}

/// What a run needs beside the program, and may use again for the next.
pub struct Context {
    machine: Machine,
    activations: Vec<u8>,
}

impl Port {
    /// Bytes of one image outside.
    pub fn dense_bytes(&self) -> usize {
        self.shape.channels * self.shape.pixels()
    }

    /// Its shape outside, for a batch.
    pub fn dims(&self, batch: usize) -> Vec<usize> {
        let Shape { channels, height, width } = self.shape;
        match self.rank {
            2 => vec![batch, channels],
            3 => vec![batch, channels, width],
            _ => vec![batch, channels, height, width],
        }
    }

    fn range(&self) -> std::ops::Range<usize> {
        let start = (self.address - ACTIVATIONS_BASE) as usize;
        start..start + self.shape.bytes()
    }
}

impl Program {
    pub fn context(&self) -> Context {
        Context { machine: Machine::new(&self.device), activations: vec![0; self.activation_bytes] }
    }

    /// Runs one image after the other. Every input and output holds the whole batch, in the standard's layout.
    pub fn run(
        &self,
        context: &mut Context,
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
        batch: usize,
    ) -> Result<Counters, StreamError> {
        let mut counters = Counters::default();
        for image in 0..batch {
            for (port, input) in self.inputs.iter().zip(inputs) {
                let dense = &input[image * port.dense_bytes()..][..port.dense_bytes()];
                layout::pack(dense, port.shape, port.unsigned, &mut context.activations[port.range()]);
            }
            let mut dram = Dram { constants: &self.constants, activations: &mut context.activations };
            counters += self.image(&mut |stream| context.machine.run(stream, &mut dram))?;
            for (port, output) in self.outputs.iter().zip(&mut *outputs) {
                let dense = &mut output[image * port.dense_bytes()..][..port.dense_bytes()];
                layout::unpack(&context.activations[port.range()], port.shape, port.unsigned, dense);
            }
        }
        Ok(counters)
    }

    /// What one image counts, without computing it.
    pub fn time(&self) -> Result<Counters, StreamError> {
        self.image(&mut |stream| crate::sim::time(stream, &self.device))
    }

    /// Cores of a phase work beside each other, on other parts of one layer; so one may do their work after the other.
    fn image(
        &self,
        work: &mut dyn FnMut(&[u64]) -> Result<Counters, StreamError>,
    ) -> Result<Counters, StreamError> {
        let mut counters = Counters::default();
        for (index, streams) in self.phases.iter().enumerate() {
            let mut phase = Counters::default();
            for stream in streams {
                phase = phase.beside(work(stream)?);
            }
            counters += phase;
            counters.cycles += if index > 0 { BARRIER_CYCLES } else { 0 };
        }
        Ok(counters)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.device.scratchpad_bytes as u32).to_le_bytes());
        bytes.extend((self.device.cores as u32).to_le_bytes());
        bytes.extend((self.activation_bytes as u64).to_le_bytes());
        for ports in [&self.inputs, &self.outputs] {
            bytes.extend((ports.len() as u32).to_le_bytes());
            for port in ports {
                let Shape { channels, height, width } = port.shape;
                let sizes =
                    [channels, height, width, usize::from(port.unsigned), port.rank].map(|size| size as u32);
                for number in [port.address].into_iter().chain(sizes) {
                    bytes.extend(number.to_le_bytes());
                }
            }
        }
        bytes.extend((self.phases.len() as u32).to_le_bytes());
        for streams in &self.phases {
            bytes.extend((streams.len() as u32).to_le_bytes());
            for words in streams {
                bytes.extend((words.len() as u64).to_le_bytes());
                bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            }
        }
        bytes.extend((self.constants.len() as u64).to_le_bytes());
        bytes.extend(&self.constants);
        bytes.extend(checksum(&bytes).to_le_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ArtefactError> {
        let mut reader = Reader { bytes };
        if reader.take(4) != Ok(MAGIC) {
            return Err(ArtefactError::Magic);
        }
        let version = reader.u32()?;
        if version != VERSION {
            return Err(ArtefactError::Version(version));
        }
        let (body, sum) = bytes.split_last_chunk::<8>().ok_or(ArtefactError::Truncated)?;
        if checksum(body) != u64::from_le_bytes(*sum) {
            return Err(ArtefactError::Checksum);
        }
        let (scratchpad_bytes, cores) = (reader.u32()? as usize, reader.u32()? as usize);
        let is_device =
            SCRATCHPAD_KIB.contains(&(scratchpad_bytes as i64 / 1024)) && CORES.contains(&(cores as i64));
        if !is_device {
            return Err(ArtefactError::Device);
        }
        let device = Device { scratchpad_bytes, cores };
        let activation_bytes = reader.count()?;
        if activation_bytes > (u32::MAX - ACTIVATIONS_BASE) as usize {
            return Err(ArtefactError::Port);
        }
        let inputs = reader.ports(activation_bytes)?;
        let outputs = reader.ports(activation_bytes)?;
        let phases = reader.phases()?;
        let constants = reader.count()?;
        let constants = reader.take(constants)?.to_vec();
        Ok(Program { device, phases, constants, activation_bytes, inputs, outputs })
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ArtefactError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(ArtefactError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], ArtefactError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(ArtefactError::Truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, ArtefactError> {
        Ok(u32::from_le_bytes(self.chunk()?))
    }

    fn count(&mut self) -> Result<usize, ArtefactError> {
        usize::try_from(u64::from_le_bytes(self.chunk()?)).map_err(|_| ArtefactError::Truncated)
    }

    fn phases(&mut self) -> Result<Vec<Vec<Vec<u64>>>, ArtefactError> {
        let phases = self.u32()?;
        let phase = |reader: &mut Self| {
            let streams = reader.u32()?;
            (0..streams).map(|_| reader.words()).collect::<Result<Vec<_>, _>>()
        };
        (0..phases).map(|_| phase(self)).collect()
    }

    fn words(&mut self) -> Result<Vec<u64>, ArtefactError> {
        let count = self.count()?;
        let words = self.take(count.checked_mul(8).ok_or(ArtefactError::Truncated)?)?;
        Ok(words.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    fn ports(&mut self, memory: usize) -> Result<Vec<Port>, ArtefactError> {
        let count = self.u32()?;
        (0..count).map(|_| self.port(memory)).collect()
    }

    /// A port whose bytes all lie inside a memory of so many bytes.
    fn port(&mut self, memory: usize) -> Result<Port, ArtefactError> {
        let address = self.u32()?;
        let mut size = || self.u32().map(|size| size as usize);
        let (channels, height, width, unsigned, rank) = (size()?, size()?, size()?, size()?, size()?);
        let offset = address.checked_sub(ACTIVATIONS_BASE).ok_or(ArtefactError::Port)? as usize;
        let end = channels
            .checked_next_multiple_of(crate::device::LANES)
            .and_then(|lanes| lanes.checked_mul(height)?.checked_mul(width)?.checked_add(offset));
        if channels == 0 || height == 0 || width == 0 || end.is_none_or(|end| end > memory) {
            return Err(ArtefactError::Port);
        }
        Ok(Port { address, shape: Shape { channels, height, width }, unsigned: unsigned != 0, rank })
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
