//! A program: the steps of a model, built once and run many times.

use std::sync::{Arc, Mutex, PoisonError};

use byoc_cpu::fast::{Exec, Isa};
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::{Ctx, Kernel, KernelError, Made, Observer, TensorView, View};
use byoc_graph::{DType, Datum, Dim, StaticDims, Tensor, Type};
use smallvec::SmallVec;
use thiserror::Error;

use crate::alias::Alias;
use crate::aside::Helpers;
use crate::device::{DeviceRegion, Devices, Queue, Space};
use crate::execute;
use crate::frame::{Frame, bytes_of};
use crate::memory::{self, MemoryPlan, Operands, Starts, Storage, StorageIndex, ValueIndex};
use crate::region::RegionKernel;
use crate::signature::{Binding, InputError, InputSpec, OutputSpec, Signature};
use crate::together;
use crate::work::Call;

/// What the runtime executes. Cheap to share: runs take `&self`, from any number of threads.
pub struct Program {
    pub(crate) signature: Signature,
    pub(crate) steps: Vec<Step>,
    pub(crate) values: Vec<ValueInfo>,
    pub(crate) storages: Vec<Storage>,
    pub(crate) constants: Vec<Tensor>,
    pub(crate) devices: Devices,
    pub(crate) helpers: Helpers,
    /// By storage: an enqueued step uses it.
    pub(crate) lent: Vec<bool>,
    /// By storage: which of a frame's pools its buffers are from.
    pub(crate) from: Vec<usize>,
    pub(crate) inputs: Vec<ValueIndex>,
    pub(crate) outputs: Vec<ValueIndex>,
    pub(crate) pool: Arc<ThreadPool>,
    pub(crate) isa: Isa,
    /// Every value is compared with the type that was inferred for it.
    pub(crate) check_types: bool,
    /// Frames of finished runs, for the next ones.
    // A frame is large, and goes in and out with every round of a body.
    #[allow(clippy::vec_box)]
    frames: Mutex<Vec<Box<Frame>>>,
    /// Plans for the bindings that were met last.
    plans: Mutex<Vec<Arc<MemoryPlan>>>,
}

/// Plans that are kept; a model with dynamic shapes meets some again and again.
const KEPT_PLANS: usize = 16;

#[derive(Default)]
pub(crate) struct ValueInfo {
    pub dtype: Option<DType>,
    pub shape: Option<SmallVec<[Dim; 4]>>,
    /// What was inferred, in programs that check it.
    pub ty: Option<Type>,
    /// `None` for values that no step touches.
    pub storage: Option<StorageIndex>,
}

pub(crate) struct Step {
    /// The node's label.
    pub label: Arc<str>,
    pub op: Arc<str>,
    /// The kernel's name, or the vendor.
    pub by: Arc<str>,
    pub target: Arc<str>,
    pub action: Action,
    /// Inputs, then captures; `None` where absent or taken over by the kernel.
    pub inputs: SmallVec<[Option<ValueIndex>; 4]>,
    pub outputs: SmallVec<[Option<ValueIndex>; 2]>,
    /// The input in whose memory output 0 is computed.
    pub in_place: Option<usize>,
    /// Storages whose last use this is.
    pub release: Vec<StorageIndex>,
    /// Where it is enqueued; done when the next step begins where there is none.
    pub queue: Option<Queue>,
    /// Where it computes aside: it has to be done before this step.
    pub until: Option<usize>,
    /// What there is to do is counted from this; `None` where nobody can tell.
    pub call: Option<Box<Call>>,
}

impl Step {
    /// The steps of several that run at once; otherwise this one.
    pub fn parts(&self) -> &[Step] {
        match &self.action {
            Action::Together(parts) => parts,
            _ => std::slice::from_ref(self),
        }
    }
}

pub(crate) enum Action {
    Kernel(Box<dyn Kernel>),
    /// Several kernels at once; operands are theirs, side by side.
    Together(Vec<Step>),
    /// Runs bodies, whose steps are observed instead of this one.
    Bodies(Box<dyn Kernel>),
    Alias(Alias),
    Region(DeviceRegion),
    /// A region that may compute aside.
    Aside(Arc<RegionKernel>),
    Transfer {
        from: Space,
        to: Space,
    },
}

/// One step, as listings and profiles show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepInfo {
    pub label: Arc<str>,
    pub op: Arc<str>,
    pub by: Arc<str>,
    pub target: Arc<str>,
}

#[derive(Debug, Error)]
pub enum RunError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("{op} node `{node}` failed on {target}: {source}")]
    Step { node: Arc<str>, op: Arc<str>, target: Arc<str>, source: KernelError },
    #[error("no memory for the run: {0}")]
    Memory(KernelError),
    #[error("output `{0}` was not made")]
    NotMade(Arc<str>),
}

