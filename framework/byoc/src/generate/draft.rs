//! A model in the making: nodes and values without shapes, laid out as a pattern's statements say.

use std::collections::BTreeMap;
use std::sync::Arc;

use byoc_graph::schema::{self, Formal, FormalOption, OpSchema};
use byoc_graph::{Attributes, DType, Tensor};
use byoc_plugin::table::{
    Arg, ArgKind, Call, Constness, OpSet, Pattern, PatternTable, Quantifier, Statement,
};

use super::attributes;
use super::choices::Chooser;
use super::words::Words;

/// Operator versions that models are written for, where a table does not say.
const OPSETS: [i64; 3] = [17, 21, 13];
/// No model is written for a version before this.
const OLDEST_OPSET: i64 = 7;
/// Operators that stand for `_`.
const ANY: [&str; 6] = ["Relu", "Sigmoid", "Add", "Mul", "Tanh", "Neg"];
/// Longest chain of `Op*`.
const LONGEST_CHAIN: usize = 3;

pub type ValueAt = usize;

/// Why a pattern has no models here.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unmade {
    #[error("nothing is known of operator {0}, so no model of it can be made")]
    UnknownOperator(String),
    #[error("these choices do not go together")]
    Clash,
}

#[derive(Default)]
pub struct Draft {
    pub opsets: BTreeMap<String, i64>,
    pub values: Vec<Value>,
    /// In topological order.
    pub nodes: Vec<Node>,
    names: BTreeMap<String, Option<ValueAt>>,
}

pub struct Value {
    pub name: String,
    pub source: Source,
    pub dtype: Option<DType>,
    pub dims: Option<Vec<usize>>,
    pub content: Option<Arc<Tensor>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Input,
    Constant,
    Made,
}

pub struct Node {
    /// Unique; begins the names of its choices.
    pub name: String,
    pub schema: &'static OpSchema,
    pub opset: i64,
    pub inputs: Vec<Option<ValueAt>>,
    pub outputs: Vec<ValueAt>,
    /// Those that the pattern demands; the others come with the shapes.
    pub attrs: Attributes,
}

impl Node {
    pub fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.schema.name)
    }

    pub fn formal(&self, slot: usize) -> Option<&'static Formal> {
        self.schema.input(slot)
    }
}

/// Lays out nodes and values as the pattern says.
pub fn lay_out(
    table: &PatternTable,
    pattern: &Pattern,
    words: &Words,
    chooser: &mut Chooser<'_>,
) -> Result<Draft, Unmade> {
    let known = |version: &i64| (OLDEST_OPSET..=schema::latest("").unwrap_or(OLDEST_OPSET)).contains(version);
    let spoken = words.opsets.iter().copied().chain(younger(pattern, words));
    let opsets: Vec<i64> = OPSETS.into_iter().chain(spoken.filter(known)).collect();
    let own = *chooser.of("opset", &opsets).unwrap_or(&OPSETS[0]);
    let mut draft = Draft { opsets: [(String::new(), own)].into(), ..Draft::default() };
    for (domain, version) in &table.vendor.opset {
        draft.opsets.insert(schema::canonical_domain(domain).to_owned(), *version);
    }
    let mut layout = Layout { draft: &mut draft, chooser };
    pattern.statements.iter().try_for_each(|statement| layout.statement(statement))?;
    Ok(draft)
}

/// Versions since which operators of a pattern have attributes that clauses speak of, beyond the usual ones.
fn younger(pattern: &Pattern, words: &Words) -> Vec<i64> {
    let mut found = Vec::new();
    for call in pattern.calls() {
        let OpSet::Names(names) = &call.ops else { continue };
        for operator in names.iter().filter(|op| op.domain.is_empty()) {
            let versions = schema::versions("", &operator.name);
            for attribute in versions.iter().flat_map(|s| s.attributes).filter(|a| words.mention_any(a.name))
            {
                let having = versions.iter().filter(|s| s.attribute(attribute.name).is_some());
                found.extend(having.map(|s| s.since_version).min());
            }
        }
    }
    found.retain(|version| OPSETS.iter().all(|usual| usual < version));
    found
}

