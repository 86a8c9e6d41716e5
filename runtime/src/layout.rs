//! Which storage each value of a program lies in, and how long each is needed.

use byoc_graph::{Graph, Origin, StaticDims, Tensor, Type, ValueId};

use crate::build::BuildError;
use crate::device::Space;
use crate::memory::{Storage, StorageIndex, ValueIndex, starts};
use crate::program::{Action, Step, ValueInfo, align};

/// Where every value lies.
pub(crate) struct Layout {
    /// By index; copies have none.
    ids: Vec<Option<ValueId>>,
    /// By value: the memory that it lies in.
    spaces: Vec<Space>,
    pub values: Vec<ValueInfo>,
    pub storages: Vec<Storage>,
    pub constants: Vec<Tensor>,
    /// By value: the last step that uses it. One more than the last step for outputs.
    last_use: Vec<usize>,
    /// By storage: the last use of any value in it.
    last: Vec<usize>,
    /// By storage: the one that it may be a view of, and the last use of what may be views of it.
    source: Vec<Option<StorageIndex>>,
    viewed: Vec<usize>,
    /// By value: it, or what may be computed in its memory, is handed out as an output.
    handed: Vec<bool>,
}

impl Layout {
    pub fn new(
        graph: &Graph,
        inputs: &[ValueId],
        outputs: &[ValueIndex],
        (spaces, copies): (Vec<Space>, Vec<ValueIndex>),
        steps: &mut [Step],
    ) -> Result<Layout, BuildError> {
        let count = spaces.len();
        let mut layout = Layout {
            ids: vec![None; count],
            spaces,
            values: (0..count).map(|_| ValueInfo::default()).collect(),
            storages: Vec::new(),
            constants: Vec::new(),
            last_use: vec![0; count],
            last: Vec::new(),
            source: Vec::new(),
            viewed: Vec::new(),
            handed: handed_out(count, outputs, steps),
        };
        for (id, value) in graph.values() {
            layout.ids[id.index()] = Some(id);
            if let Some(Type::Tensor(ty)) = &value.ty {
                layout.values[id.index()].dtype = ty.dtype;
                layout.values[id.index()].shape = ty.shape.clone();
            }
        }
        for (k, &source) in copies.iter().enumerate() {
            let copy = count - copies.len() + k;
            let ValueInfo { dtype, shape, .. } = &layout.values[source];
            layout.values[copy] = ValueInfo { dtype: *dtype, shape: shape.clone(), ..ValueInfo::default() };
        }
        for (i, step) in steps.iter().enumerate() {
            step.inputs.iter().flatten().for_each(|&v| layout.last_use[v] = i);
        }
        outputs.iter().for_each(|&v| layout.last_use[v] = steps.len());
        for (i, id) in inputs.iter().enumerate() {
            layout.add(id.index(), Storage::Input(i));
        }
        for (i, step) in steps.iter_mut().enumerate() {
            layout.constants_of(graph, step)?;
            layout.place_outputs(i, step);
        }
        for (o, (&value, id)) in outputs.iter().zip(graph.outputs()).enumerate() {
            layout.place_graph_output(graph, o, value, *id)?;
        }
        layout.note_lives(steps);
        Ok(layout)
    }

    fn add(&mut self, value: ValueIndex, storage: Storage) {
        self.values[value].storage = Some(self.storages.len());
        self.storages.push(storage);
        self.last.push(self.last_use[value]);
        self.source.push(None);
        self.viewed.push(0);
    }

    fn add_constant(&mut self, value: ValueIndex, tensor: &Tensor) {
        let info = &mut self.values[value];
        info.dtype = Some(tensor.dtype());
        info.shape = tensor.ty().shape;
        self.add(value, Storage::Constant(self.constants.len()));
        self.constants.push(align(tensor));
    }

    fn constants_of(&mut self, graph: &Graph, step: &Step) -> Result<(), BuildError> {
        for &value in step.inputs.iter().flatten() {
            if self.values[value].storage.is_some() {
                continue;
            }
            let id = self.ids[value].expect("steps use values of their graph");
            let Some(tensor) = graph.constant(id) else {
                let value = graph.value(id).name.clone();
                return Err(BuildError::Undefined { node: step.label.clone(), value });
            };
            self.add_constant(value, tensor);
        }
        Ok(())
    }

    fn place_outputs(&mut self, i: usize, step: &mut Step) {
        let shared = match step.action {
            Action::Alias(_) => step.inputs[0],
            _ => {
                step.in_place = step.in_place.filter(|&input| self.may_overwrite(i, step, input));
                step.in_place.and_then(|input| step.inputs[input])
            }
        };
        for (j, value) in step.outputs.iter().enumerate() {
            let Some(value) = *value else { continue };
            match shared.filter(|_| j == 0).and_then(|input| self.values[input].storage) {
                Some(storage) => {
                    self.values[value].storage = Some(storage);
                    self.extend(storage, self.last_use[value]);
                }
                None => {
                    let space = self.spaces[value];
                    self.add(value, Storage::Made { value, life: i..=i, output: None, space });
                }
            }
        }
        self.note_views(step);
    }

