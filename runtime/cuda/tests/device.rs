//! The plugin as a device: its memory, streams and events, on a pretended GPU that notices what is freed too early, written
//! beyond its end or left behind.

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::onnx;
use byoc_host::{
    CallEnv, Category, CompileRequest, Compiled, CopyEnd, DType, DeviceMemory, Freed, Library, Output,
    OutputMemory, Plugin, PluginError, Stream, TensorData, TensorRef, adapt,
};

/// `y = Softmax((x · w + b) ⊙ k)`, the rows not known: values between the kernels need memory.
const MODEL: &str = r#"<ir_version: 10, opset_import: ["": 21]>
g (float[N,3] x) => (float[N,2] y)
<float[3,2] w = {1, -2, 0.5, 4, 0, 3}, float[2] b = {0.5, -0.5}> {
    p = MatMul(x, w)
    s = Add(p, b)
    m = ReduceSum(s)
    t = Div(s, m)
    y = Softmax(t)
}"#;

const X: [f32; 6] = [1.0, -1.0, 2.0, 0.0, 3.0, -2.0];

/// What the model makes of two such rows.
fn expected() -> Vec<f32> {
    let w = [1.0f32, -2.0, 0.5, 4.0, 0.0, 3.0];
    let row = |r: usize, c: usize| (0..3).map(|k| X[r * 3 + k] * w[k * 2 + c]).sum::<f32>() + [0.5, -0.5][c];
    let s = [row(0, 0), row(0, 1), row(1, 0), row(1, 1)];
    let t = s.map(|value| value / s.iter().sum::<f32>());
    let soft = |i: usize| t[i].exp() / (t[i / 2 * 2].exp() + t[i / 2 * 2 + 1].exp());
    (0..4).map(soft).collect()
}

fn built(name: &str) -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
    let path = folder.join(format!("lib{name}.so"));
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// The pretended GPU, which all tests of this process share.
struct Fake {
    library: libloading::Library,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Fake {
    fn new() -> Fake {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the library's initialisers have no demands on the process.
        let library = unsafe { libloading::Library::new(built("byoc_fake_cuda")) }.unwrap();
        // SAFETY: the function's type is that of its declaration; so below.
        unsafe { library.get::<extern "C" fn()>(b"fake_cuda_reset\0").unwrap()() };
        Fake { library, _turn: turn }
    }

    /// The next call but so many fails.
    fn fail(&self, rule: &str) {
        let rule = CString::new(rule).unwrap();
        // SAFETY: as above.
        unsafe {
            let fail = self.library.get::<unsafe extern "C" fn(*const i8)>(b"fake_cuda_fail\0").unwrap();
            fail(rule.as_ptr().cast());
        }
    }

    fn report(&self) -> String {
        let mut text = vec![0u8; 1 << 16];
        // SAFETY: as above; there is room.
        let len = unsafe {
            let report =
                self.library.get::<unsafe extern "C" fn(*mut u8, usize) -> usize>(b"fake_cuda_report\0");
            report.unwrap()(text.as_mut_ptr(), text.len())
        };
        text.truncate(len);
        String::from_utf8(text).unwrap()
    }

    fn count(&self, what: &str) -> u64 {
        let report = self.report();
        let line = report.lines().find_map(|line| line.strip_prefix(&format!("{what} ")));
        line.unwrap().parse().unwrap()
    }

    fn launches(&self) -> usize {
        self.report().lines().filter(|line| line.starts_with("launch ")).count()
    }
}

fn open() -> Arc<Plugin> {
    let library = Library::load(&built("byoc_cuda")).unwrap();
    let fake = built("byoc_fake_cuda").display().to_string();
    let cache = built("byoc_cuda").with_file_name("fake_cuda_cache").display().to_string();
    let libraries = ["driver", "nvrtc", "cublaslt", "cudnn"].map(|name| (name, fake.clone()));
    let given = libraries.into_iter().chain([("cache", cache)]);
    let given: Vec<_> = given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Plugin::open(&library, library.complete_options(&given).unwrap()).unwrap()
}

struct Setup {
    plugin: Arc<Plugin>,
    memory: DeviceMemory,
    compiled: Arc<Compiled>,
    input: u64,
    output: u64,
}

fn compile(plugin: &Arc<Plugin>) -> Result<Compiled, PluginError> {
    let mut model = onnx::from_text(MODEL, None).unwrap();
    infer(&mut model, &InferOptions::default()).unwrap();
    let region = adapt::region_data("r", &model.graph, &[], &model.opsets);
    let device = plugin.devices()[0].id;
    plugin.compile(&CompileRequest { device, ..CompileRequest::new(&region) })
}

fn setup() -> Setup {
    let plugin = open();
    let memory = plugin.memory(plugin.devices()[0].id).unwrap();
    let compiled = Arc::new(compile(&plugin).unwrap());
    let (input, output) = (memory.alloc(64, 256).unwrap(), memory.alloc(64, 256).unwrap());
    Setup { plugin, memory, compiled, input, output }
}

impl Setup {
    fn enqueue(
        &self,
        context: Option<&mut byoc_host::ExecutionContext>,
        stream: Option<&Stream>,
    ) -> Result<(), PluginError> {
        let device = self.memory.id();
        let data = TensorData::Device { device, address: self.input, offset: 0, len: 24 };
        let inputs = [TensorRef { dtype: DType::F32, shape: &[2, 3], data }];
        let memory = OutputMemory::Device { device, address: self.output, offset: 16, len: 16 };
        let mut outputs = [Output { dtype: DType::F32, shape: &[2, 2], memory }];
        // SAFETY: device memory is freed by the tests only when they are done with the stream.
        unsafe { self.compiled.enqueue(context, &inputs, &mut outputs, &mut [], stream, CallEnv::default()) }
            .map(drop)
    }

