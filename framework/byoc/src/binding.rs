//! Inputs and outputs that stay where they are from run to run: nothing is allocated or copied in between.

use byoc_cpu::{Buffer, TensorView, View};
use byoc_graph::{DType, StaticDims, TensorType, Type, element_count};
use byoc_runtime::OutputBuffer;

use crate::{Error, Session};

/// Memory for the inputs and outputs of a session. Belongs to one thread at a time; a session may have many.
pub struct Binding<'s> {
    session: &'s Session,
    inputs: Vec<Option<Bound>>,
    outputs: Vec<Option<Bound>>,
}

/// A tensor in memory of its own.
struct Bound {
    dtype: DType,
    dims: StaticDims,
    memory: Buffer,
}

impl Bound {
    fn new(dtype: DType, dims: &[usize]) -> Result<Bound, Error> {
        let len = element_count(dims).and_then(|n| dtype.byte_len(n));
        let memory = len.and_then(|len| Buffer::new(len).ok());
        let memory =
            memory.ok_or_else(|| Error::Other(format!("no memory for a tensor of {dtype}{dims:?}")))?;
        Ok(Bound { dtype, dims: dims.into(), memory })
    }
}

impl Session {
    /// Memory for inputs and outputs. Those whose shapes are static are there at once; the others are bound
    /// by [`Binding::bind_input`] and [`Binding::bind_output`].
    pub fn bind(&self) -> Result<Binding<'_>, Error> {
        let bound = |ty: &Option<Type>| match ty.as_ref().and_then(Type::as_tensor) {
            Some(TensorType { dtype: Some(dtype), .. }) if *dtype == DType::Str => Ok(None),
            Some(ty) => match (ty.dtype, ty.static_dims()) {
                (Some(dtype), Some(dims)) => Bound::new(dtype, &dims).map(Some),
                _ => Ok(None),
            },
            None => Ok(None),
        };
        let inputs = self.inputs();
        Ok(Binding {
            session: self,
            inputs: inputs
                .iter()
                .map(|i| if i.default.is_some() { Ok(None) } else { bound(&i.ty) })
                .collect::<Result<_, _>>()?,
            outputs: self.outputs().iter().map(|o| bound(&o.ty)).collect::<Result<_, _>>()?,
        })
    }
}

impl Binding<'_> {
    fn input_index(&self, name: &str) -> Result<usize, Error> {
        let at = self.session.inputs().iter().position(|i| *i.name == *name);
        at.ok_or_else(|| Error::input(name, "is not one of the model's"))
    }

    fn output_index(&self, name: &str) -> Result<usize, Error> {
        let at = self.session.outputs().iter().position(|o| *o.name == *name);
        at.ok_or_else(|| Error::Other(format!("the model has no output `{name}`")))
    }

    /// Gives an input memory of its own for these dimensions.
    pub fn bind_input(&mut self, name: &str, dims: &[usize]) -> Result<(), Error> {
        let at = self.input_index(name)?;
        let ty = self.session.inputs()[at].ty.clone();
        let dtype = ty.and_then(|t| t.dtype()).ok_or_else(|| Error::input(name, "has no element type"))?;
        self.inputs[at] = Some(Bound::new(dtype, dims)?);
        Ok(())
    }

    /// Gives an output memory of its own for these dimensions, which have to be the ones it will have.
    pub fn bind_output(&mut self, name: &str, dims: &[usize]) -> Result<(), Error> {
        let at = self.output_index(name)?;
        let ty = self.session.outputs()[at].ty.clone();
        let dtype = ty.and_then(|t| t.dtype());
        let dtype =
            dtype.ok_or_else(|| Error::Other(format!("output `{name}` has no known element type")))?;
        self.outputs[at] = Some(Bound::new(dtype, dims)?);
        Ok(())
    }

    /// The bytes of an input, to be written before a run.
    pub fn input_mut(&mut self, name: &str) -> Result<&mut [u8], Error> {
        let at = self.input_index(name)?;
        match &mut self.inputs[at] {
            Some(bound) => Ok(bound.memory.bytes_mut()),
            None => Err(Error::input(name, "is not bound: its shape is not static")),
        }
    }

    /// An output as the last run left it.
    pub fn output(&self, name: &str) -> Result<TensorView<'_>, Error> {
        match &self.outputs[self.output_index(name)?] {
            Some(bound) => Ok(TensorView::new(bound.dtype, &bound.dims, bound.memory.bytes())),
            None => Err(Error::Other(format!("output `{name}` is not bound: its shape is not static"))),
        }
    }

    /// Runs the session from the inputs into the outputs. An output that is not bound is dropped.
    pub fn run(&mut self) -> Result<(), Error> {
        let inputs: Vec<Option<View<'_>>> = self
            .inputs
            .iter()
            .map(|bound| {
                let bound = bound.as_ref()?;
                Some(View::Tensor(TensorView::new(bound.dtype, &bound.dims, bound.memory.bytes())))
            })
            .collect();
        let mut outputs: Vec<Option<OutputBuffer<'_>>> = self
            .outputs
            .iter_mut()
            .map(|bound| {
                let Bound { dtype, dims, memory } = bound.as_mut()?;
                Some(OutputBuffer { dtype: *dtype, dims, bytes: memory.bytes_mut() })
            })
            .collect();
        let left = self.session.run_contained(&inputs, &mut outputs, None)?;
        // What did not fit where it was to go came back as a value.
        let misfit = left.iter().zip(&outputs).position(|(datum, buffer)| {
            buffer.is_some() && datum.as_tensor().is_none_or(|t| t.dims() != [0])
        });
        match misfit {
            None => Ok(()),
            Some(at) => {
                let name = &self.session.outputs()[at].name;
                let got = left[at].as_tensor().map_or("no tensor".to_owned(), |t| t.ty().to_string());
                Err(Error::Other(format!("output `{name}` is {got}, other than it was bound for")))
            }
        }
    }
}
