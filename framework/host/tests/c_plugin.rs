//! A plugin in C, built here with the compilers of this machine, as C and as C++.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use byoc_host::{
    ArtefactFit, CallEnv, Category, CompileRequest, IoSpec, Library, NodeData, Plugin, PluginFile,
    RegionData, Signature,
};
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
fn a_class_in_cpp_has_options_devices_checks_and_artefacts() {
    let folder = tempfile::tempdir().unwrap();
    let source = repository().join("tests/plugins/cpp_class/plugin.cc");
    let library = Library::load(&build("g++", CPP, &source, folder.path())).unwrap();
    let open = |options: &[(&str, &str)]| {
        let given: Vec<_> = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        Plugin::open(&library, library.complete_options(&given).unwrap())
    };
    let error = open(&[("rate", "-1e3")]).err().unwrap();
    assert!(error.to_string().contains("a rate above 0 is needed"), "{error}");

    let plugin = open(&[("label", "npu")]).unwrap();
    let names: Vec<&str> = plugin.devices().iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["npu 0", "npu 1"]);
    let device = plugin.devices()[1].id;
    let region = scaled_relu();
    plugin.check_match(&region, CallEnv::default()).unwrap();
    let answer = plugin.check_region(&region, device, CallEnv::default()).unwrap();
    // Twelve elements at 2,500 a microsecond.
    assert_eq!((answer.fixed_us, answer.compute_us), (Some(1.0), Some(0.0048)));

    let without = open(&[("relu", "false"), ("most", "3")]).unwrap();
    let error = without.check_match(&region, CallEnv::default()).unwrap_err();
    assert_eq!((error.category(), error.error.node), (Category::Unsupported, Some(2)), "{error}");
    let answer = without.check_region(&region, device, CallEnv::default()).unwrap();
    assert_eq!(answer.refused[1], (1, "more elements than 3".to_owned()));

    let compiled = plugin.compile(&CompileRequest { device, ..CompileRequest::new(&region) }).unwrap();
    assert!(compiled.is_concurrent());
    assert_eq!(execute(&compiled, CallEnv::default()).unwrap(), EXPECTED);
    let artefact = compiled.serialise().unwrap();
    assert_eq!(plugin.check_artefact(&artefact.compatibility, device).unwrap(), ArtefactFit::Best);
    assert_eq!(plugin.check_artefact("cpp-class 0", device).unwrap(), ArtefactFit::Foreign);
    drop(compiled);
    let load = |bytes: &[u8]| {
        plugin.load(bytes, &region.constants, Signature::of(&region), device, CallEnv::default())
    };
    assert_eq!(execute(&load(&artefact.bytes).unwrap(), CallEnv::default()).unwrap(), EXPECTED);
    for len in 0..artefact.bytes.len() {
        assert_eq!(load(&artefact.bytes[..len]).err().unwrap().category(), Category::Invalid, "{len} bytes");
    }
}

/// `y = Relu(x)` of four elements.
fn one_relu() -> RegionData {
    let mut region = scaled_relu();
    region.nodes = vec![NodeData { composite: Some(0), ..common::node("Relu", &[0], 1) }];
    region.values = vec![common::float("x", 4), common::float("y", 4)];
    region.values[1].producer = Some((0, 0));
    (region.outputs, region.constants) = (vec![1], Vec::new());
    region.composites.drain(..2);
    region.composites[0].nodes = vec![0];
    region.composites[0].bindings = vec![("x".into(), 0), ("y".into(), 1)];
    region
}

#[test]
fn what_a_plugin_leaves_at_zero_is_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let source = repository().join("framework/plugin/versions/1.0/plugin.c");
    let library = Library::load(&build("gcc", C, &source, folder.path())).unwrap();
    let plugin = Plugin::open(&library, library.complete_options(&[]).unwrap()).unwrap();
    let region = one_relu();
    for (number, device) in plugin.devices().iter().enumerate() {
        let request = CompileRequest { device: device.id, ..CompileRequest::new(&region) };
        let compiled = plugin.compile(&request).unwrap();
        let spec = IoSpec { device: device.id, align: 64, alias: None };
        assert_eq!(compiled.inputs(), [spec], "{number}");
        assert_eq!(compiled.outputs(), [IoSpec { alias: Some(0), ..spec }], "{number}");
    }
}

#[test]
fn devices_that_are_not_whole_are_told_of() {
    const SOURCE: &str = r#"
#include <byoc.h>
static byoc_error *compile(byoc_compile_args *args) { (void)args; return NULL; }
static byoc_error *execute(byoc_execute_args *args) { (void)args; return NULL; }
static void destroy(void *executable) { (void)executable; }
static byoc_error *alloc(byoc_device_alloc_args *args) { (void)args; return NULL; }
static void release(byoc_device_free_args *args) { (void)args; }
static byoc_error *copy(byoc_device_copy_args *args) { (void)args; return NULL; }
static byoc_error *sync(byoc_device_sync_args *args) { (void)args; return NULL; }
static byoc_error *stream(byoc_stream_args *args) { (void)args; return NULL; }
static void end_stream(byoc_stream_args *args) { (void)args; }
static byoc_error *event(byoc_event_args *args) { (void)args; return NULL; }
static void end_event(byoc_event_args *args) { (void)args; }
static byoc_error *order(byoc_stream_event_args *args) { (void)args; return NULL; }
static byoc_error *devices(byoc_devices_args *args) {
    static byoc_device_table table;
    static byoc_device_info info;
    static const byoc_device_info *infos[2] = {&info, &info};
    BYOC_INIT(table);
    table.alloc = alloc;
    table.free = release;
    table.copy = copy;
    table.sync = sync;
    table.stream_create = stream;
    table.stream_destroy = end_stream;
    table.stream_wait = table.event_record = order;
    table.event_create = table.event_query = event;
    table.event_destroy = end_event;
    table.event_wait = PARTS == 8 ? event : NULL;
    BYOC_INIT(info);
    info.id.kind = 12;
    info.table = &table;
    args->devices = infos;
    args->devices_len = COUNT;
    return NULL;
}
static void set_up(byoc_sdk *sdk) {
    sdk->compile = compile;
    sdk->execute = execute;
    sdk->destroy = destroy;
    sdk->plugin.devices = devices;
}
BYOC_PLUGIN_WITH("twice", "0.1.0", "[vendor]\nname = \"twice\"\n", set_up);
"#;
    let plugin = |count: &str, parts: &str| {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("twice.c");
        std::fs::write(&source, SOURCE).unwrap();
        let path = build("gcc", &[C, &["-D", count, "-D", parts]].concat(), &source, folder.path());
        Plugin::open(&Library::load(&path).unwrap(), Vec::new())
    };
    for (count, parts, why) in [
        ("COUNT=2", "PARTS=8", "two of its devices are 12:0"),
        ("COUNT=1", "PARTS=7", "some of the functions for streams"),
    ] {
        let error = plugin(count, parts).err().unwrap();
        assert!(error.to_string().contains(why), "{error}");
    }
    let plugin = plugin("COUNT=1", "PARTS=8").unwrap();
    let memory = plugin.memory(plugin.devices()[0].id).unwrap();
    let error = memory.new_stream().err().unwrap();
    assert!(error.to_string().contains("a handle that is null"), "{error}");
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
