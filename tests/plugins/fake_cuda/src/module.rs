//! Compiled kernels: shared libraries of the host.

use std::ffi::c_void;
use std::io::Write;

/// Most arguments of a kernel.
const MOST: usize = 64;

pub struct Module {
    describe: unsafe extern "C" fn(*mut u32, *mut u32) -> u32,
    run: unsafe extern "C" fn(*const u32, *mut *mut c_void) -> i32,
    pub name: String,
    /// Where the functions are.
    _library: libloading::Library,
}

/// What a kernel takes.
pub struct Argument {
    pub size: usize,
    /// It is an address, and perhaps written to.
    pub address: Option<bool>,
}

/// An image: its length, the kernel's name, a zero byte, and a shared library.
pub fn image(name: &str, library: &[u8]) -> Vec<u8> {
    let mut image = ((name.len() + 1 + library.len()) as u64).to_le_bytes().to_vec();
    image.extend(name.as_bytes());
    image.push(0);
    image.extend(library);
    image
}

impl Module {
    /// # Safety
    /// The image is one that `image` made.
    pub unsafe fn load(image: *const u8) -> Result<Module, String> {
        // SAFETY: the caller's promise; so below.
        let content = unsafe {
            let len = u64::from_le_bytes(*image.cast::<[u8; 8]>());
            std::slice::from_raw_parts(image.add(8), len as usize)
        };
        let end = content.iter().position(|byte| *byte == 0).ok_or("an image without a name")?;
        let name = String::from_utf8_lossy(&content[..end]).into_owned();
        let mut file = tempfile::Builder::new().suffix(".so").tempfile().map_err(|e| e.to_string())?;
        file.write_all(&content[end + 1..]).map_err(|e| e.to_string())?;
        // SAFETY: the library holds a kernel and the functions of the shim.
        let library = unsafe { libloading::Library::new(file.path()) }.map_err(|e| e.to_string())?;
        // SAFETY: the types are those of the shim.
        unsafe {
            let describe = *library.get(b"fake_describe\0").map_err(|e| e.to_string())?;
            let run = *library.get(b"fake_run\0").map_err(|e| e.to_string())?;
            Ok(Module { describe, run, name, _library: library })
        }
    }

    pub fn arguments(&self) -> Vec<Argument> {
        let (mut sizes, mut kinds) = ([0; MOST], [0; MOST]);
        // SAFETY: there is room for all arguments of a generated kernel.
        let count = unsafe { (self.describe)(sizes.as_mut_ptr(), kinds.as_mut_ptr()) } as usize;
        let argument = |(size, kind): (&u32, &u32)| Argument {
            size: *size as usize,
            address: (*kind > 0).then_some(*kind == 2),
        };
        sizes[..count].iter().zip(&kinds).map(argument).collect()
    }

    /// Runs a kernel with arguments that were copied.
    pub fn run(&self, grid: [u32; 4], arguments: &[Vec<u8>]) -> Result<(), String> {
        // Structs begin at multiples of 16 bytes, as a compiler may take for granted.
        let mut aligned: Vec<Vec<u128>> =
            arguments.iter().map(|bytes| vec![0; bytes.len().div_ceil(16)]).collect();
        for (words, bytes) in aligned.iter_mut().zip(arguments) {
            // SAFETY: there is room for the bytes.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), words.as_mut_ptr().cast(), bytes.len()) };
        }
        let mut pointers: Vec<*mut c_void> =
            aligned.iter_mut().map(|words| words.as_mut_ptr().cast()).collect();
        // SAFETY: the arguments have the sizes that the kernel says.
        match unsafe { (self.run)(grid.as_ptr(), pointers.as_mut_ptr()) } {
            0 => Err(format!(
                "{}: some threads of a block wait at a barrier that others never reach",
                self.name
            )),
            _ => Ok(()),
        }
    }
}
