//! Compiles the header of shims once, which takes longer than most kernels do.

use std::path::PathBuf;
use std::process::Command;

include!("src/flags.rs");

fn main() {
    println!("cargo::rerun-if-changed=src/shim.h");
    println!("cargo::rerun-if-changed=src/flags.rs");
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names a folder"));
    std::fs::copy("src/shim.h", folder.join("shim.h")).expect("the header can be copied");
    let mut command = Command::new("c++");
    command.args(FLAGS).args(["-x", "c++-header", "src/shim.h", "-o"]).arg(folder.join("shim.h.gch"));
    // A compiler that has no such thing reads the header each time.
    if !command.status().is_ok_and(|status| status.success()) {
        println!("cargo::warning=the header of shims could not be compiled beforehand");
    }
}
