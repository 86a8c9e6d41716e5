//! A plugin written with the Rust side of the SDK, loaded as a library.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use byoc_host::{
    ArtefactFit, CallEnv, Category, CompileRequest, DType, HOST, Library, OptionKind, Output, OutputMemory,
    PluginFile, Signature, TensorData, TensorRef, ThreadPool,
};
use common::{EXPECTED, INPUT, built, execute, open, scaled_relu};

/// Threads of its own, to see that loops run where the host wants them.
#[derive(Default)]
struct CountingPool(AtomicUsize);

impl ThreadPool for CountingPool {
    fn threads(&self) -> usize {
        3
    }

    fn parallel_for(&self, n: usize, body: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for thread in 0..3 {
                scope.spawn(move || (thread..n).step_by(3).for_each(body));
            }
        });
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

#[test]
fn a_file_is_described_without_running_it() {
    let file = PluginFile::read(&built("byoc_probe")).unwrap();
    assert_eq!((file.name.as_str(), file.version.as_str()), ("byoc-probe", "0.1.0"));
    assert_eq!(file.table().unwrap().vendor.name, "probe");
    let library = Library::load(&file.path).unwrap();
    assert_eq!((&library.name, &library.version), (&file.name, &file.version));
    assert_eq!(library.table, file.table().unwrap());
    assert!(Arc::ptr_eq(&library, &Library::load(&file.path).unwrap()));
}

#[test]
fn options_are_completed_and_checked() {
    let library = Library::load(&built("byoc_probe")).unwrap();
    let kinds: Vec<_> = library.options.iter().map(|option| (option.name.as_str(), option.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("fault", OptionKind::String),
            ("own", OptionKind::Bool),
            ("picky", OptionKind::String),
            ("scale", OptionKind::Float)
        ]
    );
    let given = |key: &str, value: &str| library.complete_options(&[(key.to_owned(), value.to_owned())]);
    assert_eq!(given("scale", "2").unwrap()[3], ("scale".to_owned(), "2".to_owned()));
    assert_eq!(given("scale", "2").unwrap()[0], ("fault".to_owned(), "none".to_owned()));
    let unknown = given("sclae", "2").unwrap_err().to_string();
    assert!(unknown.contains("sclae") && unknown.contains("`fault`, `own`, `picky`, `scale`"), "{unknown}");
    assert!(given("scale", "much").unwrap_err().to_string().contains("a number"));
}

#[test]
fn a_region_is_compiled_and_computed_on_the_hosts_threads() {
    let plugin = open("byoc_probe", &[]).unwrap();
    let compiled = plugin.compile(&CompileRequest::new(&scaled_relu())).unwrap();
    assert_eq!(execute(&compiled, CallEnv::default()).unwrap(), EXPECTED);
    let pool = CountingPool::default();
    assert_eq!(execute(&compiled, CallEnv { pool: &pool, stop: None }).unwrap(), EXPECTED);
    assert_eq!(pool.0.load(Ordering::Relaxed), 12);
    assert_eq!(compiled.device_time(None).unwrap().unwrap().as_nanos(), 3);
}

#[test]
fn an_executable_is_called_from_many_threads() {
    let plugin = open("byoc_probe", &[]).unwrap();
    let compiled = plugin.compile(&CompileRequest::new(&scaled_relu())).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                (0..50).for_each(|_| assert_eq!(execute(&compiled, CallEnv::default()).unwrap(), EXPECTED));
            });
        }
    });
}

#[test]
fn options_reach_the_code_generator() {
    let plugin = open("byoc_probe", &[("scale", "3")]).unwrap();
    let compiled = plugin.compile(&CompileRequest::new(&scaled_relu())).unwrap();
    assert_eq!(execute(&compiled, CallEnv::default()).unwrap(), [4.0, 0.0, 0.0, 10.0]);
}