/// Memory of the caller for an output of known type and shape.
pub struct OutputBuffer<'a> {
    pub dtype: DType,
    pub dims: &'a [usize],
    /// As many bytes as that takes, aligned for the elements.
    pub bytes: &'a mut [u8],
}

impl Program {
    pub(crate) fn new(
        signature: Signature,
        (pool, isa, check_types): (Arc<ThreadPool>, Isa, bool),
        (steps, values): (Vec<Step>, Vec<ValueInfo>),
        (storages, constants): (Vec<Storage>, Vec<Tensor>),
        devices: Devices,
        (inputs, outputs): (Vec<ValueIndex>, Vec<ValueIndex>),
    ) -> Program {
        let mut lent = vec![false; storages.len()];
        for step in steps.iter().filter(|step| step.queue.is_some()) {
            let operands = step.inputs.iter().chain(&step.outputs).flatten();
            operands.filter_map(|&v| values[v].storage).for_each(|s| lent[s] = true);
        }
        let from = together::pools(&steps, &values, storages.len());
        Program {
            signature,
            steps,
            values,
            storages,
            constants,
            devices,
            helpers: Helpers::default(),
            lent,
            from,
            inputs,
            outputs,
            pool,
            isa,
            check_types,
            frames: Mutex::default(),
            plans: Mutex::default(),
        }
    }

    pub fn inputs(&self) -> &[InputSpec] {
        &self.signature.inputs
    }

    pub fn outputs(&self) -> &[OutputSpec] {
        &self.signature.outputs
    }

