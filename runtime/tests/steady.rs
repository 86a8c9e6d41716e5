//! What runs take of the system's memory, once others have gone before.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use byoc_cpu::fast::Isa;
use byoc_cpu::kernel::tensor;
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::{Ctx, Entry, Kernel, KernelError, Outputs, Registry};
use byoc_graph::{DType, Datum, Tensor};
use byoc_runtime::{NoRegions, Options, OutputBuffer, Program, View};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Negates on one thread.
struct Negation;

impl Kernel for Negation {
    fn run(
        &self,
        _: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let y = outputs.tensor::<f32>(0, x.dims)?;
        y.iter_mut().zip(x.slice::<f32>()?).for_each(|(y, x)| *y = -x);
        Ok(())
    }

    fn is_serial(&self) -> bool {
        true
    }
}

static NEGATION: Entry = Entry {
    name: "negation",
    domain: "",
    ops: &["Neg"],
    since: 1,
    dtypes: &[],
    priority: 100,
    prepare: |_| Some(Box::new(Negation)),
};

/// Allocations of a run that has had others before it, and the steps that it takes.
fn allocations(together: bool) -> (usize, usize) {
    // Nobody knows how large `c` and `d` will be: they lie on the heap.
    let text = "<ir_version: 8, opset_import: [\"\": 17]>
        g (float[64, 64] x) => (float[64, 64] y)
        <float[64, 64] a, float[64, 64] b, float[P, Q] c, float[R, S] d> {
            a = Neg(x)  b = Neg(x)  c = Neg(a)  d = Neg(b)  y = MatMul(c, d)
        }";
    let x = Datum::Tensor(Tensor::from_vec(&[64, 64], vec![0.5f32; 64 * 64]).expect("sized"));
    let (mut registry, pool, isa) = (Registry::default(), Arc::new(ThreadPool::new(2)), Isa::detect());
    registry.add(&NEGATION);
    let options =
        Options { registry: &registry, regions: &NoRegions, pool, isa, check_types: false, together };
    let program = Program::build(&common::model(text), &options).expect("builds");
    let mut made = vec![0f32; 64 * 64];
    let mut run = || {
        let bytes = bytemuck::cast_slice_mut(&mut made);
        let buffer = OutputBuffer { dtype: DType::F32, dims: &[64, 64], bytes };
        let before = COUNT.load(Ordering::Relaxed);
        program.run_observed(&[Some(View::of(&x))], &mut [Some(buffer)], None).expect("runs");
        COUNT.load(Ordering::Relaxed) - before
    };
    let counts: Vec<usize> = (0..40).map(|_| run()).collect();
    let last = counts[20..].iter().max().copied().expect("counted");
    (last, program.steps().count())
}

#[test]
fn steps_at_once_take_no_more_memory_than_one_by_one() {
    let (alone, steps) = allocations(false);
    assert_eq!(steps, 5);
    let (together, steps) = allocations(true);
    assert_eq!(steps, 3);
    assert_eq!(together, alone);
}
