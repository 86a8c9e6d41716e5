//! What every family of kernels has in common.

use std::path::Path;

use byoc_plugin::Result;

use crate::cache::digest;
use crate::driver::Grid;
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

/// A kernel whose source is the same for all shapes; sizes and strides are its arguments.
pub trait Kernel: Send + Sync {
    fn source(&self) -> Source;

    /// The output's shape.
    fn output(&self, inputs: &[&[usize]]) -> Result<Shape>;

    /// The launch for shapes of which none is empty in the output. Addresses are those of `operands`, then the output.
    fn launch(&self, inputs: &[&[usize]], output: &[usize]) -> Result<Launch>;

    /// Which inputs it reads; the others only tell shapes.
    fn operands(&self, inputs: usize) -> Vec<usize> {
        (0..inputs).collect()
    }

    /// Operations of arithmetic, and whether they are products that tensor cores could do.
    fn work(&self, _inputs: &[&[usize]], output: &[usize]) -> f64 {
        output.iter().map(|size| *size as f64).product()
    }
}
