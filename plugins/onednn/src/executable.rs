//! What was compiled: layers, and a network of primitives for every set of input shapes that has been seen.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use byoc_plugin::{Artefact, Error, Executable, ExecuteContext, Region, Result, TensorView, TensorViewMut};
use cxx::{SharedPtr, UniquePtr};
use serde::{Deserialize, Serialize};

use crate::bridge::ffi;
use crate::layer::{Layer, Type};
use crate::lower::type_of;
use crate::quantised::Made;
use crate::shape::{resolve, work};

// SAFETY: `Weights` locks itself.
unsafe impl Send for ffi::Weights {}
// SAFETY: as above.
unsafe impl Sync for ffi::Weights {}
// SAFETY: a network belongs to no thread, and is used by one at a time.
unsafe impl Send for ffi::Network {}

/// Networks that a context keeps, for as many sets of shapes.
const KEPT: usize = 8;

/// A network of fewer multiplications is done before a second thread is awake.
const SMALL: i64 = 2_000_000;

type Shapes = Vec<Vec<i64>>;

/// All that a region's primitives are made from, but for its constants. As bytes, the artefact.
#[derive(Serialize, Deserialize)]
pub struct Recipe {
    layers: Vec<Layer>,
    /// How many values there are.
    values: usize,
    /// Value and type of each input.
    inputs: Vec<(usize, Type)>,
    outputs: Vec<usize>,
    /// How many constants the region has.
    given: usize,
    constants: Vec<Constant>,
}

#[derive(Serialize, Deserialize)]
struct Constant {
    value: usize,
    dims: Vec<i64>,
    dtype: Type,
    content: Content,
}

#[derive(Serialize, Deserialize)]
enum Content {
    /// The region's constant of this index.
    Region(usize),
    Made(Vec<f32>),
}

impl Recipe {
    /// `None` where an input's element type is not known, or not one of oneDNN's.
    pub fn new(region: &Region<'_>, layers: Vec<Layer>, made: Made) -> Option<Recipe> {
        let values = region.values.len() + made.all.len();
        let input = |&value: &usize| Some((value, type_of(region.value(value))?));
        // Whole numbers are part of the layers.
        let given = region.constants.iter().enumerate().filter_map(|(index, &value)| {
            let dims = region.value(value).shape()?.into_iter().map(|dim| dim as i64).collect();
            let dtype = type_of(region.value(value))?;
            Some(Constant { value, dims, dtype, content: Content::Region(index) })
        });
        let made = made.all.into_iter().enumerate().map(|(i, (dims, content))| {
            let value = made.first + i;
            Constant { value, dims, dtype: Type::F32, content: Content::Made(content) }
        });
        Some(Recipe {
            layers,
            values,
            inputs: region.inputs.iter().map(input).collect::<Option<_>>()?,
            outputs: region.outputs.clone(),
            given: region.constants.len(),
            constants: given.chain(made).collect(),
        })
    }

    pub fn read(bytes: &[u8]) -> Result<Recipe> {
        postcard::from_bytes(bytes)
            .map_err(|error| Error::invalid(format!("no artefact of oneDNN's: {error}")))
    }
}

/// Of artefacts: this plugin, its version, and what oneDNN is here.
pub fn compatibility() -> String {
    format!("onednn {} {}", env!("CARGO_PKG_VERSION"), ffi::identity())
}

pub struct Compiled {
    recipe: Recipe,
    weights: SharedPtr<ffi::Weights>,
    threads: usize,
    /// The last shapes that were asked for, with those of the outputs.
    sizes: Mutex<Option<(Shapes, Vec<Vec<usize>>)>>,
    /// A context that was made while compiling.
    pub first: Mutex<Option<Networks>>,
}

/// State of one execution after the other.
#[derive(Default)]
pub struct Networks(pub HashMap<Shapes, UniquePtr<ffi::Network>>);

impl Compiled {
    pub fn new(recipe: Recipe, threads: usize) -> Result<Compiled> {
        let weights = ffi::new_weights().map_err(|error| Error::internal(error.what()))?;
        Ok(Compiled { recipe, weights, threads, sizes: Mutex::default(), first: Mutex::default() })
    }

