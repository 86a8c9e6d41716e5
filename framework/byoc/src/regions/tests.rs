//! Programs over devices whose memory nobody else can read, and which notice every missing copy and event.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::{Observed, Observer, Registry, View};
use byoc_graph::{Datum, Model, Node, Tensor, onnx};
use byoc_host::{CompileRequest, Library, Plugin, adapt};
use byoc_runtime::{NoRegions, Options, Program, Region, Regions};

use super::VendorRegion;

/// Devices that a function's name ends in: two of one plugin, and one of a second instance.
const DEVICES: usize = 3;
const OPS: [(&str, usize); 3] = [("Add", 2), ("Mul", 2), ("Relu", 1)];

/// The plugin, opened twice, with every function compiled on every device.
struct Far {
    plugins: [Arc<Plugin>; 2],
    regions: HashMap<String, Arc<VendorRegion>>,
}

impl Far {
    fn new(peers: bool) -> Far {
        let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let name = format!("{}byoc_far_device{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let library = Library::load(&folder.join(name)).unwrap();
        let plugins = [2, 1].map(|devices| {
            let given =
                [("devices".to_owned(), format!("{devices}")), ("peers".to_owned(), format!("{peers}"))];
            Plugin::open(&library, library.complete_options(&given).unwrap()).unwrap()
        });
        let mut regions = HashMap::new();
        for device in 0..DEVICES {
            for (op, arity) in OPS {
                let plugin = &plugins[device / 2];
                regions.insert(function(op, device), Arc::new(region(plugin, device % 2, op, arity)));
            }
        }
        Far { plugins, regions }
    }

    /// Bytes in use on all devices.
    fn used(&self) -> u64 {
        let used = |plugin: &Arc<Plugin>| {
            let (free, total) =
                plugin.memory(plugin.devices()[0].id).unwrap().memory_info().unwrap().unwrap();
            total - free
        };
        self.plugins.iter().map(used).sum()
    }
}

fn function(op: &str, device: usize) -> String {
    format!("{op}_{device}")
}

/// One operator on four elements.
fn region(plugin: &Arc<Plugin>, device: usize, op: &str, arity: usize) -> VendorRegion {
    let (inputs, args) = if arity == 2 { ("float[4] a, float[4] b", "a, b") } else { ("float[4] a", "a") };
    let text = format!(
        r#"<ir_version: 8, opset_import: ["": 17]> r ({inputs}) => (float[4] y) {{ y = {op}({args}) }}"#
    );
    let model = onnx::from_text(&text, None).unwrap();
    let data = adapt::region_data(op, &model.graph, &[], &model.opsets);
    let device = plugin.devices()[device].id;
    let compiled = plugin.compile(&CompileRequest { device, ..CompileRequest::new(&data) }).unwrap();
    VendorRegion::new("far".into(), compiled, &model.graph)
}

impl Regions for Far {
    fn region(&self, call: &Node) -> Option<Region> {
        let executable = self.regions.get(&*call.op.name)?.clone();
        Some(Region { executable, takes: vec![true; call.inputs().len()] })
    }
}

/// A model of these nodes from `x` to `outputs`; the types of `typed` values are known.
fn model(nodes: &str, outputs: &[&str], typed: &[&str]) -> Model {
    let value = |name: &&str| format!("float[4] {name}");
    let list = |names: &[&str]| names.iter().map(value).collect::<Vec<_>>().join(", ");
    let (outputs, typed) = (list(outputs), list(typed));
    let mut text = format!(
        r#"<ir_version: 8, opset_import: ["": 17, "byoc.far": 1]>
        g (float[4] x) => ({outputs}) <{typed}> {{ {nodes} }}"#
    );
    for device in 0..DEVICES {
        for (op, arity) in OPS {
            let (name, args) = (function(op, device), if arity == 2 { "a, b" } else { "a" });
            let header = r#"<domain: "byoc.far", opset_import: ["": 17]>"#;
            writeln!(text, "{header} {name} ({args}) => (y) {{ y = {op}({args}) }}").unwrap();
        }
    }
    onnx::from_text(&text, None).unwrap()
}

fn build(model: &Model, regions: &dyn Regions) -> Program {
    let options = Options {
        registry: &Registry::default(),
        regions,
        pool: Arc::new(ThreadPool::new(1)),
        isa: Isa::detect(),
        check_types: true,
        together: true,
    };
    Program::build(model, &options).unwrap()
}

const X: [f32; 4] = [1.5, -2.0, 0.25, 3.0];

fn run(program: &Program) -> Vec<Vec<u32>> {
    bits(program.run_data(&[Tensor::from_vec(&[4], X.to_vec()).unwrap().into()]).unwrap())
}

/// Outputs bit for bit, but for the signs of zeros and what is no number.
fn bits(outputs: Vec<Datum>) -> Vec<Vec<u32>> {
    let bits = |x: &f32| if x.is_nan() { f32::NAN.to_bits() } else { (x + 0.0).to_bits() };
    let tensor = |datum: Datum| match datum {
        Datum::Tensor(tensor) => tensor.as_slice::<f32>().unwrap().iter().map(bits).collect(),
        other => panic!("a {}", other.kind()),
    };
    outputs.into_iter().map(tensor).collect()
}

/// Labels of the transfers that a run makes, in order.
#[derive(Default)]
struct Transfers(Mutex<Vec<String>>);

impl Observer for Transfers {
    fn step(&self, &Observed { label, op, target, .. }: &Observed<'_>) {
        assert_eq!(op == "Transfer", target == "transfer");
        if target == "transfer" {
            self.0.lock().unwrap().push(label.to_owned());
        }
    }
}

/// Runs with and without somebody watching; the transfers.
fn transfers(far: &Far, nodes: &str, outputs: &[&str], typed: &[&str]) -> Vec<String> {
    let model = model(nodes, outputs, typed);
    let want = run(&build(&model, &NoRegions));
    let program = build(&model, far);
    assert_eq!(run(&program), want);
    let observer = Transfers::default();
    let x = Datum::from(Tensor::from_vec(&[4], X.to_vec()).unwrap());
    let got = program.run_observed(&[Some(View::of(&x))], &mut [], Some(&observer)).unwrap();
    assert_eq!(bits(got), want);
    observer.0.into_inner().unwrap()
}

#[test]
fn what_one_device_makes_for_itself_stays_there() {
    let far = Far::new(true);
    let nodes = "a = byoc.far.Relu_0(x) b = byoc.far.Mul_0(a, x) z = byoc.far.Add_0(b, a)";
    for typed in [&["a", "b"][..], &[]] {
        assert_eq!(transfers(&far, nodes, &["z"], typed), ["x", "z"]);
    }
    let shape =
        "a = byoc.far.Relu_0(x) s = Constant<value_ints = [4]>() b = Reshape(a, s) z = byoc.far.Add_0(b, b)";
    assert_eq!(transfers(&far, shape, &["z"], &["a", "b"]), ["x", "z"]);
}

#[test]
fn a_value_is_copied_once_to_each_memory() {
    let far = Far::new(true);
    let nodes = "a = byoc.far.Relu_0(x) h = Neg(a) i = Abs(a) b = byoc.far.Add_0(a, h) c = byoc.far.Mul_0(h, i) \
                 z = byoc.far.Add_0(b, c)";
    assert_eq!(transfers(&far, nodes, &["z", "a"], &["a", "h", "b", "c", "i"]), ["x", "a", "h", "i", "z"]);
}

#[test]
fn devices_exchange_directly_where_they_can() {
    let chain = |second: usize| format!("a = byoc.far.Relu_0(x) z = byoc.far.Add_{second}(a, a)");
    for (peers, second, want) in
        [(true, 1, &["x", "a", "z"][..]), (false, 1, &["x", "a", "z"]), (true, 2, &["x", "a", "a", "z"])]
    {
        let far = Far::new(peers);
        assert_eq!(transfers(&far, &chain(second), &["z"], &["a"]), want, "peers {peers}, device {second}");
    }
}

#[test]
fn a_steady_run_takes_no_memory_and_a_program_gives_all_back() {
    let far = Far::new(true);
    let before = far.used();
    let nodes =
        "a = byoc.far.Relu_0(x) h = Neg(a) b = byoc.far.Add_1(a, h) c = byoc.far.Add_2(b, a) z = Neg(c)";
    for typed in [&["a", "h", "b", "c"][..], &[]] {
        let program = build(&model(nodes, &["z"], typed), &far);
        run(&program);
        let kept = far.used();
        assert!(kept > before, "arenas are kept");
        (0..3).for_each(|_| drop(run(&program)));
        assert_eq!(far.used(), kept);
        drop(program);
        assert_eq!(far.used(), before);
    }
}

#[test]
fn a_failed_device_is_an_error_of_the_run() {
    let far = Far::new(true);
    let model = model("a = byoc.far.Relu_0(x) z = Neg(a)", &["z"], &["a"]);
    let program = build(&model, &far);
    run(&program);
    let memory = far.plugins[0].memory(far.plugins[0].devices()[0].id).unwrap();
    let stream = memory.new_stream().unwrap();
    let address = memory.alloc(16, 64).unwrap();
    let source = byoc_host::CopyEnd::Host(X.as_ptr().cast_mut().cast());
    let target = byoc_host::CopyEnd::Device { address, offset: 0 };
    // SAFETY: the constant has 16 bytes and stays.
    unsafe { memory.copy(source, target, 16, Some(&stream)) }.unwrap();
    // Freed while in use: from now on the device fails.
    memory.free(address);
    let x = Tensor::from_vec(&[4], X.to_vec()).unwrap().into();
    let error = program.run_data(&[x]).unwrap_err().to_string();
    assert!(error.contains("far-device") && error.contains("in use"), "{error}");
}

/// Numbers that look random, the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

/// Whatever is placed wherever, in as many runs at once as one likes: the answer is the host's.
#[test]
fn random_placements_give_the_answer_of_the_host() {
    let far = Far::new(true);
    let before = far.used();
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut values = vec!["x".to_owned()];
        let mut nodes = String::new();
        let mut typed = HashSet::new();
        for n in 0..3 + random.below(12) {
            let (op, arity) = OPS[random.below(OPS.len())];
            let at = random.below(DEVICES + 1);
            let name = if at == DEVICES { op.to_owned() } else { format!("byoc.far.{}", function(op, at)) };
            // Recent values more often than old ones.
            let mut arg = || values[values.len() - 1 - random.below(values.len().min(4))].clone();
            let args = (0..arity).map(|_| arg()).collect::<Vec<_>>().join(", ");
            writeln!(nodes, "v{n} = {name}({args})").unwrap();
            values.push(format!("v{n}"));
            if seed % 3 != 0 || random.below(2) == 0 {
                typed.insert(format!("v{n}"));
            }
        }
        let last = values.last().unwrap().clone();
        let middle = values[1 + random.below(values.len() - 1)].clone();
        let outputs = if middle == last { vec![&*last] } else { vec![&*last, &*middle] };
        let typed: Vec<&str> =
            values.iter().map(|v| &**v).filter(|v| typed.contains(*v) && !outputs.contains(v)).collect();
        let model = model(&nodes, &outputs, &typed);
        let want = run(&build(&model, &NoRegions));
        let program = build(&model, &far);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..2).for_each(|_| assert_eq!(run(&program), want, "seed {seed}: {nodes}")));
            }
        });
        drop(program);
        assert_eq!(far.used(), before, "seed {seed}: {nodes}");
    }
}
