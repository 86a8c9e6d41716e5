//! NVRTC with owners and errors: CUDA C in, code of one architecture out.

use std::ffi::{CString, c_char};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use byoc_plugin::{Error, Result};

use crate::api::{NvrtcApi, Raw, Status, Text, first, open};
use crate::find;

/// The compiler. It may be called from several threads at once.
pub struct Nvrtc {
    api: NvrtcApi,
    pub version: (i32, i32),
}

/// A program of NVRTC's, destroyed when it goes.
struct Program<'a>(&'a NvrtcApi, Raw);

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: the program is ours, and destroyed once.
        unsafe { (self.0.nvrtcDestroyProgram)(&mut self.1) };
    }
}

impl Nvrtc {
    /// Loads the first library that can be; what was tried, where none can.
    pub fn load(candidates: &[PathBuf]) -> Result<Nvrtc, String> {
        let api = first(candidates, |path| {
            // One that cannot be loaded is missed when something is compiled.
            builtins(path).iter().for_each(|library| drop(open(library)));
            NvrtcApi::load(path)
        })?;
        let mut version = (0, 0);
        // SAFETY: as NVRTC's header says; so in all of this file.
        let status = unsafe { (api.nvrtcVersion)(&mut version.0, &mut version.1) };
        check("nvrtcVersion", status).map_err(|e| e.message)?;
        Ok(Nvrtc { api, version })
    }

    /// Compiles for one architecture, `sm_90` say.
    pub fn compile(&self, name: &str, source: &str, architecture: &str) -> Result<Vec<u8>> {
        let options = [format!("--gpu-architecture={architecture}"), "--std=c++17".to_owned()];
        let options = options.map(|option| text(&option));
        let options = options.into_iter().collect::<Result<Vec<_>>>()?;
        let words: Vec<Text> = options.iter().map(|option| option.as_ptr()).collect();
        let (file, source) = (text(&format!("{name}.cu"))?, text(source)?);
        let mut program = Program(&self.api, null_mut());
        // SAFETY: as above.
        let status = unsafe {
            (self.api.nvrtcCreateProgram)(&mut program.1, source.as_ptr(), file.as_ptr(), 0, null(), null())
        };
        check("nvrtcCreateProgram", status)?;
        // SAFETY: as above.
        let status = unsafe { (self.api.nvrtcCompileProgram)(program.1, words.len() as i32, words.as_ptr()) };
        if status != 0 {
            let log = bytes(program.1, self.api.nvrtcGetProgramLogSize, self.api.nvrtcGetProgramLog)?;
            let log = String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_owned();
            return Err(Error::internal(format!("NVRTC does not compile {name} for {architecture}: {log}")));
        }
        bytes(program.1, self.api.nvrtcGetCUBINSize, self.api.nvrtcGetCUBIN)
    }
}

/// The library of built-in functions, which NVRTC asks the loader for by name alone: a wheel's folder is unknown to that.
fn builtins(nvrtc: &Path) -> Vec<PathBuf> {
    let folder = nvrtc.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map(|folder| find::files(folder, "libnvrtc-builtins.so")).unwrap_or_default()
}

/// What a program has of something whose size is asked first.
fn bytes(
    program: Raw,
    size: unsafe extern "C" fn(Raw, *mut usize) -> Status,
    get: unsafe extern "C" fn(Raw, *mut c_char) -> Status,
) -> Result<Vec<u8>> {
    let mut len = 0;
    // SAFETY: as above.
    check("the size of NVRTC's answer", unsafe { size(program, &mut len) })?;
    let mut content = vec![0u8; len];
    // SAFETY: the buffer has the size that NVRTC asked for.
    check("NVRTC's answer", unsafe { get(program, content.as_mut_ptr().cast()) })?;
    Ok(content)
}

fn text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::internal("a kernel's source holds a zero byte"))
}

fn check(call: &str, status: Status) -> Result<()> {
    if status == 0 { Ok(()) } else { Err(Error::internal(format!("{call}: NVRTC's error {status}"))) }
}