    /// The primitives for inputs of these shapes. An error names the node at fault.
    pub fn build<'c>(
        &self,
        shapes: &Shapes,
        constant: impl Fn(usize) -> Option<&'c [u8]>,
    ) -> Result<UniquePtr<ffi::Network>> {
        let failed = |error: cxx::Exception| Error::unsupported(format!("oneDNN: {}", error.what()));
        let (ops, sizes) = self.resolved(shapes)?;
        let work = ops.iter().fold(0, |sum: i64, op| sum.saturating_add(work(op, &sizes)));
        let threads = if work < SMALL { 1 } else { i32::try_from(self.threads).unwrap_or(1) };
        let mut network = ffi::new_network(self.weights.clone(), threads).map_err(failed)?;
        for (&(value, dtype), dims) in self.recipe.inputs.iter().zip(shapes) {
            network.pin_mut().input(value, dims, dtype).map_err(failed)?;
        }
        for Constant { value, dims, dtype, content } in &self.recipe.constants {
            let bytes = match content {
                Content::Region(index) => constant(*index).unwrap_or_default(),
                Content::Made(floats) => bytemuck::cast_slice(floats),
            };
            network.pin_mut().constant(*value, dims, *dtype, bytes).map_err(failed)?;
        }
        for (op, layer) in ops.iter().zip(&self.recipe.layers) {
            network.pin_mut().op(op).map_err(|error| failed(error).at_node(layer.node))?;
        }
        network.pin_mut().finish(&self.recipe.outputs).map_err(failed)?;
        Ok(network)
    }

    /// Every layer for inputs of these shapes, and the sizes of all values.
    fn resolved(&self, shapes: &Shapes) -> Result<(Vec<ffi::Op>, Vec<Vec<i64>>)> {
        let mut sizes = vec![Vec::new(); self.recipe.values];
        let constants = self.recipe.constants.iter().map(|constant| (&constant.value, &constant.dims));
        let inputs = self.recipe.inputs.iter().map(|(value, _)| value).zip(shapes);
        inputs.chain(constants).for_each(|(&value, dims)| sizes[value].clone_from(dims));
        let mut ops = Vec::new();
        for layer in &self.recipe.layers {
            let op = resolve(layer, &sizes)?;
            sizes[layer.output].clone_from(&op.dims);
            ops.push(op);
        }
        Ok((ops, sizes))
    }

    fn sizes_of_outputs(&self, shapes: &Shapes) -> Result<Vec<Vec<usize>>> {
        let mut known = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, sizes)) = known.as_ref().filter(|(of, _)| of == shapes) {
            return Ok(sizes.clone());
        }
        let (_, sizes) = self.resolved(shapes)?;
        let of = |&value: &usize| sizes[value].iter().map(|&dim| dim as usize).collect();
        let outputs: Vec<Vec<usize>> = self.recipe.outputs.iter().map(of).collect();
        *known = Some((shapes.clone(), outputs.clone()));
        Ok(outputs)
    }

    fn run(
        &self,
        networks: &mut Networks,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        context: &[Option<&[u8]>],
    ) -> Result<()> {
        let shapes = shapes_of(inputs);
        let sizes = self.sizes_of_outputs(&shapes)?;
        let mut addresses = (Vec::new(), Vec::new());
        for input in inputs {
            addresses.0.push(input.bytes()?.as_ptr() as usize);
        }
        for (output, size) in outputs.iter_mut().zip(&sizes) {
            if output.is_pending() {
                output.allocate(size)?;
            }
            let wanted = output.info.dtype.and_then(|dtype| dtype.byte_len(size.iter().product()));
            let bytes = output.bytes_mut()?;
            if wanted != Some(bytes.len()) {
                return Err(Error::invalid(format!("an output of {} bytes for {size:?}", bytes.len())));
            }
            addresses.1.push(bytes.as_mut_ptr() as usize);
        }
        if !networks.0.contains_key(&shapes) {
            if networks.0.len() >= KEPT {
                networks.0.clear();
            }
            let network = self.build(&shapes, |index| context.get(index).copied().flatten())?;
            networks.0.insert(shapes.clone(), network);
        }
        let network = networks.0.get_mut(&shapes).ok_or_else(|| Error::internal("no network"))?;
        // SAFETY: the host lends all of them for the call; sizes are those that the network was built for.
        unsafe { network.pin_mut().run(&addresses.0, &addresses.1) }
            .map_err(|error| Error::internal(format!("oneDNN: {}", error.what())))
    }
}

fn shapes_of(inputs: &[TensorView<'_>]) -> Shapes {
    inputs.iter().map(|input| input.info.shape.to_vec()).collect()
}

impl Executable for Compiled {
    fn execute(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        context: &mut ExecuteContext<'_>,
    ) -> Result<()> {
        let constants: Vec<_> = (0..self.recipe.given).map(|index| context.constant(index)).collect();
        match context.state::<Networks>() {
            Some(networks) => self.run(networks, inputs, outputs, &constants),
            None => self.run(&mut Networks::default(), inputs, outputs, &constants),
        }
    }

    fn output_shapes(&self, inputs: &[TensorView<'_>]) -> Result<Option<Vec<Vec<usize>>>> {
        Ok(Some(self.sizes_of_outputs(&shapes_of(inputs))?))
    }

    fn serialise(&self) -> Result<Artefact> {
        let bytes = postcard::to_stdvec(&self.recipe).map_err(|error| Error::internal(error.to_string()))?;
        Ok(Artefact { bytes, compatibility: compatibility() })
    }

    fn new_context(&self) -> Result<Box<dyn Any + Send>> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(Box::new(first.unwrap_or_default()))
    }
}
