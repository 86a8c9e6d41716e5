//! One call of an operator, as its inference rule sees it: what is known of inputs, attributes with
//! their defaults, and where to put what is found out about the outputs.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use super::content::{Content, Scalar};
use super::solve::{Frame, Solved, Solver};
use crate::schema::{AttrDefault, OpSchema};
use crate::{Attr, DType, Dim, Dims, Graph, Node, Tensor, TensorType, Type};

/// What is known of a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fact {
    pub ty: Option<Type>,
    pub content: Option<Content>,
}

/// Why a rule stops before its end.
#[derive(Debug, PartialEq)]
pub enum Stop {
    /// Not enough is known; what was found out so far holds.
    Unknown,
    /// The call contradicts the operator's definition.
    Invalid(String),
}

pub type Outcome = Result<(), Stop>;
pub type Rule = fn(&mut Call<'_, '_>) -> Outcome;

pub fn invalid<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Invalid(why.into()))
}

pub struct Call<'c, 'm> {
    pub node: &'c Node,
    pub schema: Option<&'static OpSchema>,
    pub inputs: SmallVec<[Option<Fact>; 4]>,
    pub outputs: SmallVec<[Fact; 2]>,
    pub bodies: Vec<(Arc<str>, usize, Solved)>,
    pub(super) frame: &'c Frame<'c>,
    pub(super) solver: &'c mut Solver<'m>,
}

