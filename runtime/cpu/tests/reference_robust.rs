//! No kernel panics, whatever it is called with: random inputs and attributes for every operator.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use byoc_cpu::reference::{self, Call, Entry, NoBodies};
use byoc_graph::schema::{self, AttrDefault};
use byoc_graph::{Attr, AttrKind, DType, Datum, Graph, Node, NodeSpec, Tensor};
use bytes::Bytes;

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Mostly small, sometimes extreme.
    fn int(&mut self) -> i64 {
        match self.below(20) {
            // Nothing between: sizes that are allowed, but take minutes.
            0 => self.pick(&[i64::MIN, i64::MAX, 1 << 40, -(1 << 40)]),
            n => n as i64 % 7 - 2,
        }
    }

    fn float(&mut self) -> f32 {
        match self.below(12) {
            0 => self.pick(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.0, -0.0]),
            _ => (self.below(4000) as f32 - 2000.0) / 500.0,
        }
    }

    fn dims(&mut self) -> Vec<usize> {
        let rank = self.below(6);
        (0..rank).map(|_| self.pick(&[0, 1, 1, 2, 2, 2, 3, 3, 4])).collect()
    }

    fn tensor(&mut self, dtype: DType, dims: &[usize]) -> Tensor {
        let n: usize = dims.iter().product();
        let made = match dtype {
            DType::F32 => Tensor::from_vec(dims, (0..n).map(|_| self.float()).collect()),
            DType::F64 => Tensor::from_vec(dims, (0..n).map(|_| f64::from(self.float())).collect()),
            DType::I64 => Tensor::from_vec(dims, (0..n).map(|_| self.int()).collect()),
            DType::I32 => Tensor::from_vec(dims, (0..n).map(|_| self.int() as i32).collect()),
            DType::Bool => Tensor::from_bools(dims, (0..n).map(|_| self.below(2) == 0).collect()),
            DType::Str => {
                let words: Vec<Bytes> = (0..n).map(|_| self.text()).collect();
                Tensor::from_strings(dims, words)
            }
            other => {
                let (len, width) = (other.byte_len(n).expect("small"), (other.bits() / 8).max(1));
                let byte = |i: usize| if i.is_multiple_of(width) { self.next() as u8 % 16 } else { 0 };
                let bytes: Vec<u8> = (0..len).map(byte).collect();
                Tensor::from_bytes(other, dims, bytes.into())
            }
        };
        made.expect("as many elements as the shape asks for")
    }

    fn text(&mut self) -> Bytes {
        Bytes::from_static(self.pick(&[&b"a b"[..], b"", b"xyz", b"\xff", b"ij,jk->ik", b"1.5", b"sum"]))
    }

    fn datum(&mut self, shared: &[usize]) -> Datum {
        let dims = if self.below(2) == 0 { shared.to_vec() } else { self.dims() };
        let common = [DType::F32, DType::F32, DType::F32, DType::I64, DType::I64, DType::U8];
        let dtype = if self.below(4) == 0 { self.pick(DType::ALL) } else { self.pick(&common) };
        let tensor = self.tensor(dtype, &dims);
        match self.below(15) {
            0 => Datum::Sequence { element: None, items: vec![tensor.into()] },
            _ => tensor.into(),
        }
    }

    fn attr(&mut self, kind: AttrKind, default: Option<AttrDefault>) -> Option<Attr> {
        Some(match (kind, default) {
            (AttrKind::Str, Some(AttrDefault::String(text))) if self.below(2) == 0 => Attr::str(text),
            (AttrKind::Int, _) => Attr::Int(self.int()),
            (AttrKind::Float, _) => Attr::Float(self.float()),
            (AttrKind::Str, _) => Attr::Str(self.text()),
            (AttrKind::Ints, _) => Attr::Ints((0..self.below(6)).map(|_| self.int()).collect()),
            (AttrKind::Floats, _) => Attr::Floats((0..self.below(6)).map(|_| self.float()).collect()),
            (AttrKind::Strs, _) => Attr::Strs((0..self.below(4)).map(|_| self.text()).collect()),
            (AttrKind::Tensor, _) => {
                let dims = self.dims();
                Attr::Tensor(Arc::new(self.tensor(DType::F32, &dims)))
            }
            _ => return None,
        })
    }
}

/// A call of the operator with attributes that its schema knows, of any value.
fn node(entry: &Entry, random: &mut Random) -> Option<Node> {
    let schema = random.pick(&schema::versions(entry.domain, entry.name).iter().collect::<Vec<_>>());
    let mut spec = NodeSpec {
        name: "n".into(),
        domain: entry.domain.into(),
        op: entry.name.into(),
        opset: schema.since_version.max(entry.since),
        ..NodeSpec::default()
    };
    for attribute in schema.attributes {
        let given = attribute.required || random.below(3) == 0;
        if given && let Some(attr) = random.attr(attribute.kind, attribute.default) {
            spec.attrs.insert(attribute.name.into(), attr);
        }
    }
    let mut graph = Graph::new("g");
    spec.outputs = (0..1 + random.below(3)).map(|i| graph.add_value(format!("y{i}"), None).ok()).collect();
    let id = graph.add_node(spec).ok()?;
    Some(graph.node(id).clone())
}

#[test]
fn no_kernel_panics() {
    const ROUNDS: usize = 60;
    let mut random = Random(0x5eed);
    let mut panics = Vec::new();
    for entry in reference::all() {
        let most = schema::versions(entry.domain, entry.name)[0].max_inputs().unwrap_or(4);
        for _ in 0..ROUNDS {
            let Some(node) = node(entry, &mut random) else { continue };
            let shared = random.dims();
            let n = if random.below(4) == 0 { random.below(most + 2) } else { most };
            let inputs: Vec<Option<Datum>> = (0..n)
                .map(|_| if random.below(10) == 0 { None } else { Some(random.datum(&shared)) })
                .collect();
            let borrowed: Vec<Option<&Datum>> = inputs.iter().map(Option::as_ref).collect();
            let call = Call { node: &node, inputs: &borrowed, bodies: &NoBodies };
            if catch_unwind(AssertUnwindSafe(|| (entry.kernel)(&call).is_ok())).is_err() {
                panics.push(format!("{}: {:?} of {inputs:?}", entry.name, node.attrs));
                break;
            }
        }
    }
    assert!(panics.is_empty(), "{} kernels panicked:\n{}", panics.len(), panics.join("\n"));
}
