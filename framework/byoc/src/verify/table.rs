//! Checks of a pattern table by itself: each pattern has models, each clause keeps some out, none is shadowed.

use byoc_partitioner::{NoCheck, Options, partition};
use byoc_plugin::table::{Limits, PatternTable};

use super::job::Answer;
use crate::generate::{Choices, Found, Made, Searcher, Unmade};
use crate::random::Rng;
use crate::{Loaded, ModelOptions, Timings};
use byoc_cpu::reference::ReferenceEvaluator;

/// Models that are tried before a pattern counts as shadowed.
const TRIES: usize = 30;

/// A pattern's model, if there is one, with the answer.
pub(super) fn pattern(
    table: &PatternTable,
    searcher: &Searcher<'_>,
    rng: &mut Rng,
) -> (Option<Choices>, Answer) {
    let made = match searcher.matching(rng) {
        Ok(Found::Model(made)) => made,
        Ok(Found::Nothing(why)) => {
            return (None, Answer::Fail(format!("no model was found that it matches; the nearest: {why}")));
        }
        Err(unknown @ Unmade::UnknownOperator(_)) => return (None, Answer::Skip(unknown.to_string())),
        Err(clash) => return (None, Answer::Fail(clash.to_string())),
    };
    let name = &searcher.generator().pattern.name;
    let choices = made.choices.clone();
    let mut candidate = Some(*made);
    let mut takers: Vec<String> = Vec::new();
    for _ in 0..TRIES {
        let Some(made) = candidate else { break };
        let taken = takers_of(table, &made);
        if taken.contains(name) {
            return (Some(made.choices.clone()), Answer::Pass(describe(&made)));
        }
        takers.extend(taken.into_iter().filter(|t| !takers.contains(t)).collect::<Vec<_>>());
        candidate = searcher.varied(&choices, true, rng);
    }
    let why = match takers.is_empty() {
        true => "the partitioner gives it nothing".to_owned(),
        false => format!("{} took all that it matches in {TRIES} models", takers.join(", ")),
    };
    (Some(choices), Answer::Fail(format!("it is shadowed: {why}")))
}

/// Whether something is kept out by this clause alone.
pub(super) fn clause(searcher: &Searcher<'_>, clause: usize, near: &Choices, rng: &mut Rng) -> Answer {
    let text = &searcher.generator().pattern.where_[clause].text;
    match searcher.missing(clause, near, rng) {
        Ok(Found::Model(made)) => Answer::Pass(format!("`{text}` keeps out {}", describe(&made))),
        Ok(Found::Nothing(why)) => Answer::Fail(format!(
            "no model was found that `{text}` alone keeps out, so the other clauses seem to imply it; the nearest: {why}"
        )),
        Err(unmade) => Answer::Skip(unmade.to_string()),
    }
}

/// The patterns that get nodes of a model when the whole table is asked, without limits on regions.
fn takers_of(table: &PatternTable, made: &Made) -> Vec<String> {
    let limits = Limits {
        static_shapes: table.vendor.limits.static_shapes,
        fold: table.vendor.limits.fold.clone(),
        ..Limits::default()
    };
    let mut table = table.clone();
    table.vendor.limits = limits;
    let loaded = Loaded::from_model(
        std::path::Path::new("generated.onnx"),
        made.model.clone(),
        &ModelOptions::default(),
        &ReferenceEvaluator,
        &mut Timings::default(),
    );
    let Ok(loaded) = loaded else { return Vec::new() };
    let done = partition(&loaded.model, &[table], &Options::default(), &mut NoCheck);
    let regions = done.map(|p| p.regions).unwrap_or_default();
    regions.iter().flat_map(|r| &r.composites).map(|c| c.pattern.clone()).collect()
}

/// The nodes of a model, with the types of what comes in: `Conv, Relu of float32[1,2,4,4]`.
pub(super) fn describe(made: &Made) -> String {
    let graph = &made.model.graph;
    let nodes: Vec<&str> = graph.model_order().into_iter().map(|n| &*graph.node(n).op.name).collect();
    let ty = |v: &byoc_graph::ValueId| graph.value(*v).ty.as_ref().map(ToString::to_string);
    let inputs: Vec<String> = graph.inputs().iter().filter_map(ty).collect();
    format!("{} of {}", nodes.join(", "), inputs.join(", "))
}