impl<'c> Call<'c, '_> {
    // ---- inputs

    pub fn has(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(Option::is_some)
    }

    pub fn fact(&self, i: usize) -> Option<&Fact> {
        self.inputs.get(i)?.as_ref()
    }

    pub fn ty(&self, i: usize) -> Option<&Type> {
        self.fact(i)?.ty.as_ref()
    }

    pub fn dtype(&self, i: usize) -> Option<DType> {
        self.ty(i)?.dtype()
    }

    pub fn shape_of(&self, i: usize) -> Option<&Dims> {
        self.ty(i)?.shape()
    }

    /// The shape, or stop.
    pub fn shape(&self, i: usize) -> Result<Dims, Stop> {
        self.shape_of(i).cloned().ok_or(Stop::Unknown)
    }

    pub fn rank(&self, i: usize) -> Result<usize, Stop> {
        self.shape_of(i).map(|dims| dims.len()).ok_or(Stop::Unknown)
    }

    /// The shape, which has to have this rank.
    pub fn shape_of_rank(&self, i: usize, rank: usize) -> Result<Dims, Stop> {
        let shape = self.shape(i)?;
        if shape.len() != rank {
            return invalid(format!("input {i} has rank {}, where {rank} is needed", shape.len()));
        }
        Ok(shape)
    }

    pub fn content(&self, i: usize) -> Option<&Content> {
        self.fact(i)?.content.as_ref()
    }

    /// The elements of a vector (or scalar) of whole numbers; some may be unknown.
    pub fn dims_in(&self, i: usize) -> Result<Dims, Stop> {
        let content = self.content(i).ok_or(Stop::Unknown)?;
        Ok(content.elements().iter().map(Scalar::dim).collect())
    }

    /// The elements, where all are plain numbers.
    pub fn ints_in(&self, i: usize) -> Result<Vec<i64>, Stop> {
        self.dims_in(i)?.iter().map(Dim::value).collect::<Option<_>>().ok_or(Stop::Unknown)
    }

    pub fn floats_in(&self, i: usize) -> Result<Vec<f64>, Stop> {
        let content = self.content(i).ok_or(Stop::Unknown)?;
        content.elements().iter().map(Scalar::number).collect::<Option<_>>().ok_or(Stop::Unknown)
    }

    /// The only element.
    pub fn dim_in(&self, i: usize) -> Result<Dim, Stop> {
        let dims = self.dims_in(i)?;
        if dims.len() != 1 {
            return invalid(format!("input {i} has {} elements, where one is needed", dims.len()));
        }
        Ok(dims[0].clone())
    }

    pub fn int_in(&self, i: usize) -> Result<i64, Stop> {
        self.dim_in(i)?.value().ok_or(Stop::Unknown)
    }

    /// The number of elements of a vector.
    pub fn length(&self, i: usize) -> Result<usize, Stop> {
        if let Some(content) = self.content(i) {
            return Ok(content.elements().len());
        }
        let dims = self.shape_of_rank(i, 1)?;
        dims[0].value().and_then(|n| usize::try_from(n).ok()).ok_or(Stop::Unknown)
    }

    // ---- attributes

    /// The attribute as the node gives it; in a function's body, as the function's caller does.
    pub fn attr(&self, name: &str) -> Option<&'c Attr> {
        match self.node.attrs.get(name)? {
            Attr::Ref { name, .. } => self.frame.attr(name),
            attr => Some(attr),
        }
    }

    fn default(&self, name: &str) -> Option<AttrDefault> {
        self.schema?.attribute(name)?.default
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        match (self.attr(name), self.default(name)) {
            (Some(attr), _) => attr.as_int(),
            (None, Some(AttrDefault::Int(i))) => Some(i),
            _ => None,
        }
    }

    pub fn int_or(&self, name: &str, default: i64) -> i64 {
        self.int(name).unwrap_or(default)
    }

    pub fn flag(&self, name: &str) -> bool {
        self.int_or(name, 0) != 0
    }

    pub fn float(&self, name: &str) -> Option<f32> {
        match (self.attr(name), self.default(name)) {
            (Some(attr), _) => attr.as_float(),
            (None, Some(AttrDefault::Float(x))) => Some(x),
            _ => None,
        }
    }

    pub fn ints(&self, name: &str) -> Option<Cow<'c, [i64]>> {
        match (self.attr(name), self.default(name)) {
            (Some(attr), _) => attr.as_ints().map(Cow::Borrowed),
            (None, Some(AttrDefault::Ints(list))) => Some(Cow::Borrowed(list)),
            _ => None,
        }
    }

    pub fn floats(&self, name: &str) -> Option<&'c [f32]> {
        self.attr(name)?.as_floats()
    }

    /// The number of strings in an attribute.
    pub fn strings_len(&self, name: &str) -> Option<usize> {
        match self.attr(name)? {
            Attr::Strs(list) => Some(list.len()),
            _ => None,
        }
    }

    pub fn text(&self, name: &str) -> Option<&'c str> {
        match (self.attr(name), self.default(name)) {
            (Some(attr), _) => attr.as_str(),
            (None, Some(AttrDefault::String(text))) => Some(text),
            _ => None,
        }
    }

    pub fn tensor(&self, name: &str) -> Option<&'c Arc<Tensor>> {
        self.attr(name)?.as_tensor()
    }

    /// An element type given by ONNX's code.
    pub fn dtype_attr(&self, name: &str) -> Result<Option<DType>, Stop> {
        let Some(code) = self.int(name).filter(|&code| code != 0) else { return Ok(None) };
        match i32::try_from(code).ok().and_then(DType::from_onnx) {
            Some(dtype) => Ok(Some(dtype)),
            None => invalid(format!("`{name}` = {code} is not an element type")),
        }
    }

    /// Version of the operator's definition; 0 where there is none.
    pub fn since(&self) -> i64 {
        self.schema.map_or(0, |schema| schema.since_version)
    }

    /// A count or size from an attribute.
    pub fn size(&self, name: &str) -> Result<Option<i64>, Stop> {
        match self.int(name) {
            Some(n) if n < 0 => invalid(format!("`{name}` is {n}, but a size cannot be negative")),
            n => Ok(n),
        }
    }

    // ---- outputs

    fn tensor_out(&mut self, output: usize) -> Option<&mut TensorType> {
        let fact = self.outputs.get_mut(output)?;
        match fact.ty.get_or_insert_with(|| TensorType::default().into()) {
            Type::Tensor(tensor) | Type::SparseTensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Outputs that the node does not have are ignored.
    pub fn set_shape(&mut self, output: usize, dims: impl IntoIterator<Item = Dim>) -> Outcome {
        let dims: Dims = dims.into_iter().collect();
        if let Some(negative) = dims.iter().find(|d| d.value().is_some_and(|n| n < 0)) {
            return invalid(format!("output {output} would have a dimension of {negative}"));
        }
        if let Some(tensor) = self.tensor_out(output) {
            tensor.shape = Some(dims);
        }
        Ok(())
    }

    pub fn set_dtype(&mut self, output: usize, dtype: DType) {
        if let Some(tensor) = self.tensor_out(output) {
            tensor.dtype = Some(dtype);
        }
    }

    pub fn set_type(&mut self, output: usize, ty: Type) {
        if let Some(fact) = self.outputs.get_mut(output) {
            fact.ty = Some(ty);
        }
    }

    /// Content, and with it the shape.
    pub fn set_content(&mut self, output: usize, content: Option<Content>) -> Outcome {
        let Some(mut content) = content else { return Ok(()) };
        self.set_shape(output, content.dims().iter().map(|&n| Dim::Static(n as i64)))?;
        let Some(fact) = self.outputs.get_mut(output) else { return Ok(()) };
        if let Some(dtype) = fact.ty.as_ref().and_then(Type::dtype) {
            content.fit(dtype);
        }
        fact.content = content.is_known().then_some(content);
        Ok(())
    }

    /// The output's shape as set so far, where static.
    pub fn static_shape_out(&self, output: usize) -> Option<Vec<usize>> {
        self.outputs.get(output)?.ty.as_ref()?.as_tensor()?.static_dims()
    }

    pub fn same_shape(&mut self, output: usize, input: usize) -> Outcome {
        let shape = self.shape(input)?;
        self.set_shape(output, shape)
    }

    // ---- bodies

    pub fn body(&self, name: &str) -> Result<&'c Graph, Stop> {
        match self.attr(name) {
            Some(Attr::Graph(graph)) => Ok(graph),
            _ => invalid(format!("there is no body `{name}`")),
        }
    }

    /// Infers a body for these inputs; what it finds is kept for the body's values, and the facts of
    /// its outputs are given back.
    pub fn solve_body(&mut self, name: &str, inputs: &[Fact]) -> Result<Vec<Fact>, Stop> {
        let body = self.body(name)?;
        let path = format!("{}/{}.{name}", self.frame.path, self.node.label);
        let solved = self.solver.solve(&path, body, inputs, Some(self.frame), self.frame.attrs)?;
        let outputs = solved.outputs(body);
        self.bodies.retain(|(attr, ..)| &**attr != name);
        self.bodies.push((name.into(), 0, solved));
        Ok(outputs)
    }

    /// Infers a branch. What seems wrong in one that may not be taken is no fault: its condition may be
    /// there to rule just that out.
    pub fn solve_branch(&mut self, name: &str, taken: bool) -> Result<Vec<Fact>, Stop> {
        let known = self.solver.warnings.len();
        let outputs = self.solve_body(name, &[]);
        if !taken {
            self.solver.warnings.truncate(known);
        }
        outputs
    }
}

/// An axis that may count from the back.
pub fn axis(axis: i64, rank: usize) -> Result<usize, Stop> {
    let signed = rank as i64;
    if axis < -signed || axis >= signed {
        return invalid(format!("axis {axis} is outside of rank {rank}"));
    }
    Ok((if axis < 0 { axis + signed } else { axis }) as usize)
}

/// Several axes, each in range, none twice.
pub fn axes(list: &[i64], rank: usize) -> Result<SmallVec<[usize; 4]>, Stop> {
    let mut found = SmallVec::new();
    for &value in list {
        let value = axis(value, rank)?;
        if found.contains(&value) {
            return invalid(format!("axis {value} is given twice"));
        }
        found.push(value);
    }
    Ok(found)
}