struct Layout<'d, 'c, 'r> {
    draft: &'d mut Draft,
    chooser: &'c mut Chooser<'r>,
}

impl Layout<'_, '_, '_> {
    fn statement(&mut self, statement: &Statement) -> Result<(), Unmade> {
        let first = statement.outputs.iter().flatten().next();
        let place = first.cloned().unwrap_or_else(|| format!("node{}", self.draft.nodes.len()));
        let call = self.chooser.of(&format!("{place}.alternative"), &statement.alternatives);
        let made = self.call(call.ok_or(Unmade::Clash)?, &place, statement.outputs.len())?;
        for (output, value) in statement.outputs.iter().zip(made) {
            if let Some(name) = output {
                self.rename(value, name);
                self.draft.names.insert(name.clone(), Some(value));
            }
        }
        Ok(())
    }

    /// A value that a node makes is called as the pattern calls it.
    fn rename(&mut self, value: ValueAt, name: &str) {
        let taken = self.draft.values.iter().any(|v| v.name == name);
        if self.draft.values[value].source == Source::Made && !taken {
            self.draft.values[value].name = name.to_owned();
        }
    }

    /// The values that a call makes: its nodes', or what stands for them where there is none.
    fn call(&mut self, call: &Call, place: &str, outputs: usize) -> Result<Vec<ValueAt>, Unmade> {
        let length = match call.quantifier {
            Quantifier::One => 1,
            Quantifier::Optional => 1 - self.chooser.pick(&format!("{place}.absent"), 2),
            Quantifier::Chain => self.chooser.pick(&format!("{place}.length"), LONGEST_CHAIN + 1),
        };
        if length == 0 {
            let first = call.args.first().ok_or(Unmade::Clash)?;
            return Ok(vec![self.argument(first, place, 0)?.ok_or(Unmade::Clash)?]);
        }
        let mut made = Vec::new();
        for link in 0..length {
            let name = if link == 0 { place.to_owned() } else { format!("{place}.{link}") };
            let along = (link > 0).then(|| made[0]);
            made = self.node(call, &name, outputs, along)?;
        }
        Ok(made)
    }

    /// One node of a call; `along` is the first input of a further link of a chain.
    fn node(
        &mut self,
        call: &Call,
        name: &str,
        outputs: usize,
        along: Option<ValueAt>,
    ) -> Result<Vec<ValueAt>, Unmade> {
        let schema = self.operator(call, name)?;
        let mut inputs = Vec::new();
        for (slot, arg) in call.args.iter().enumerate() {
            match along.filter(|_| slot == 0) {
                Some(value) => inputs.push(Some(value)),
                None => inputs.push(self.argument(arg, name, slot)?),
            }
        }
        if call.variadic_rest {
            self.rest(schema, name, &mut inputs);
        }
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        if inputs.len() < schema.min_inputs() {
            return Err(Unmade::Clash);
        }
        let outputs: Vec<ValueAt> = (0..outputs.max(schema.min_outputs()))
            .map(|i| {
                self.value(
                    if i == 0 { format!("{name}_out") } else { format!("{name}_out{i}") },
                    Source::Made,
                )
            })
            .collect();
        let opset = self.draft.opsets[schema::canonical_domain(schema.domain)];
        let attrs = call.attributes.iter().map(|a| attributes::fixed(schema, a)).collect::<Option<_>>();
        let attrs = attrs.ok_or(Unmade::Clash)?;
        self.draft.nodes.push(Node {
            name: name.to_owned(),
            schema,
            opset,
            inputs,
            outputs: outputs.clone(),
            attrs,
        });
        Ok(outputs)
    }

    fn operator(&mut self, call: &Call, place: &str) -> Result<&'static OpSchema, Unmade> {
        let (domain, name) = match &call.ops {
            OpSet::Any => ("", *self.chooser.of(&format!("{place}.op"), &ANY).unwrap_or(&ANY[0])),
            OpSet::Names(names) => {
                let op = self.chooser.of(&format!("{place}.op"), names).ok_or(Unmade::Clash)?;
                (op.domain.as_str(), op.name.as_str())
            }
        };
        let domain = schema::canonical_domain(domain);
        let unknown =
            || Unmade::UnknownOperator(format!("{domain}.{name}").trim_start_matches('.').to_owned());
        let latest = schema::latest(domain).ok_or_else(unknown)?;
        let opset = *self.draft.opsets.entry(domain.to_owned()).or_insert(latest);
        // An operator that is younger than the models so far makes all of them younger.
        let oldest = schema::versions(domain, name).last().ok_or_else(unknown)?.since_version;
        if opset < oldest {
            self.draft.opsets.insert(domain.to_owned(), oldest);
            for node in self.draft.nodes.iter_mut().filter(|n| n.schema.domain == domain) {
                node.opset = oldest;
                node.schema = schema::lookup(domain, node.schema.name, oldest).ok_or(Unmade::Clash)?;
            }
        }
        schema::lookup(domain, name, opset.max(oldest)).filter(|s| !s.deprecated).ok_or(Unmade::Clash)
    }

    fn argument(&mut self, arg: &Arg, node: &str, slot: usize) -> Result<Option<ValueAt>, Unmade> {
        match &arg.kind {
            ArgKind::Name(name) => {
                if let Some(known) = self.draft.names.get(name) {
                    return Ok(*known);
                }
                let value = self.leaf(arg, name.clone(), &format!("{node}.{name}"));
                self.draft.names.insert(name.clone(), value);
                Ok(value)
            }
            ArgKind::Any => Ok(self.leaf(arg, format!("{node}_in{slot}"), &format!("{node}.in{slot}"))),
            ArgKind::Call(call) => Ok(self.call(call, &format!("{node}_{slot}"), 1)?.first().copied()),
        }
    }

    /// A value that comes from outside; `None` where an optional one is left out.
    fn leaf(&mut self, arg: &Arg, name: String, choice: &str) -> Option<ValueAt> {
        if arg.optional && self.chooser.pick(&format!("{choice}.missing"), 2) == 1 {
            return None;
        }
        let source = match arg.constness {
            Constness::Const => Source::Constant,
            Constness::Input => Source::Input,
            Constness::Any => {
                let sources = [Source::Input, Source::Constant];
                sources[self.chooser.pick(&format!("{choice}.constant"), 2)]
            }
        };
        Some(self.value(name, source))
    }

    /// Further inputs for `...`: those that the operator needs, and of the others some.
    fn rest(&mut self, schema: &'static OpSchema, node: &str, inputs: &mut Vec<Option<ValueAt>>) {
        let most = schema.max_inputs().unwrap_or(inputs.len() + 2);
        for slot in inputs.len()..most {
            let Some(formal) = schema.input(slot) else { break };
            let choice = format!("{node}.rest{slot}");
            let is_there = match formal.option {
                FormalOption::Single => true,
                FormalOption::Optional => self.chooser.pick(&choice, 2) == 0,
                FormalOption::Variadic { .. } if slot < schema.min_inputs() => true,
                FormalOption::Variadic { .. } => self.chooser.pick(&choice, 2) == 1,
            };
            let name = format!("{node}_{}", formal.name.to_lowercase());
            let name = if formal.is_variadic() { format!("{name}{slot}") } else { name };
            // Data come in; what steers an operator is mostly constant, and of another type.
            let sources: &[Source] = match formal.type_str == schema.inputs[0].type_str {
                _ if slot == 0 || formal.is_variadic() => &[Source::Input],
                true => &[Source::Constant, Source::Input],
                false => &[Source::Constant, Source::Constant, Source::Constant, Source::Input],
            };
            let source = sources[self.chooser.pick(&format!("{choice}.source"), sources.len())];
            inputs.push(is_there.then(|| self.value(name, source)));
        }
    }

    fn value(&mut self, name: String, source: Source) -> ValueAt {
        let mut unique = name.clone();
        let mut count = 1;
        while self.draft.values.iter().any(|v| v.name == unique) {
            count += 1;
            unique = format!("{name}_{count}");
        }
        self.draft.values.push(Value { name: unique, source, dtype: None, dims: None, content: None });
        self.draft.values.len() - 1
    }
}