    /// The steps, in the order in which they run.
    pub fn steps(&self) -> impl Iterator<Item = StepInfo> + '_ {
        self.steps.iter().map(|s| StepInfo {
            label: s.label.clone(),
            op: s.op.clone(),
            by: s.by.clone(),
            target: s.target.clone(),
        })
    }

    /// Checks inputs without running anything.
    pub fn check(&self, inputs: &[Option<View<'_>>]) -> Result<(), InputError> {
        self.signature.bind(inputs).map(drop)
    }

    /// Runs the program on inputs in the order of [`Program::inputs`].
    pub fn run(&self, inputs: &[Option<View<'_>>]) -> Result<Vec<Datum>, RunError> {
        self.run_observed(inputs, &mut [], None)
    }

    /// Runs the program on data.
    pub fn run_data(&self, inputs: &[Datum]) -> Result<Vec<Datum>, RunError> {
        let aligned: Vec<Datum> = inputs.iter().map(align_datum).collect();
        let views: SmallVec<[_; 8]> = aligned.iter().map(|d| Some(View::of(d))).collect();
        self.run(&views)
    }

    /// Runs the program, with some outputs written where the caller wants them, and tells `observer` of each
    /// step. An output that has a buffer comes back as an empty tensor of rank 1 unless it did not fit in there.
    pub fn run_observed(
        &self,
        inputs: &[Option<View<'_>>],
        buffers: &mut [Option<OutputBuffer<'_>>],
        observer: Option<&dyn Observer>,
    ) -> Result<Vec<Datum>, RunError> {
        let ctx = Ctx { exec: Exec { pool: &self.pool, isa: self.isa }, observer };
        let mut made = SmallVec::new();
        self.run_nested(&ctx, inputs, buffers, &mut made)?;
        let data = made.into_iter().map(|made| match made {
            Made::Datum(datum) => *datum,
            Made::Buffer { dtype, dims, buffer } => {
                Datum::Tensor(buffer.into_tensor(dtype, &dims).expect("sized for its tensor"))
            }
            Made::InPlace { .. } => Datum::Tensor(Tensor::from_vec::<f32>(&[0], Vec::new()).expect("empty")),
        });
        Ok(data.collect())
    }

    /// Runs the program as part of another one.
    pub(crate) fn run_nested(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        buffers: &mut [Option<OutputBuffer<'_>>],
        made: &mut SmallVec<[Made; 4]>,
    ) -> Result<(), RunError> {
        let binding = self.signature.bind(inputs)?;
        let frame = self.frames.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut frame = frame.unwrap_or_else(|| Box::new(self.new_frame()));
        if frame.plan.steps.is_empty() || frame.plan.binding != binding {
            frame.adopt(self.plan(binding), &self.devices).map_err(RunError::Memory)?;
        }
        // A frame whose run failed is dropped: what it holds is anyone's guess.
        execute::execute(self, ctx, &mut frame, inputs, buffers, made)?;
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
        Ok(())
    }

    fn new_frame(&self) -> Frame {
        let dtypes = self.values.iter().map(|value| value.dtype.unwrap_or(DType::F32)).collect();
        Frame::new(dtypes, self.storages.len(), together::most(&self.steps))
    }

    /// The memory plan for a binding, remembered.
    fn plan(&self, binding: Binding) -> Arc<MemoryPlan> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = plans.iter().position(|p| p.binding == binding) {
            let plan = plans.remove(at);
            plans.push(plan.clone());
            return plan;
        }
        let plan = Arc::new(self.make_plan(binding));
        if plans.len() == KEPT_PLANS {
            plans.remove(0);
        }
        plans.push(plan.clone());
        plan
    }

    fn make_plan(&self, binding: Binding) -> MemoryPlan {
        let shape = |v: &ValueInfo| self.signature.evaluate_shape(v.shape.as_ref()?, &binding);
        let dims: Vec<Option<StaticDims>> = self.values.iter().map(shape).collect();
        let size = |storage: &Storage| match storage {
            Storage::Made { value, .. } => bytes_of(self.values[*value].dtype?, dims[*value].as_ref()?),
            _ => None,
        };
        let sizes: Vec<Option<usize>> = self.storages.iter().map(size).collect();
        let storage = |v: &Option<ValueIndex>| v.and_then(|v| self.values[v].storage);
        let touched = |step: &Step| {
            let outputs = match step.action {
                Action::Alias(_) => &[],
                _ => &step.outputs[..],
            };
            Operands {
                queue: step.queue,
                inputs: step.inputs.iter().map(storage).collect(),
                outputs: outputs.iter().map(storage).collect(),
                joins: self.joins(step, &dims).unwrap_or(false),
                starts: self.starts(step, &dims),
            }
        };
        let operands: Vec<Operands> = self.steps.iter().map(touched).collect();
        MemoryPlan::new(binding, dims, &self.storages, &sizes, &self.devices, &operands)
    }

    /// Whether the bytes of a step's output are those of its inputs, one behind the other.
    fn joins(&self, step: &Step, dims: &[Option<StaticDims>]) -> Option<bool> {
        let Action::Kernel(kernel) = &step.action else { return None };
        let axis = kernel.joins()?;
        let whole = dims[step.outputs.first().copied().flatten()?].as_ref()?;
        let axis = usize::try_from(if axis < 0 { axis + whole.len() as i64 } else { axis }).ok()?;
        let fits = |part: &StaticDims| {
            part.len() == whole.len() && (0..whole.len()).all(|d| d == axis || part[d] == whole[d])
        };
        let part = |input: &Option<ValueIndex>| input.and_then(|v| dims[v].as_ref()).is_some_and(fits);
        Some(axis < whole.len() && whole[..axis].iter().all(|&d| d == 1) && step.inputs.iter().all(part))
    }

    /// The bytes of input 0 before each output of a step, if each is a stretch of it.
    fn starts(&self, step: &Step, dims: &[Option<StaticDims>]) -> Option<Starts> {
        let (Action::Kernel(kernel), Some(Some(source))) = (&step.action, step.inputs.first()) else {
            return None;
        };
        let of = (self.values[*source].dtype?, &**dims[*source].as_ref()?);
        let outputs = step.outputs.iter();
        memory::starts(kernel.as_ref(), of, outputs.map(|output| output.map(|output| dims[output].as_ref())))
    }

    /// Bytes of constants that the program itself keeps (weights that kernels have packed are not among them).
    pub fn constant_bytes(&self) -> usize {
        self.constants.iter().map(|t| t.bytes().len()).sum()
    }

    /// Bytes of the arena for the given inputs.
    pub fn arena_bytes(&self, inputs: &[Option<View<'_>>]) -> Result<usize, InputError> {
        Ok(self.plan(self.signature.bind(inputs)?).size)
    }
}

/// The same value with its elements where such elements may lie; copied only where they do not.
pub fn align_datum(datum: &Datum) -> Datum {
    match datum {
        Datum::Tensor(tensor) => Datum::Tensor(align(tensor)),
        other => other.clone(),
    }
}

pub(crate) fn align(tensor: &Tensor) -> Tensor {
    if TensorView::of(tensor).is_aligned() {
        return tensor.clone();
    }
    let copy = byoc_cpu::Buffer::new(tensor.bytes().len()).ok().and_then(|mut buffer| {
        buffer.bytes_mut().copy_from_slice(tensor.bytes());
        buffer.into_tensor(tensor.dtype(), tensor.dims()).ok()
    });
    copy.unwrap_or_else(|| tensor.clone())
}
