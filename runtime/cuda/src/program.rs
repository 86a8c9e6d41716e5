//! A region as steps: kernels and new shapes for old values.

use byoc_plugin::{Error, Result};

use crate::kernel::Kernel;
use crate::shape::{Shape, axis, elements};

/// What a step does.
pub enum Action {
    Kernel(Box<dyn Kernel>),
    /// The same elements in another shape.
    View(View),
}

/// How a shape becomes another of as many elements.
#[derive(Debug, Clone)]
pub enum View {
    Same,
    /// 0 for the size that there is, unless it is allowed to mean itself; one −1 for what is left.
    Reshape {
        to: Vec<i64>,
        allow_zero: bool,
    },
    Flatten(i64),
    /// All dimensions of 1 where there is no list.
    Squeeze(Option<Vec<i64>>),
    Unsqueeze(Vec<i64>),
}

pub struct Step {
    pub action: Action,
    /// Values; a kernel reads those of `Kernel::operands`.
    pub inputs: Vec<usize>,
    /// A value, which several steps may write parts of.
    pub output: usize,
}

impl Step {
    pub fn shape(&self, inputs: &[&[usize]]) -> Result<Shape> {
        match &self.action {
            Action::Kernel(kernel) => kernel.output(inputs),
            Action::View(view) => view.shape(inputs[0]),
        }
    }

    /// The values whose elements it reads.
    pub fn reads(&self) -> Vec<usize> {
        match &self.action {
            Action::Kernel(kernel) => {
                kernel.operands(self.inputs.len()).into_iter().map(|place| self.inputs[place]).collect()
            }
            Action::View(_) => vec![self.inputs[0]],
        }
    }
}

impl View {
    pub fn shape(&self, x: &[usize]) -> Result<Shape> {
        let shape = match self {
            View::Same => x.to_vec(),
            View::Reshape { to, allow_zero } => reshape(x, to, *allow_zero)?,
            View::Flatten(at) => {
                let at = if *at < 0 { *at + x.len() as i64 } else { *at };
                let at = usize::try_from(at).ok().filter(|at| *at <= x.len());
                let at = at.ok_or_else(|| Error::invalid(format!("Flatten of {x:?}")))?;
                vec![x[..at].iter().product(), x[at..].iter().product()]
            }
            View::Squeeze(None) => x.iter().copied().filter(|size| *size != 1).collect(),
            View::Squeeze(Some(axes)) => {
                let gone = axes.iter().map(|a| axis(*a, x.len())).collect::<Result<Vec<_>>>()?;
                (0..x.len()).filter(|axis| !gone.contains(axis)).map(|axis| x[axis]).collect()
            }
            View::Unsqueeze(axes) => {
                let rank = x.len() + axes.len();
                let new = axes.iter().map(|a| axis(*a, rank)).collect::<Result<Vec<_>>>()?;
                let mut own = x.iter();
                let size = |axis| if new.contains(&axis) { Some(&1) } else { own.next() };
                (0..rank).map_while(size).copied().collect()
            }
        };
        if elements(&shape)? != elements(x)? {
            return Err(Error::invalid(format!("{x:?} does not become {shape:?}")));
        }
        Ok(shape)
    }
}

fn reshape(x: &[usize], to: &[i64], allow_zero: bool) -> Result<Shape> {
    let wrong = || Error::invalid(format!("{x:?} does not become {to:?}"));
    let mut shape = Vec::new();
    for (axis, size) in to.iter().enumerate() {
        shape.push(match size {
            0 if !allow_zero => *x.get(axis).ok_or_else(wrong)?,
            -1 => 1,
            size => usize::try_from(*size).map_err(|_| wrong())?,
        });
    }
    if let Some(open) = to.iter().position(|size| *size == -1) {
        let known = elements(&shape)?;
        shape[open] = elements(x)?.checked_div(known).ok_or_else(wrong)?;
    }
    Ok(shape)
}

/// A region, lowered.
pub struct Program {
    pub steps: Vec<Step>,
    pub values: usize,
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    /// Values that are constants, with their element types' sizes.
    pub constants: Vec<usize>,
    /// Bytes of an element, by value.
    pub widths: Vec<usize>,
}

impl Program {
    /// The shapes of all values that steps read or write; others are empty.
    pub fn shapes(&self, known: impl Fn(usize) -> Option<Shape>) -> Result<Vec<Option<Shape>>> {
        let mut shapes: Vec<Option<Shape>> = (0..self.values).map(known).collect();
        for step in &self.steps {
            let missing = || Error::internal("a step reads a value of no known shape");
            let inputs = step.inputs.iter().map(|value| shapes[*value].as_deref().ok_or_else(missing));
            let shape = step.shape(&inputs.collect::<Result<Vec<_>>>()?)?;
            elements(&shape)?;
            shapes[step.output] = Some(shape);
        }
        Ok(shapes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_have_the_shapes_of_the_standard() {
        let reshape = |to: &[i64]| View::Reshape { to: to.to_vec(), allow_zero: false }.shape(&[2, 3, 4]);
        assert_eq!(reshape(&[0, -1]).unwrap(), [2, 12]);
        assert_eq!(reshape(&[-1]).unwrap(), [24]);
        assert!(reshape(&[5, -1]).is_err() && reshape(&[0, 0, 0, 0]).is_err());
        assert_eq!(View::Flatten(-1).shape(&[2, 3, 4]).unwrap(), [6, 4]);
        assert_eq!(View::Squeeze(Some(vec![-2])).shape(&[2, 1, 4]).unwrap(), [2, 4]);
        assert!(View::Squeeze(Some(vec![0])).shape(&[2, 1]).is_err());
        assert_eq!(View::Unsqueeze(vec![0, -1]).shape(&[2]).unwrap(), [1, 2, 1]);
    }
}
