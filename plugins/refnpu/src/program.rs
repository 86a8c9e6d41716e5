//! A compiled network: command stream, packed constants, and where inputs and outputs are.
//!
//! As an artefact (all numbers little-endian): `"RNPU"`, version `u32`, activation bytes `u64`; inputs, then outputs,
//! each a count `u32` and for every port six `u32`: address, channels, rows, columns, unsigned, rank; the words, a
//! count `u64` and `u64`s; the constants, a count `u64` and bytes; FNV-1a `u64` of all that.

use crate::device::ACTIVATIONS_BASE;
use crate::isa::StreamError;
use crate::layer::Shape;
use crate::layout;
use crate::sim::{Counters, Dram, Machine};

const MAGIC: &[u8; 4] = b"RNPU";
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub words: Vec<u64>,
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
        Context { machine: Machine::default(), activations: vec![0; self.activation_bytes] }
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
            counters += context.machine.run(&self.words, &mut dram)?;
            for (port, output) in self.outputs.iter().zip(&mut *outputs) {
                let dense = &mut output[image * port.dense_bytes()..][..port.dense_bytes()];
                layout::unpack(&context.activations[port.range()], port.shape, port.unsigned, dense);
            }
        }
        Ok(counters)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
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
        bytes.extend((self.words.len() as u64).to_le_bytes());
        bytes.extend(self.words.iter().flat_map(|word| word.to_le_bytes()));
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
        let activation_bytes = reader.count()?;
        if activation_bytes > (u32::MAX - ACTIVATIONS_BASE) as usize {
            return Err(ArtefactError::Port);
        }
        let inputs = reader.ports(activation_bytes)?;
        let outputs = reader.ports(activation_bytes)?;
        let words = reader.count()?;
        let words = reader.take(words.checked_mul(8).ok_or(ArtefactError::Truncated)?)?;
        let words = words.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let constants = reader.count()?;
        let constants = reader.take(constants)?.to_vec();
        Ok(Program { words, constants, activation_bytes, inputs, outputs })
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
