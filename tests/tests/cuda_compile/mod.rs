//! Generated kernels in the real compiler.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use byoc_cuda::nvrtc::Nvrtc;
use byoc_tests::nvrtc_folder;

/// The architectures that kernels are compiled for.
const ARCHITECTURES: [&str; 3] = ["sm_80", "sm_90", "sm_100"];

/// Compiles every source of a folder with NVRTC.
pub fn compile_all(folder: &Path, least: usize) {
    let Some(nvrtc) = nvrtc_folder() else { return };
    let nvrtc =
        Nvrtc::load(&byoc_cuda::NVRTC.candidates(nvrtc.to_str().expect("UTF-8"))).expect("NVRTC loads");
    let files: Vec<_> =
        std::fs::read_dir(folder).expect("sources").map(|f| f.expect("a file").path()).collect();
    assert!(files.len() >= least, "only {} kernels", files.len());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || {
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                let source = std::fs::read_to_string(file).expect("a source");
                for architecture in ARCHITECTURES {
                    let code = nvrtc.compile("kernel", &source, architecture);
                    let code = code
                        .unwrap_or_else(|error| panic!("{}: {}\n{source}", file.display(), error.message));
                    assert_eq!(&code[..4], b"\x7fELF", "{}", file.display());
                }
            }
        };
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("all of them compile"));
    });
}
