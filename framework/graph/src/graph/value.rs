//! Values: what a graph's nodes make and use, and the table that holds them.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Graph, GraphError, NodeId};
use crate::{Metadata, Tensor, Type};

/// Names a value of one graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ValueId(pub(super) u32);

impl ValueId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One use of a value by a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Use {
    pub node: NodeId,
    pub slot: Slot,
}

/// Where in a node a value is used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Slot {
    Input(u32),
    /// By the bodies of the node.
    Capture(u32),
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// Made by this output of this node.
    Node(NodeId, u32),
    /// An input of the graph.
    Input,
    /// A constant. Where it is also a graph input it is that input's default, see `Graph::is_constant`.
    Constant(Arc<Tensor>),
    /// A value of the same name of the graph around this body.
    Captured,
    /// Named, but not made by anything (yet).
    None,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub name: Arc<str>,
    pub ty: Option<Type>,
    pub doc: String,
    pub metadata: Metadata,
    pub(super) origin: Origin,
    pub(super) uses: SmallVec<[Use; 2]>,
    /// Whether a captured value is a constant of an outer graph.
    pub(super) captured_constant: Option<Arc<Tensor>>,
}

impl Value {
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub fn uses(&self) -> &[Use] {
        &self.uses
    }

    /// The node that makes this value, and which of its outputs it is.
    pub fn producer(&self) -> Option<(NodeId, usize)> {
        match self.origin {
            Origin::Node(node, output) => Some((node, output as usize)),
            _ => None,
        }
    }
}

impl Graph {
    /// A new value that nothing makes yet.
    pub fn add_value(&mut self, name: impl Into<Arc<str>>, ty: Option<Type>) -> Result<ValueId, GraphError> {
        let name = name.into();
        if self.by_name.contains_key(&name) {
            return Err(GraphError::DuplicateValue(name));
        }
        let id = ValueId(u32::try_from(self.values.len()).map_err(|_| GraphError::TooLarge)?);
        self.by_name.insert(name.clone(), id);
        self.values.push(Some(Value {
            name,
            ty,
            doc: String::new(),
            metadata: Metadata::new(),
            origin: Origin::None,
            uses: SmallVec::new(),
            captured_constant: None,
        }));
        Ok(id)
    }

    /// A name that no value has yet: `base`, or `base` with a number behind it.
    pub fn fresh_name(&self, base: &str) -> String {
        if !self.by_name.contains_key(base) {
            return base.to_owned();
        }
        let numbered = (1u64..).map(|i| format!("{base}_{i}"));
        numbered.into_iter().find(|n| !self.by_name.contains_key(n.as_str())).expect("names do not run out")
    }

    pub fn add_input(&mut self, name: impl Into<Arc<str>>, ty: Option<Type>) -> Result<ValueId, GraphError> {
        let id = self.add_value(name, ty)?;
        self.values[id.index()].as_mut().expect("just added").origin = Origin::Input;
        self.inputs.push(id);
        Ok(id)
    }

    pub fn add_constant(
        &mut self,
        name: impl Into<Arc<str>>,
        tensor: Arc<Tensor>,
    ) -> Result<ValueId, GraphError> {
        let id = self.add_value(name, Some(tensor.ty().into()))?;
        self.values[id.index()].as_mut().expect("just added").origin = Origin::Constant(tensor);
        Ok(id)
    }

    /// A value of the graph around this one; `constant` is its content where it is constant there.
    pub fn add_capture(
        &mut self,
        name: impl Into<Arc<str>>,
        ty: Option<Type>,
        constant: Option<Arc<Tensor>>,
    ) -> Result<ValueId, GraphError> {
        let id = self.add_value(name, ty)?;
        let value = self.values[id.index()].as_mut().expect("just added");
        value.origin = Origin::Captured;
        value.captured_constant = constant;
        Ok(id)
    }

    /// Gives a graph input the content that it has where the caller does not give it.
    pub fn set_default(&mut self, input: ValueId, tensor: Arc<Tensor>) {
        debug_assert!(matches!(self.value(input).origin, Origin::Input));
        self.defaults.insert(input, tensor);
    }

    /// The initializer behind a graph input that may be left out.
    pub fn default_of(&self, input: ValueId) -> Option<&Arc<Tensor>> {
        self.defaults.get(&input)
    }

