//! What every family of kernels has in common.

use std::path::Path;

use byoc_plugin::{Error, Result};

use crate::api::Address;
use crate::cache::digest;
use crate::convolve::Convolve;
use crate::driver::Grid;
use crate::multiply::Multiply;
use crate::shape::Shape;

/// What stands in front of every generated kernel.
pub const PRELUDE: &str = include_str!("prelude.cuh");
/// Threads of a block where elements have nothing to do with each other.
const THREADS: u32 = 256;
/// Beyond this many blocks, threads go on to further elements.
const MOST_BLOCKS: usize = 1 << 16;

/// CUDA C with one kernel in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    pub text: String,
}

impl Source {
    /// A kernel of this body: its arguments are addresses and structs of the prelude.
    pub fn new(name: String, arguments: &[String], body: &str) -> Source {
        let arguments = arguments.join(",\n    ");
        let text = format!("extern \"C\" __global__ void {name}(\n    {arguments}\n) {{\n{body}}}\n");
        Source { name, text }
    }

    pub fn whole(&self) -> String {
        format!("{PRELUDE}\n{}", self.text)
    }

    /// Writes it to a folder, under a name that tells its content.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        let whole = self.whole();
        let path = folder.join(format!("{}_{}.cu", self.name, &digest([whole.as_bytes()])[..12]));
        std::fs::create_dir_all(folder)?;
        let file = tempfile::NamedTempFile::new_in(folder)?;
        std::fs::write(file.path(), whole)?;
        file.persist(path)?;
        Ok(())
    }
}

/// One launch: how many threads, and the structs of numbers behind the addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    pub grid: Grid,
    pub structs: Vec<Vec<u32>>,
}

impl Launch {
    /// A thread for each element, as far as there is room.
    pub fn over(elements: usize, structs: Vec<Vec<u32>>) -> Launch {
        let blocks = elements.div_ceil(THREADS as usize).clamp(1, MOST_BLOCKS) as u32;
        Launch { grid: Grid { blocks: [blocks, 1, 1], threads: THREADS }, structs }
    }

    /// A block for each row.
    pub fn blocks(rows: usize, threads: u32, structs: Vec<Vec<u32>>) -> Launch {
        let blocks = rows.clamp(1, MOST_BLOCKS) as u32;
        Launch { grid: Grid { blocks: [blocks, 1, 1], threads }, structs }
    }
}

/// What a call of a step reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// By its place among the step's inputs.
    Input(usize),
    Output,
    /// Bytes into memory that only this step has.
    Scratch(u64),
}

/// One thing that the device is told to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// A launch of one of the kernel's sources, with its addresses.
    Launch { source: usize, launch: Launch, slots: Vec<Slot> },
    /// A library's: slots are its two factors, the bias, the addend, the output and the workspace; those that it does
    /// without are left out.
    Library { task: Task, slots: Vec<Slot>, workspace: u64 },
}

/// What a library is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// By cuBLASLt.
    Multiply(Multiply),
    /// By cuDNN; the factors are the image and the weights.
    Convolve(Convolve),
}

/// The addresses of a library's call by what they are; 0 for what it does without.
pub struct Operands {
    pub factors: [Address; 2],
    pub bias: Address,
    pub addend: Address,
    pub output: Address,
    pub workspace: Address,
}

impl Operands {
    /// Of the slots of `Call::Library`, for a task that has a bias, an addend and a workspace or not.
    pub fn new(slots: &[Address], [bias, addend, workspace]: [bool; 3]) -> Result<Operands> {
        let mut rest = slots.iter().copied();
        let mut next = |wanted: bool| match wanted {
            true => rest.next().ok_or_else(|| Error::internal("a library's call lacks an address")),
            false => Ok(0),
        };
        Ok(Operands {
            factors: [next(true)?, next(true)?],
            bias: next(bias)?,
            addend: next(addend)?,
            output: next(true)?,
            workspace: next(workspace)?,
        })
    }
}

/// What a step does for certain shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Calls {
    pub list: Vec<Call>,
    /// Bytes that the step needs beside its values.
    pub scratch: u64,
}

impl Calls {
    pub fn one(call: Call) -> Calls {
        Calls { list: vec![call], scratch: 0 }
    }

    /// A launch of the first source, whose first number says over how many elements. A part of the output may have none.
    pub fn unless_empty(launch: Launch, slots: Vec<Slot>) -> Calls {
        match launch.structs.first().is_some_and(|count| count == &[0]) {
            true => Calls { list: Vec::new(), scratch: 0 },
            false => Calls::one(Call::Launch { source: 0, launch, slots }),
        }
    }
}

/// What the libraries that there are can do.
pub trait Libraries {
    /// Bytes of workspace for a task; `None` where no library has a way to do it.
    fn workspace(&self, task: &Task) -> Option<u64>;
}

/// No library is there.
pub struct Alone;

impl Libraries for Alone {
    fn workspace(&self, _: &Task) -> Option<u64> {
        None
    }
}

/// A kernel whose sources are the same for all shapes; sizes and strides are its arguments.
pub trait Kernel: Send + Sync {
    fn source(&self) -> Source;

    /// All sources, of which shapes decide what is launched.
    fn sources(&self) -> Vec<Source> {
        vec![self.source()]
    }

    /// The output's shape.
    fn output(&self, inputs: &[&[usize]]) -> Result<Shape>;

    /// The only launch, for shapes of which none is empty in the output: of `operands`, then the output. A kernel that has
    /// several has `calls` instead.
    fn launch(&self, inputs: &[&[usize]], output: &[usize]) -> Result<Launch> {
        Err(Error::internal(format!("{inputs:?} to {output:?} is not one launch")))
    }

    /// All that the step does; by default the one launch.
    fn calls(&self, inputs: &[&[usize]], output: &[usize], _library: &dyn Libraries) -> Result<Calls> {
        let launch = self.launch(inputs, output)?;
        let operands = self.operands(inputs.len()).into_iter().map(Slot::Input);
        let slots = operands.chain([Slot::Output]).collect();
        Ok(Calls::unless_empty(launch, slots))
    }

    /// Which inputs it reads; the others only tell shapes.
    fn operands(&self, inputs: usize) -> Vec<usize> {
        (0..inputs).collect()
    }

    /// Operations of arithmetic, and whether they are products that tensor cores could do.
    fn work(&self, _inputs: &[&[usize]], output: &[usize]) -> f64 {
        output.iter().map(|size| *size as f64).product()
    }
}
