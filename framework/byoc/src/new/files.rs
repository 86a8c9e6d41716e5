//! The templates' files, as they lie in `vendor-template`.

use super::Language;

/// What stands in the templates for the name, and for the name where it is an identifier.
pub(super) const NAME: &str = "acme-npu";
pub(super) const IDENTIFIER: &str = "acme_npu";
/// The dependency on `byoc-plugin`, and the repository that continuous integration installs `byoc` from.
pub(super) const DEPENDENCY: &str = "{ path = \"../../framework/plugin\" }";
pub(super) const GIT: &str = "${{ vars.BYOC_GIT }}";

/// A file's path in the project, and its text.
type File = (&'static str, &'static str);

macro_rules! template {
    ($folder:literal, $($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../vendor-template/", $folder, "/", $path)))),+]
    };
}

const RUST: &[File] = template!(
    "rust",
    "Cargo.toml",
    "README.md",
    "rustfmt.toml",
    "table.toml",
    "src/lib.rs",
    "src/codegen.rs",
    "src/kernels.rs",
    "src/tests.rs",
    ".gitignore",
    ".github/workflows/ci.yml",
);

const C: &[File] = template!(
    "c",
    "CMakeLists.txt",
    "Makefile",
    "README.md",
    "exports.map",
    "src/plugin.c",
    "src/kernels.h",
    "src/table.h",
    "tests/kernels.c",
    ".gitignore",
    ".github/workflows/ci.yml",
);

const CPP: &[File] = template!(
    "cpp",
    "CMakeLists.txt",
    "README.md",
    "exports.map",
    "src/plugin.cpp",
    "src/kernels.hpp",
    "src/table.hpp",
    "tests/kernels.cpp",
    ".gitignore",
    ".github/workflows/ci.yml",
);

const BYOC_H: File = ("include/byoc.h", include_str!("../../../plugin/include/byoc.h"));
const BYOC_ABI_H: File = ("include/byoc_abi.h", include_str!("../../../plugin/include/byoc_abi.h"));
const BYOC_HPP: File = ("include/byoc.hpp", include_str!("../../../plugin/include/byoc.hpp"));
const BYOC_CLASS_HPP: File =
    ("include/byoc_class.hpp", include_str!("../../../plugin/include/byoc_class.hpp"));

/// Every file of a project.
pub(super) fn of(language: Language) -> Vec<File> {
    match language {
        Language::Rust => RUST.to_vec(),
        Language::C => [C, &[BYOC_H, BYOC_ABI_H]].concat(),
        Language::Cpp => [CPP, &[BYOC_H, BYOC_ABI_H, BYOC_HPP, BYOC_CLASS_HPP]].concat(),
    }
}

/// Building, testing and checking it.
pub(super) fn commands(language: Language) -> &'static [&'static str] {
    match language {
        Language::Rust => &["cargo build", "cargo test", "byoc plugin info target/debug/libacme_npu.so"],
        Language::C => &["make", "make test", "byoc plugin info build/libacme_npu.so"],
        Language::Cpp => &[
            "cmake -B build",
            "cmake --build build",
            "ctest --test-dir build",
            "byoc plugin info build/libacme_npu.so",
        ],
    }
}