    /// Makes constants of all inputs that have defaults.
    pub fn fix_defaults(&mut self) {
        let inputs = std::mem::take(&mut self.inputs);
        let (fixed, open): (Vec<_>, Vec<_>) =
            inputs.into_iter().partition(|input| self.defaults.contains_key(input));
        self.inputs = open;
        for input in fixed {
            if let Some(tensor) = self.defaults.remove(&input) {
                let name = self.value(input).name.clone();
                self.tell_bodies(&name, &tensor);
                self.set_constant(input, tensor);
            }
        }
    }

    /// Tells the bodies inside that a value around them is constant.
    fn tell_bodies(&mut self, name: &str, tensor: &Arc<Tensor>) {
        for node in self.node_ids().collect::<Vec<_>>() {
            for attr in self.node_mut(node).attrs.values_mut() {
                for body in attr.graphs_mut() {
                    let captured = body.value_by_name(name);
                    let captured = captured.filter(|&id| matches!(body.value(id).origin, Origin::Captured));
                    if let Some(id) = captured {
                        body.set_captured_constant(id, Some(tensor.clone()));
                        body.tell_bodies(name, tensor);
                    }
                }
            }
        }
    }

    /// Turns a value into a constant. Its producer, if any, loses that output.
    pub fn set_constant(&mut self, id: ValueId, tensor: Arc<Tensor>) {
        if let Some((node, output)) = self.value(id).producer() {
            self.net[node].outputs[output] = None;
            self.drop_edges_of(node, id);
        }
        let value = self.value_mut(id);
        value.ty = Some(tensor.ty().into());
        value.origin = Origin::Constant(tensor);
    }

    pub fn value(&self, id: ValueId) -> &Value {
        self.values[id.index()].as_ref().expect("value was removed")
    }

    /// Name, type and documentation may be changed here; a name through `rename`.
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        self.values[id.index()].as_mut().expect("value was removed")
    }

    pub fn contains_value(&self, id: ValueId) -> bool {
        self.values.get(id.index()).is_some_and(Option::is_some)
    }

    pub fn rename(&mut self, id: ValueId, name: impl Into<Arc<str>>) -> Result<(), GraphError> {
        let name = name.into();
        if self.by_name.contains_key(&name) {
            return Err(GraphError::DuplicateValue(name));
        }
        let old = std::mem::replace(&mut self.value_mut(id).name, name.clone());
        self.by_name.remove(&old);
        self.by_name.insert(name, id);
        Ok(())
    }

    pub fn value_by_name(&self, name: &str) -> Option<ValueId> {
        self.by_name.get(name).copied()
    }

    /// All values, in the order in which they were added.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> + '_ {
        let present = |(i, v): (usize, &'_ Option<Value>)| (ValueId(i as u32), i, v.is_some());
        let ids = self.values.iter().enumerate().map(present);
        ids.filter(|&(.., present)| present).map(|(id, i, _)| (id, self.values[i].as_ref().expect("present")))
    }

    /// One more than the largest index of a value: the length of a table by value.
    pub fn value_bound(&self) -> usize {
        self.values.len()
    }

    /// The content, where the value is a constant: an initializer that callers cannot override, or a
    /// captured one.
    pub fn constant(&self, id: ValueId) -> Option<&Arc<Tensor>> {
        let value = self.value(id);
        match &value.origin {
            Origin::Constant(tensor) => Some(tensor),
            Origin::Captured => value.captured_constant.as_ref(),
            _ => None,
        }
    }

    pub fn is_constant(&self, id: ValueId) -> bool {
        self.constant(id).is_some()
    }

    /// Tells a body that a value it captures is constant in the graph around it.
    pub fn set_captured_constant(&mut self, id: ValueId, tensor: Option<Arc<Tensor>>) {
        self.value_mut(id).captured_constant = tensor;
    }

    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// A value may be an output more than once.
    pub fn add_output(&mut self, id: ValueId) {
        self.outputs.push(id);
    }

    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        self.outputs = outputs;
    }

    pub fn is_output(&self, id: ValueId) -> bool {
        self.outputs.contains(&id)
    }

    /// Values that this body takes from the graph around it, in the order in which they were added.
    pub fn captured(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.values().filter(|(_, v)| matches!(v.origin, Origin::Captured)).map(|(id, _)| id)
    }

    /// Drops a value that nobody uses or makes and that is no input or output.
    pub fn remove_value(&mut self, id: ValueId) {
        let value = self.value(id);
        assert!(value.uses.is_empty() && value.producer().is_none() && !self.is_output(id));
        if matches!(value.origin, Origin::Input) {
            self.inputs.retain(|&i| i != id);
            self.defaults.remove(&id);
        }
        let value = self.values[id.index()].take().expect("present");
        self.by_name.remove(&value.name);
    }
}
