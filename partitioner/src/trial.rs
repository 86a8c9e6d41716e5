//! One pattern, tried on a model by itself: every way in which its nodes match, and what each clause says there.

use std::collections::HashMap;
use std::ops::ControlFlow;

use byoc_graph::recognise::recognise;
use byoc_graph::{Model, NodeId};
use byoc_plugin::table::PatternTable;

use crate::known;
use crate::matcher::Matcher;
use crate::program::Programs;
use crate::view::View;
use crate::where_clause::Language;

/// The patterns of a table, ready to be tried.
pub struct Trial {
    programs: Programs,
    language: Language,
}

/// One way in which a pattern's nodes match.
#[derive(Debug, Clone)]
pub struct Way {
    /// In model order.
    pub nodes: Vec<NodeId>,
    /// By clause: whether it holds, or why it does not.
    pub clauses: Vec<Result<(), String>>,
}

impl Way {
    pub fn holds(&self) -> bool {
        self.clauses.iter().all(Result::is_ok)
    }
}

impl Trial {
    pub fn new(table: &PatternTable) -> Trial {
        Trial { programs: Programs::compile([table], &HashMap::new()), language: Language::default() }
    }

    /// Tries a pattern, by its place in the table, at every node of a normalised model's main graph. What becomes
    /// of the match among others – escape, cycle, limits – is not looked at.
    pub fn ways(&self, model: &Model, pattern: usize) -> Vec<Way> {
        let forms = recognise(&model.graph, &|_| true);
        let view = View::new(model, &model.graph, &forms, &self.programs);
        let Some(mut matcher) = Matcher::new(&view, &self.programs) else { return Vec::new() };
        let program = &self.programs.all[pattern];
        let mut ways = Vec::new();
        for root in 0..view.units.len() as u32 {
            matcher.search(pattern, root, &mut |found| {
                let known = |name: &str| known::named(&view, program, found, name);
                let clauses = program.clauses.iter().map(|c| c.evaluate(&self.language, &known)).collect();
                let nodes = found.nodes.iter().map(|place| view.order[*place as usize]).collect();
                ways.push(Way { nodes, clauses });
                ControlFlow::Continue(())
            });
        }
        ways
    }
}
