//! What was compiled: layers, and a network of primitives for every set of input shapes that has been seen.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use byoc_plugin::{Error, Executable, ExecuteContext, Result, TensorView, TensorViewMut};
use cxx::{SharedPtr, UniquePtr};

use crate::bridge::ffi;
use crate::layer::Layer;
use crate::shape::resolve;

// SAFETY: `Weights` locks itself.
unsafe impl Send for ffi::Weights {}
// SAFETY: as above.
unsafe impl Sync for ffi::Weights {}
// SAFETY: a network belongs to no thread, and is used by one at a time.
unsafe impl Send for ffi::Network {}

/// Networks that a context keeps, for as many sets of shapes.
const KEPT: usize = 8;

type Shapes = Vec<Vec<i64>>;

pub struct Compiled {
    pub layers: Vec<Layer>,
    /// How many values the region has.
    pub values: usize,
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    /// Value and shape, by the constant's index.
    pub constants: Vec<(usize, Vec<i64>)>,
    pub weights: SharedPtr<ffi::Weights>,
    pub threads: usize,
    /// The last shapes that were asked for, with those of the outputs.
    pub sizes: Mutex<Option<(Shapes, Vec<Vec<usize>>)>>,
    /// A context that was made while compiling.
    pub first: Mutex<Option<Networks>>,
}

/// State of one execution after the other.
#[derive(Default)]
pub struct Networks(pub HashMap<Shapes, UniquePtr<ffi::Network>>);

impl Compiled {
    /// The primitives for inputs of these shapes. An error names the node at fault.
    pub fn build<'c>(
        &self,
        shapes: &Shapes,
        constant: impl Fn(usize) -> Option<&'c [u8]>,
    ) -> Result<UniquePtr<ffi::Network>> {
        let failed = |error: cxx::Exception| Error::unsupported(format!("oneDNN: {}", error.what()));
        let threads = i32::try_from(self.threads).unwrap_or(1);
        let mut network = ffi::new_network(self.weights.clone(), threads).map_err(failed)?;
        for (&value, dims) in self.inputs.iter().zip(shapes) {
            network.pin_mut().input(value, dims).map_err(failed)?;
        }
        for (index, (value, dims)) in self.constants.iter().enumerate() {
            network.pin_mut().constant(*value, dims, constant(index).unwrap_or_default()).map_err(failed)?;
        }
        for (op, layer) in self.resolved(shapes)?.0.iter().zip(&self.layers) {
            network.pin_mut().op(op).map_err(|error| failed(error).at_node(layer.node))?;
        }
        network.pin_mut().finish(&self.outputs).map_err(failed)?;
        Ok(network)
    }

    /// Every layer for inputs of these shapes, and the sizes of all values.
    fn resolved(&self, shapes: &Shapes) -> Result<(Vec<ffi::Op>, Vec<Vec<i64>>)> {
        let mut sizes = vec![Vec::new(); self.values];
        let constants = self.constants.iter().map(|(value, dims)| (value, dims));
        self.inputs
            .iter()
            .zip(shapes)
            .chain(constants)
            .for_each(|(&value, dims)| sizes[value].clone_from(dims));
        let mut ops = Vec::new();
        for layer in &self.layers {
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
        let outputs: Vec<Vec<usize>> = self.outputs.iter().map(of).collect();
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
            addresses.0.push(input.as_slice::<f32>()?.as_ptr() as usize);
        }
        for (output, size) in outputs.iter_mut().zip(&sizes) {
            if output.is_pending() {
                output.allocate(size)?;
            }
            let elements = output.as_mut_slice::<f32>()?;
            if elements.len() != size.iter().product::<usize>() {
                return Err(Error::invalid(format!("an output of {} elements for {size:?}", elements.len())));
            }
            addresses.1.push(elements.as_mut_ptr() as usize);
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
        let constants: Vec<_> = (0..self.constants.len()).map(|index| context.constant(index)).collect();
        match context.state::<Networks>() {
            Some(networks) => self.run(networks, inputs, outputs, &constants),
            None => self.run(&mut Networks::default(), inputs, outputs, &constants),
        }
    }

    fn output_shapes(&self, inputs: &[TensorView<'_>]) -> Result<Option<Vec<Vec<usize>>>> {
        Ok(Some(self.sizes_of_outputs(&shapes_of(inputs))?))
    }

    fn new_context(&self) -> Result<Box<dyn Any + Send>> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(Box::new(first.unwrap_or_default()))
    }
}
