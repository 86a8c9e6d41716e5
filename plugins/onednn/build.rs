//! Finds oneDNN and builds the bridge to it. Without oneDNN the plugin is built all the same, and takes nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where oneDNN lies.
struct Found {
    include: Vec<PathBuf>,
    library: PathBuf,
}

fn main() {
    println!("cargo:rustc-check-cfg=cfg(onednn)");
    println!("cargo:rerun-if-env-changed=ONEDNN_ROOT");
    // `fetch.sh` touches this file: a path that is not there yet would make every build begin anew.
    for file in ["build.rs", "src/bridge.rs", "src/network.h", "src/network.cc", "src/primitives.cc"] {
        println!("cargo:rerun-if-changed={file}");
    }
    let Some(found) = in_root().or_else(fetched).or_else(pkg_config) else {
        println!(
            "cargo:warning=oneDNN is not here: byoc-onednn is built without it and takes nothing. \
             `plugins/onednn/fetch.sh` fetches it, or set ONEDNN_ROOT to a folder with include/ and lib/."
        );
        return;
    };
    println!("cargo:rustc-cfg=onednn");
    cxx_build::bridge("src/bridge.rs")
        .files(["src/network.cc", "src/primitives.cc"])
        .includes(&found.include)
        .std("c++17")
        .flag("-fno-gnu-unique")
        .compile("byoc_onednn_bridge");
    let folder = found.library.display();
    println!("cargo:rustc-link-search=native={folder}");
    println!("cargo:rustc-link-lib=dylib=dnnl");
    println!("cargo:rustc-link-lib=dylib=gomp");
    // The functions of `cxx` cannot be hidden; so the plugin takes its own, whatever else is loaded.
    println!("cargo:rustc-link-arg-cdylib=-Wl,-Bsymbolic");
    // The plugin finds at run time what it was linked with.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
}

fn in_root() -> Option<Found> {
    let root = std::env::var_os("ONEDNN_ROOT").filter(|root| !root.is_empty())?;
    let found = below(Path::new(&root));
    assert!(found.is_some(), "ONEDNN_ROOT is {root:?}, but there is no include/dnnl.hpp and lib/libdnnl.so");
    found
}

/// What `fetch.sh` has put beside the build.
fn fetched() -> Option<Found> {
    let workspace = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?).join("../..");
    let root = workspace.join("target/onednn");
    below(&root.canonicalize().ok()?)
}

fn below(root: &Path) -> Option<Found> {
    let (include, library) = (root.join("include"), root.join("lib"));
    let whole = include.join("dnnl.hpp").exists() && library.join("libdnnl.so").exists();
    whole.then(|| Found { include: vec![include], library })
}

fn pkg_config() -> Option<Found> {
    let ask = |words: &[&str]| {
        let output = Command::new("pkg-config").args(words).arg("dnnl").output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    ask(&["--atleast-version=3.0"])?;
    let flags = ask(&["--cflags-only-I"])?;
    let include = flags.split_whitespace().filter_map(|flag| flag.strip_prefix("-I")).map(PathBuf::from);
    let library = PathBuf::from(ask(&["--variable=libdir"])?.trim());
    Some(Found { include: include.collect(), library })
}