#[test]
fn constants_are_lent_until_they_are_released() {
    let content: Arc<[u8]> = common::bytes(&[1.0, -2.0, 3.0, 0.5]).into();
    for (own, holders) in [("false", 2), ("true", 1)] {
        let mut region = scaled_relu();
        region.constants[0].bytes = bytes::Bytes::from_owner(Arc::clone(&content));
        let compiled =
            open("byoc_probe", &[("own", own)]).unwrap().compile(&CompileRequest::new(&region)).unwrap();
        drop(region);
        assert_eq!(Arc::strong_count(&content), holders, "own = {own}");
        assert_eq!(execute(&compiled, CallEnv::default()).unwrap(), EXPECTED);
        drop(compiled);
        assert_eq!(Arc::strong_count(&content), 1);
    }
}

#[test]
fn checks_name_nodes_and_costs() {
    let plugin = open("byoc_probe", &[]).unwrap();
    let mut region = scaled_relu();
    plugin.check_match(&region, CallEnv::default()).unwrap();
    let answer = plugin.check_region(&region, HOST, CallEnv::default()).unwrap();
    assert_eq!((answer.fixed_us, answer.compute_us), (Some(2.0), None));
    assert!(answer.refused.is_empty());

    region.nodes[1].name = "unwanted".into();
    region.nodes[1].op = "Sub".into();
    let error = plugin.check_match(&region, CallEnv::default()).unwrap_err();
    assert_eq!((error.category(), error.error.node), (Category::Unsupported, Some(1)));
    let answer = plugin.check_region(&region, HOST, CallEnv::default()).unwrap();
    assert_eq!(answer.refused, [(1, "no Sub here".to_owned())]);
    let Err(error) = plugin.compile(&CompileRequest::new(&region)) else { panic!("compiled a Sub") };
    assert_eq!(
        (error.category(), error.error.node, error.is_poisoned()),
        (Category::Unsupported, Some(1), false)
    );
    assert!(error.to_string().contains("probe") && error.to_string().contains("compile"), "{error}");
}

#[test]
fn an_artefact_is_loaded_again() {
    let plugin = open("byoc_probe", &[]).unwrap();
    let region = scaled_relu();
    let compiled = plugin.compile(&CompileRequest::new(&region)).unwrap();
    let artefact = compiled.serialise().unwrap();
    assert_eq!(plugin.check_artefact(&artefact.compatibility, HOST).unwrap(), ArtefactFit::Best);
    assert_eq!(plugin.check_artefact("other", HOST).unwrap(), ArtefactFit::Foreign);
    drop(compiled);
    let load = |bytes: &[u8]| {
        plugin.load(bytes, &region.constants, Signature::of(&region), HOST, CallEnv::default())
    };
    assert_eq!(execute(&load(&artefact.bytes).unwrap(), CallEnv::default()).unwrap(), EXPECTED);
    assert_eq!(load(b"\xff").err().unwrap().category(), Category::Invalid);
}

#[test]
fn an_output_of_unknown_shape_is_allocated_by_the_plugin() {
    let plugin = open("byoc_probe", &[]).unwrap();
    let mut region = scaled_relu();
    region.nodes.truncate(1);
    region.values.truncate(3);
    region.nodes[0] = common::node("NonZero", &[0], 2);
    region.values[2].dtype = Some(DType::I64);
    region.outputs = vec![2];
    region.composites.clear();
    let compiled = plugin.compile(&CompileRequest::new(&region)).unwrap();
    let mut input = byoc_host::AlignedBuffer::new(16, 64).unwrap();
    input.as_mut_slice().copy_from_slice(&common::bytes(&[0.0, 2.0, 0.0, 3.0]));
    let inputs = [TensorRef { dtype: DType::F32, shape: &[4], data: TensorData::Host(input.as_slice()) }];
    assert_eq!(compiled.output_shapes(&inputs, CallEnv::default()).unwrap(), None);
    let mut outputs = [Output { dtype: DType::I64, shape: &[], memory: OutputMemory::Pending }];
    let executed = compiled.execute(None, &inputs, &mut outputs, &mut [], CallEnv::default()).unwrap();
    let (shape, content) = executed.allocated[0].as_ref().unwrap();
    assert_eq!(shape, &[1, 2]);
    assert_eq!(content.as_slice(), [1i64.to_le_bytes(), 3i64.to_le_bytes()].concat());
}

