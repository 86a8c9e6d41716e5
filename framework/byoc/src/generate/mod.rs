//! Models made from patterns: nodes as the statements lay them out, with element types, shapes, attributes and
//! constants that go together, looked for until the `where` clauses hold, or all but one.
//!
//! Every model is the outcome of named [`Choices`], so the same ones give the same model again, others a neighbour,
//! and lower ones a simpler model. `draft` lays out nodes, `dtypes` and `shapes` settle types (`rules`,
//! `layout_rules`, `index_rules` and `recurrent_rules` know operators), `content` fills constants, `build` makes the graph, `search` looks for choices;
//! `compose` joins several models to one graph.
//! Whether a pattern matches is not decided here: the partitioner says so.

mod attributes;
mod build;
mod choices;
mod classes;
mod compose;
mod content;
mod draft;
mod dtypes;
mod index_rules;
mod inputs;
mod layout_rules;
mod recurrent_rules;
mod rules;
mod search;
mod shapes;
#[cfg(test)]
mod tests;
mod words;

use byoc_graph::{Datum, Model};
use byoc_plugin::table::{Pattern, PatternTable};

pub use choices::{Choices, Chooser};
pub use compose::compose;
pub use draft::Unmade;
pub use search::{Found, Searcher};
pub use words::Words;

use crate::random::Rng;

/// A model with inputs, and the choices that made it.
#[derive(Clone, Debug)]
pub struct Made {
    pub model: Model,
    pub inputs: Vec<(String, Datum)>,
    pub choices: Choices,
}

/// A pattern of a table, with what its clauses speak of.
pub struct Generator<'t> {
    table: &'t PatternTable,
    pub pattern: &'t Pattern,
    words: Words,
}

impl<'t> Generator<'t> {
    pub fn new(table: &'t PatternTable, pattern: usize) -> Generator<'t> {
        let pattern = &table.patterns[pattern];
        Generator { table, pattern, words: Words::of(pattern) }
    }

    /// The model of these choices.
    pub fn repeat(&self, choices: &Choices) -> Result<Made, Unmade> {
        self.make(Chooser::repeat(choices))
    }

    /// A model that keeps the given choices, with the others drawn.
    pub fn draw(&self, given: &Choices, rng: &mut Rng) -> Result<Made, Unmade> {
        self.make(Chooser::draw(given, rng))
    }

    /// The model with the ranks of all that clauses speak of unknown; `None` where the table wants shapes, or operators do.
    fn unranked(&self, model: &Model) -> Option<Model> {
        let is_open = !self.table.vendor.limits.static_shapes;
        build::unranked(model, |name| self.words.speak_of(name)).filter(|_| is_open)
    }

    fn make(&self, mut chooser: Chooser<'_>) -> Result<Made, Unmade> {
        let mut draft = draft::lay_out(self.table, self.pattern, &self.words, &mut chooser)?;
        dtypes::settle(&mut draft, &self.words, &mut chooser)?;
        shapes::settle(&mut draft, &self.words, &mut chooser)?;
        content::settle(&mut draft, &self.words, &mut chooser)?;
        let model = build::model(&draft)?;
        let inputs = inputs::draw_inputs(&model.graph, &mut chooser).ok_or(Unmade::Clash)?;
        let is_open = !self.table.vendor.limits.static_shapes && chooser.pick("symbolic", 2) == 1;
        let names: Vec<Option<&str>> =
            [None].into_iter().chain(self.words.symbols.iter().map(|name| Some(name.as_str()))).collect();
        let name = if names.len() > 1 { *chooser.of("symbol", &names).unwrap_or(&None) } else { None };
        let model = if is_open { build::opened(&model, name).ok_or(Unmade::Clash)? } else { model };
        Ok(Made { model, inputs, choices: chooser.done() })
    }
}
