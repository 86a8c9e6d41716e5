//! A plugin in C, built here with the compilers of this machine, as C and as C++.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use byoc_host::{CallEnv, Category, CompileRequest, Library, Plugin, PluginFile};
use common::{EXPECTED, execute, scaled_relu};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds a plugin's library from one source file.
fn build(compiler: &str, arguments: &[&str], source: &Path, folder: &Path) -> PathBuf {
    let library = folder.join(format!("lib{compiler}.so"));
    let output = Command::new(compiler)
        .args(["-shared", "-fPIC", "-O1", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
        .arg("-I")
        .arg(repository().join("framework/plugin/include"))
        .args(arguments)
        .arg(source)
        .args(["-x", "none", "-o"])
        .arg(&library)
        .output()
        .unwrap_or_else(|error| panic!("{compiler} is needed for this test: {error}"));
    assert!(output.status.success(), "{compiler}:\n{}", String::from_utf8_lossy(&output.stderr));
    library
}

const C: &[&str] = &["-std=c11", "-x", "c"];
const CPP: &[&str] = &["-std=c++17", "-x", "c++", "-fno-gnu-unique"];

/// Each plugin with its name, in each language that it is valid in.
const PLUGINS: [(&str, &str, &str, &[&str]); 3] = [
    ("c-elementwise", "c_elementwise/plugin.c", "gcc", C),
    ("c-elementwise", "c_elementwise/plugin.c", "g++", CPP),
    ("cpp-elementwise", "cpp_elementwise/plugin.cc", "g++", CPP),
];

#[test]
fn plugins_in_c_and_cpp_walk_the_region_and_compute_it() {
    for (name, source, compiler, arguments) in PLUGINS {
        let folder = tempfile::tempdir().unwrap();
        let path =
            build(compiler, arguments, &repository().join("tests/plugins").join(source), folder.path());
        let file = PluginFile::read(&path).unwrap();
        assert_eq!((file.name.as_str(), file.version.as_str()), (name, "0.1.0"));
        assert_eq!(file.table().unwrap().patterns.len(), 2);
        let library = Library::load(&path).unwrap();
        assert_eq!(library.table, file.table().unwrap());
        let plugin = Plugin::open(&library, Vec::new()).unwrap();
        let compiled = plugin.compile(&CompileRequest::new(&scaled_relu())).unwrap();
        assert_eq!(execute(&compiled, CallEnv::default()).unwrap(), EXPECTED);

        let mut region = scaled_relu();
        region.nodes[1].op = "Sub".into();
        let error = plugin.compile(&CompileRequest::new(&region)).err().unwrap();
        assert_eq!((error.category(), error.error.node), (Category::Unsupported, Some(1)), "{error}");
        assert!(!error.is_poisoned());
        let Err(error) = compiled.serialise() else { panic!("it cannot serialise") };
        assert_eq!(error.category(), Category::Unsupported);
    }
}

#[test]
fn one_symbol_is_exported() {
    for (name, source, compiler, arguments) in PLUGINS {
        let folder = tempfile::tempdir().unwrap();
        let path =
            build(compiler, arguments, &repository().join("tests/plugins").join(source), folder.path());
        let output = Command::new("nm").args(["-D", "--defined-only"]).arg(&path).output().unwrap();
        let symbols = String::from_utf8(output.stdout).unwrap();
        // Templates of the standard library are instantiated as weak symbols (`W`), which every library may have.
        let strong = symbols.lines().filter(|line| !line.contains(" W "));
        let names: Vec<&str> = strong.filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(names, ["byoc_plugin_entry"], "{name}");
    }
}

#[test]
fn an_exception_of_cpp_is_reported_and_poisons_the_plugin() {
    const SOURCE: &str = r#"
#include <byoc.h>
#include <stdexcept>
static byoc_error *compile(byoc_compile_args *) { throw std::runtime_error("no"); }
static byoc_error *execute(byoc_execute_args *) { return nullptr; }
static void destroy(void *) {}
BYOC_PLUGIN("throws", "0.1.0", "[vendor]\nname = \"throws\"\n", compile, execute, destroy);
"#;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("throws.cc");
    std::fs::write(&source, SOURCE).unwrap();
    let path = build("g++", &["-std=c++17", "-x", "c++", "-fno-gnu-unique"], &source, folder.path());
    let plugin = Plugin::open(&Library::load(&path).unwrap(), Vec::new()).unwrap();
    let error = plugin.compile(&CompileRequest::new(&scaled_relu())).err().unwrap();
    assert!(error.is_poisoned() && error.error.message.contains("exception"), "{error}");
    assert!(plugin.is_poisoned());
}

/// Libraries built with `-Ofast` set the whole thread's floating-point mode when they are loaded.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_plugin_that_flushes_denormals_does_so_for_itself_alone() {
    const SOURCE: &str = r#"
#include <byoc.h>
#include <xmmintrin.h>
static void flush(void) { _mm_setcsr(_mm_getcsr() | 0x8040); }
__attribute__((constructor)) static void loaded(void) { flush(); }
static byoc_error *compile(byoc_compile_args *args) { (void)args; flush(); return NULL; }
static byoc_error *execute(byoc_execute_args *args) { (void)args; flush(); return NULL; }
static void destroy(void *executable) { (void)executable; flush(); }
BYOC_PLUGIN("flushes", "0.1.0", "[vendor]\nname = \"flushes\"\n", compile, execute, destroy);
"#;
    let halved = || std::hint::black_box(f32::MIN_POSITIVE) / std::hint::black_box(2.0);
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("flushes.c");
    std::fs::write(&source, SOURCE).unwrap();
    let path = build("gcc", &["-std=c11", "-x", "c"], &source, folder.path());
    let plugin = Plugin::open(&Library::load(&path).unwrap(), Vec::new()).unwrap();
    assert!(halved() > 0.0, "loading");
    let compiled = plugin.compile(&CompileRequest::new(&scaled_relu())).unwrap();
    assert!(halved() > 0.0, "compile");
    execute(&compiled, CallEnv::default()).unwrap();
    drop(compiled);
    assert!(halved() > 0.0, "execute and destroy");
}