    /// Lets a storage, and all that it may be a view of, be there until that step.
    fn extend(&mut self, storage: StorageIndex, last: usize) {
        self.last[storage] = self.last[storage].max(last);
        let mut at = storage;
        while let Some(source) = self.source[at] {
            self.viewed[source] = self.viewed[source].max(last);
            at = source;
        }
    }

    /// Notes which outputs of a step are likely to be views: then what they are of is not overwritten while they live,
    /// nor they while it does. Whether they are is settled by the memory plan.
    fn note_views(&mut self, step: &Step) {
        let (Action::Kernel(kernel), Some(Some(input))) = (&step.action, step.inputs.first()) else { return };
        let ValueInfo { dtype: Some(dtype), shape: Some(shape), .. } = &self.values[*input] else { return };
        let outputs = step.outputs.iter().map(|output| output.map(|_| None));
        // Sizes that are known only in a run, batches above all, are mostly one where views matter.
        let dims: StaticDims =
            shape.iter().map(|dim| dim.value().and_then(|n| usize::try_from(n).ok()).unwrap_or(1)).collect();
        let source = self.values[*input].storage;
        let source = source.filter(|_| starts(kernel.as_ref(), (*dtype, &dims), outputs).is_some());
        for output in step.outputs.iter().flatten() {
            if let (Some(source), Some(view)) = (source, self.values[*output].storage) {
                self.source[view] = Some(source);
                self.extend(view, self.last[view]);
            }
        }
    }

    /// Whether nobody but this one input of the step needs the memory of that input any more.
    fn may_overwrite(&self, i: usize, step: &Step, input: usize) -> bool {
        let Some(Some(storage)) = step.inputs.get(input).copied().flatten().map(|v| self.values[v].storage)
        else {
            return false;
        };
        let same = |v: &&ValueIndex| self.values[**v].storage == Some(storage);
        step.outputs.first().is_some_and(Option::is_some)
            && matches!(self.storages[storage], Storage::Made { .. })
            && self.last[storage] == i
            && self.viewed[storage] <= i
            && !(self.may_share(storage) && step.outputs[0].is_some_and(|output| self.handed[output]))
            && self.sources(storage).all(|source| self.is_over(source, i))
            && step.inputs.iter().flatten().filter(same).count() == 1
    }

    /// Whether a storage may be a view, or others of it; an output that was handed out would be neither.
    fn may_share(&self, storage: StorageIndex) -> bool {
        self.viewed[storage] > 0 || self.source[storage].is_some()
    }

    /// What a storage may be a view of.
    fn sources(&self, storage: StorageIndex) -> impl Iterator<Item = StorageIndex> {
        std::iter::successors(self.source[storage], |&source| self.source[source])
    }

    /// Whether nobody needs a storage at a step or behind it.
    fn is_over(&self, storage: StorageIndex, step: usize) -> bool {
        matches!(self.storages[storage], Storage::Made { .. }) && self.last[storage] < step
    }

    fn place_graph_output(
        &mut self,
        graph: &Graph,
        o: usize,
        value: ValueIndex,
        id: ValueId,
    ) -> Result<(), BuildError> {
        if self.values[value].storage.is_none() {
            match (graph.constant(id), graph.value(id).origin()) {
                (Some(tensor), _) => self.add_constant(value, tensor),
                (None, Origin::Node(..)) => unreachable!("nodes of outputs are live"),
                (None, _) => return Err(BuildError::NoOutput(graph.value(id).name.clone())),
            }
        }
        let storage = self.values[value].storage.expect("placed above");
        if let Storage::Made { output: output @ None, .. } = &mut self.storages[storage] {
            *output = Some(o);
        }
        Ok(())
    }

    /// Ends every storage's life at its last use, and tells that step to release it.
    fn note_lives(&mut self, steps: &mut [Step]) {
        for (storage, info) in self.storages.iter_mut().enumerate() {
            let Storage::Made { life, output, .. } = info else { continue };
            let last: StorageIndex = self.last[storage].max(*life.start());
            *life = *life.start()..=last;
            if output.is_none() {
                steps[last].release.push(storage);
            }
        }
    }
}

/// By value: it, or what may be computed in its memory, is an output.
fn handed_out(values: usize, outputs: &[ValueIndex], steps: &[Step]) -> Vec<bool> {
    let mut handed = vec![false; values];
    outputs.iter().for_each(|&output| handed[output] = true);
    for step in steps.iter().rev() {
        let over = if matches!(step.action, Action::Alias(_)) { Some(0) } else { step.in_place };
        let over = over.and_then(|input| *step.inputs.get(input)?);
        if let (Some(input), Some(Some(output))) = (over, step.outputs.first()) {
            handed[input] |= handed[*output];
        }
    }
    handed
}
