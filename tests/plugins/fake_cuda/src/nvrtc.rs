//! The compiler: a kernel's source, as C++ for the host.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::process::Command;

use crate::machine::machine;
use crate::module;

include!("flags.rs");

/// Functions at which threads wait for each other.
const BARRIERS: [&str; 4] = ["__syncthreads", "__syncwarp", "_sync(", "mma_"];
const COMPILATION: c_int = 6;
const INVALID: c_int = 3;
/// No NVRTC has this version, so nothing that was compiled here is taken for code of a GPU.
const VERSION: (c_int, c_int) = (0, 1);

#[derive(Default)]
struct Program {
    source: String,
    image: Vec<u8>,
    log: Vec<u8>,
}

/// # Safety
/// As CUDA's header says of the function of this name; so of all here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcVersion(major: *mut c_int, minor: *mut c_int) -> c_int {
    // SAFETY: the caller's promise; so below.
    unsafe { (*major, *minor) = VERSION };
    0
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcCreateProgram(
    program: *mut *mut c_void,
    source: *const c_char,
    _name: *const c_char,
    _headers: c_int,
    _contents: *const *const c_char,
    _names: *const *const c_char,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        let source = CStr::from_ptr(source).to_string_lossy().into_owned();
        *program = Box::into_raw(Box::new(Program { source, ..Program::default() })).cast();
    }
    0
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcDestroyProgram(program: *mut *mut c_void) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { drop(Box::from_raw((*program).cast::<Program>())) };
    0
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcCompileProgram(
    program: *mut c_void,
    count: c_int,
    options: *const *const c_char,
) -> c_int {
    if let Err(status) = machine().begin("nvrtcCompileProgram") {
        return status;
    }
    // SAFETY: the caller's promise.
    let program = unsafe { &mut *program.cast::<Program>() };
    // SAFETY: the caller's promise.
    let option =
        |i: c_int| unsafe { CStr::from_ptr(*options.add(i as usize)) }.to_string_lossy().into_owned();
    let architecture = (0..count).map(option).any(|option| option.starts_with("--gpu-architecture=sm_"));
    match compile(&program.source)
        .and_then(|image| architecture.then_some(image).ok_or("no architecture".into()))
    {
        Ok(image) => {
            program.image = image;
            0
        }
        Err(log) => {
            program.log = log.into_bytes();
            COMPILATION
        }
    }
}

fn compile(source: &str) -> Result<Vec<u8>, String> {
    let declared = source.split("extern \"C\" __global__ void ").nth(1).ok_or("no kernel in it")?;
    let name = declared.split('(').next().unwrap_or_default();
    let barriers = BARRIERS.iter().any(|barrier| source.contains(barrier));
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = |file: &str| folder.path().join(file);
    let whole = format!("#include \"shim.h\"\n{source}\nFAKE_KERNEL({name}, {barriers})\n");
    std::fs::write(path("kernel.cpp"), whole).map_err(|e| e.to_string())?;
    let mut command = Command::new("c++");
    command.args(FLAGS).args(["-shared", "-I", env!("OUT_DIR"), "-o"]);
    command.arg(path("kernel.so")).arg(path("kernel.cpp"));
    let done = command.output().map_err(|e| format!("c++: {e}"))?;
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    let library = std::fs::read(path("kernel.so")).map_err(|e| e.to_string())?;
    Ok(module::image(name, &library))
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetCUBINSize(program: *mut c_void, size: *mut usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { answer(program, |program| &program.image, |len| *size = len) }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetCUBIN(program: *mut c_void, image: *mut c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { give(program, |program| &program.image, image) }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetProgramLogSize(program: *mut c_void, size: *mut usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { answer(program, |program| &program.log, |len| *size = len) }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetProgramLog(program: *mut c_void, log: *mut c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { give(program, |program| &program.log, log) }
}

/// # Safety
/// The program is one of ours.
unsafe fn answer(program: *mut c_void, of: fn(&Program) -> &Vec<u8>, take: impl FnOnce(usize)) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { program.cast::<Program>().as_ref() } {
        Some(program) => {
            take(of(program).len());
            0
        }
        None => INVALID,
    }
}

/// # Safety
/// As above, and there is room for the bytes.
unsafe fn give(program: *mut c_void, of: fn(&Program) -> &Vec<u8>, to: *mut c_char) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { program.cast::<Program>().as_ref() } {
        Some(program) => {
            let bytes = of(program);
            // SAFETY: the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), bytes.len()) };
            0
        }
        None => INVALID,
    }
}