#[test]
fn contexts_carry_state_from_one_execution_to_the_next() {
    let plugin = open("byoc_probe", &[]).unwrap();
    let compiled = Arc::new(plugin.compile(&CompileRequest::new(&scaled_relu())).unwrap());
    let mut context = compiled.new_context().unwrap().unwrap();
    let mut input = byoc_host::AlignedBuffer::new(16, 64).unwrap();
    input.as_mut_slice().copy_from_slice(&common::bytes(&INPUT));
    for round in 1..=3 {
        let mut output = byoc_host::AlignedBuffer::new(16, 64).unwrap();
        let inputs = [TensorRef { dtype: DType::F32, shape: &[4], data: TensorData::Host(input.as_slice()) }];
        let memory = OutputMemory::Host(output.as_mut_slice());
        let mut outputs = [Output { dtype: DType::F32, shape: &[4], memory }];
        let env = CallEnv::default();
        let executed = compiled.execute(Some(&mut context), &inputs, &mut outputs, &mut [], env).unwrap();
        assert_eq!((executed.spans[0].name.as_str(), executed.spans[0].start_ns), ("execution", round));
    }
}

#[test]
fn a_panic_in_any_call_is_reported_and_poisons_the_plugin() {
    let region = scaled_relu();
    assert!(open("byoc_probe", &[("fault", "error:open")]).err().is_some_and(|error| !error.is_poisoned()));
    let calls = [
        "check_match",
        "check_region",
        "compile",
        "execute",
        "execute_end",
        "load",
        "new_context",
        "destroy",
    ];
    // A poisoned library stays so: each fault gets a copy of it.
    for call in calls.into_iter().chain(["open"]) {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("libcopy.so");
        std::fs::copy(built("byoc_probe"), &copy).unwrap();
        let library = Library::load(&copy).unwrap();
        let options = library.complete_options(&[("fault".to_owned(), format!("panic:{call}"))]).unwrap();
        let plugin = match byoc_host::Plugin::open(&library, options) {
            Ok(plugin) => plugin,
            Err(error) => {
                assert!(call == "open" && error.is_poisoned(), "{call}: {error}");
                continue;
            }
        };
        let env = CallEnv::default();
        let compiled = plugin.compile(&CompileRequest::new(&region)).map(Arc::new);
        let errors = [
            plugin.check_match(&region, env).err(),
            plugin.check_region(&region, HOST, env).err(),
            compiled.as_ref().err().cloned(),
            compiled.as_ref().ok().and_then(|compiled| execute(compiled, env).err()),
            plugin.load(b"", &[], Signature::default(), HOST, env).err().filter(|error| error.is_poisoned()),
            compiled.as_ref().ok().and_then(|compiled| compiled.new_context().err()),
        ];
        drop(compiled);
        if call != "destroy" {
            let first =
                errors.iter().flatten().find(|error| error.error.message.contains("told to panic")).unwrap();
            assert!(first.is_poisoned() && first.error.message.contains(call), "{call}: {first}");
        }
        let refused = plugin.check_match(&region, env).err().unwrap();
        assert!(refused.is_poisoned() && refused.error.message.contains("before"), "{call}: {refused}");
    }
}

#[test]
fn a_failure_is_an_error_and_the_next_call_works() {
    let plugin = open("byoc_probe", &[("fault", "error:check_region")]).unwrap();
    let error = plugin.check_region(&scaled_relu(), HOST, CallEnv::default()).unwrap_err();
    assert!(error.error.retry && !error.is_poisoned() && error.category() == Category::Internal);
    let compiled = plugin.compile(&CompileRequest::new(&scaled_relu())).unwrap();
    let stop = AtomicBool::new(true);
    let pool = CountingPool::default();
    assert_eq!(execute(&compiled, CallEnv { pool: &pool, stop: Some(&stop) }).unwrap(), EXPECTED);
}