    fn result(&self) -> Vec<f32> {
        let mut bytes = [0; 16];
        self.memory.copy_out(self.output, 16, &mut bytes).unwrap();
        bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    fn give_back(self) {
        assert_eq!((self.memory.free(self.input), self.memory.free(self.output)), (Freed::Done, Freed::Done));
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[track_caller]
fn assert_close(result: &[f32]) {
    let close = |(one, other): (&f32, &f32)| (one - other).abs() < 1e-5;
    assert!(result.iter().zip(&expected()).all(close), "{result:?} is not {:?}", expected());
}

#[test]
fn without_a_stream_all_is_done_on_return_and_nothing_is_left() {
    let fake = Fake::new();
    let setup = setup();
    setup.memory.copy_in(&bytes(&X), setup.input, 0).unwrap();
    setup.enqueue(None, None).unwrap();
    assert_close(&setup.result());
    setup.give_back();
    assert_eq!(
        (fake.count("memory"), fake.count("streams"), fake.count("events")),
        (0, 0, 0),
        "{}",
        fake.report()
    );
    assert!(!fake.report().contains("fault"), "{}", fake.report());
}

#[test]
fn a_steady_run_is_one_launch_allocates_nothing_and_waits_for_nothing_but_its_end() {
    let fake = Fake::new();
    let setup = setup();
    let stream = setup.memory.new_stream().unwrap();
    let arrived = setup.memory.new_event().unwrap();
    let content = bytes(&X);
    let mut context = setup.compiled.new_context().unwrap().unwrap();
    let mut before = (0, 0, 0);
    for round in 0..4 {
        let (from, to) =
            (CopyEnd::Host(content.as_ptr().cast_mut()), CopyEnd::Device { address: setup.input, offset: 0 });
        // SAFETY: the content is kept until the event behind it has completed.
        unsafe { setup.memory.copy(from, to, content.len() as u64, Some(&stream)).unwrap() };
        setup.enqueue(Some(&mut context), Some(&stream)).unwrap();
        stream.record(&arrived).unwrap();
        let counts = (fake.count("allocations"), fake.count("waits"), fake.launches() as u64);
        if round > 1 {
            assert_eq!((counts.0, counts.1), (before.0, before.1), "{}", fake.report());
            assert_eq!(counts.2 - before.2, 1, "{}", fake.report());
        }
        arrived.wait().unwrap();
        before = (counts.0, counts.1 + 1, counts.2);
    }
    assert_close(&setup.result());
    // The first run is four launches; the second is recorded; from then on it is one.
    assert_eq!(
        fake.report().lines().filter(|line| *line == "launch graph of 4").count(),
        3,
        "{}",
        fake.report()
    );
    drop((stream, arrived, context));
    setup.give_back();
    assert_eq!(fake.count("graphs"), 0, "{}", fake.report());
    assert_eq!(
        (fake.count("memory"), fake.count("streams"), fake.count("events")),
        (0, 0, 0),
        "{}",
        fake.report()
    );
}

#[test]
fn two_streams_that_share_a_context_are_ordered_by_it() {
    let fake = Fake::new();
    let setup = setup();
    setup.memory.copy_in(&bytes(&X), setup.input, 0).unwrap();
    let streams = [(); 2].map(|()| setup.memory.new_stream().unwrap());
    let mut context = setup.compiled.new_context().unwrap().unwrap();
    streams.iter().for_each(|stream| setup.enqueue(Some(&mut context), Some(stream)).unwrap());
    // The second stream's work waits for the first's, which nobody has waited for.
    setup.memory.sync(Some(&streams[1])).unwrap();
    assert_close(&setup.result());
    setup.memory.sync(None).unwrap();
    drop((streams, context));
    setup.give_back();
    assert!(!fake.report().contains("fault"), "{}", fake.report());
}

#[test]
fn events_tell_when_work_is_done() {
    let _fake = Fake::new();
    let setup = setup();
    let (transfers, kernels) = (setup.memory.new_stream().unwrap(), setup.memory.new_stream().unwrap());
    let (arrived, computed) = (setup.memory.new_event().unwrap(), setup.memory.new_event().unwrap());
    let content = bytes(&X);
    let (from, to) =
        (CopyEnd::Host(content.as_ptr().cast_mut()), CopyEnd::Device { address: setup.input, offset: 0 });
    // SAFETY: as above.
    unsafe { setup.memory.copy(from, to, content.len() as u64, Some(&transfers)).unwrap() };
    transfers.record(&arrived).unwrap();
    kernels.wait(&arrived).unwrap();
    setup.enqueue(None, Some(&kernels)).unwrap();
    kernels.record(&computed).unwrap();
    computed.wait().unwrap();
    assert!(computed.is_done().unwrap() && arrived.is_done().unwrap());
    assert_close(&setup.result());
    drop((transfers, kernels));
    setup.give_back();
}

#[test]
fn memory_in_use_is_not_freed() {
    let fake = Fake::new();
    let setup = setup();
    let stream = setup.memory.new_stream().unwrap();
    setup.enqueue(None, Some(&stream)).unwrap();
    assert_eq!(setup.memory.free(setup.input), Freed::Failed);
    assert!(fake.report().contains("freed while work that uses it waits"), "{}", fake.report());
    let error = setup.memory.sync(Some(&stream)).unwrap_err();
    assert_eq!(error.category(), Category::DeviceLost, "{error}");
}

#[test]
fn failures_have_categories_and_leave_nothing_behind() {
    let fake = Fake::new();
    let plugin = open();
    let memory = plugin.memory(plugin.devices()[0].id).unwrap();
    fake.fail("cuMemAlloc_v2:0:2");
    let error = memory.alloc(64, 256).unwrap_err();
    assert_eq!(error.category(), Category::OutOfMemory, "{error}");
    assert!(error.to_string().contains("64 bytes"), "{error}");
    assert_eq!(memory.alloc(1 << 40, 256).unwrap_err().category(), Category::OutOfMemory);
    // The second constant finds no room: the first is given back.
    fake.fail("cuMemAlloc_v2:1:2");
    assert_eq!(compile(&plugin).err().unwrap().category(), Category::OutOfMemory);
    assert_eq!(fake.count("memory"), 0, "{}", fake.report());
    fake.fail("cuModuleGetFunction:0:500");
    // Kernels that are loaded already are not asked for again: a plugin of its own.
    assert_eq!(compile(&open()).err().unwrap().category(), Category::Internal);
    drop((memory, plugin));
    let setup = setup();
    for (rule, category) in
        [("cuMemAllocAsync:0:2", Category::OutOfMemory), ("cuLaunchKernel:1:719", Category::DeviceLost)]
    {
        fake.fail(rule);
        let error = setup.enqueue(None, None).unwrap_err();
        assert_eq!(error.category(), category, "{error}");
    }
    setup.memory.copy_in(&bytes(&X), setup.input, 0).unwrap();
    setup.enqueue(None, None).unwrap();
    assert_close(&setup.result());
    setup.give_back();
    assert_eq!((fake.count("memory"), fake.count("events")), (0, 0), "{}", fake.report());
}

#[test]
fn host_memory_is_not_taken_for_the_devices() {
    let _fake = Fake::new();
    let setup = setup();
    let x = bytes(&X);
    let inputs = [TensorRef { dtype: DType::F32, shape: &[2, 3], data: TensorData::Host(&x) }];
    let mut y = [0; 16];
    let mut outputs = [Output { dtype: DType::F32, shape: &[2, 2], memory: OutputMemory::Host(&mut y) }];
    let error = setup.compiled.execute(None, &inputs, &mut outputs, &mut [], CallEnv::default());
    assert!(error.map(drop).unwrap_err().to_string().contains("not on this device"));
    let _ = &setup.plugin;
    setup.give_back();
}

#[test]
fn two_gpus_copy_from_each_other() {
    let fake = Fake::new();
    let plugin = open();
    let [one, other] = [0, 1].map(|index: usize| plugin.memory(plugin.devices()[index].id).unwrap());
    let (from, to) = (one.alloc(24, 256).unwrap(), other.alloc(24, 256).unwrap());
    one.copy_in(&bytes(&X), from, 0).unwrap();
    let stream = other.new_stream().unwrap();
    let source = CopyEnd::Peer { device: one.id(), address: from, offset: 4 };
    let target = CopyEnd::Device { address: to, offset: 0 };
    // SAFETY: no host memory is touched.
    unsafe { other.copy(source, target, 20, Some(&stream)).unwrap() };
    other.sync(Some(&stream)).unwrap();
    let mut result = [0; 20];
    other.copy_out(to, 0, &mut result).unwrap();
    assert_eq!(result.as_slice(), &bytes(&X)[4..]);
    drop(stream);
    assert_eq!((one.free(from), other.free(to)), (Freed::Done, Freed::Done));
    assert_eq!((fake.count("memory"), fake.count("streams")), (0, 0), "{}", fake.report());
}

#[test]
fn sessions_have_their_constants_in_common() {
    let fake = Fake::new();
    let (one, other) = (setup(), open());
    let before = fake.count("memory");
    let again = compile(&other).unwrap();
    assert_eq!(fake.count("memory"), before, "{}", fake.report());
    // What one gives back the other still has.
    let Setup { memory, compiled, input, output, plugin } = one;
    drop(compiled);
    assert_eq!(fake.count("memory"), before, "{}", fake.report());
    drop(again);
    assert_eq!(fake.count("memory"), 2, "{}", fake.report());
    assert_eq!((memory.free(input), memory.free(output)), (Freed::Done, Freed::Done));
    drop((memory, plugin, other));
}

#[test]
fn large_copies_go_by_pinned_pieces_and_are_whole() {
    let fake = Fake::new();
    let plugin = open();
    let memory = plugin.memory(plugin.devices()[0].id).unwrap();
    // More than all pieces together, and not a multiple of one.
    let content: Vec<u8> =
        (0..(21u32 << 20) + 12_345).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let address = memory.alloc(content.len() as u64, 256).unwrap();
    let stream = memory.new_stream().unwrap();
    let (from, to) = (CopyEnd::Host(content.as_ptr().cast_mut()), CopyEnd::Device { address, offset: 0 });
    // SAFETY: the content stays until the stream has been waited for; so does the result.
    unsafe { memory.copy(from, to, content.len() as u64, Some(&stream)).unwrap() };
    let mut result = vec![0u8; content.len()];
    let (from, to) = (CopyEnd::Device { address, offset: 0 }, CopyEnd::Host(result.as_mut_ptr()));
    // SAFETY: as above.
    unsafe { memory.copy(from, to, content.len() as u64, Some(&stream)).unwrap() };
    memory.sync(Some(&stream)).unwrap();
    assert!(result == content, "{}", fake.report());
    assert_eq!(fake.count("pinned"), 4, "{}", fake.report());
    assert_eq!(memory.free(address), Freed::Done);
    drop((stream, memory, plugin));
    assert_eq!((fake.count("pinned"), fake.count("events")), (0, 0), "{}", fake.report());
}
