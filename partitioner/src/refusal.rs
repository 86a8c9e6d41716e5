//! Why a match was not taken, as data. Most refusals are never asked about, so they are put into words only
//! when somebody does.

use byoc_graph::ValueId;

use crate::candidates::Candidate;
use crate::misses::Stage;
use crate::program::Programs;
use crate::report::Kind;
use crate::view::View;

/// Nodes are meant by their places.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// What a user or a vendor has said of a node, in their words.
    Denied(Kind, String),
    Forced {
        node: u32,
        vendor: usize,
    },
    /// It is a region of an earlier partition.
    Outlined {
        node: u32,
    },
    Cut {
        from: u32,
        to: u32,
    },
    Taken(Taken),
    TooLarge {
        nodes: usize,
        max: usize,
    },
    NotStatic {
        value: ValueId,
    },
    Steps,
    /// The clause, and the values that it saw.
    Clause(String),
    /// A value inside is used by a node outside, or is an output of the graph.
    Escape {
        value: ValueId,
        user: Option<u32>,
    },
    /// The path through which the match would wait for itself.
    Cycle(Vec<u32>),
    Vendor(String),
}

/// A match that came too late.
#[derive(Debug, Clone)]
pub struct Taken {
    pub candidate: Candidate,
    /// The node that another composite has.
    pub node: u32,
    /// The pattern and the root of that composite.
    pub program: usize,
    pub root: u32,
    /// Of all composites that have nodes of the match: the highest priority, whether one is of the same
    /// pattern, and whether a user has forced one to its vendor.
    pub priority: i64,
    pub same: bool,
    pub forced: bool,
    /// What would stand against the match if the node were free.
    pub besides: Option<Box<Refusal>>,
}

impl Refusal {
    pub fn stage(&self) -> Stage {
        match self {
            Refusal::Denied(..) | Refusal::Forced { .. } | Refusal::Cut { .. } | Refusal::Vendor(_) => {
                Stage::Vendor
            }
            Refusal::Outlined { .. } | Refusal::Taken(_) => Stage::Taken,
            Refusal::TooLarge { .. } | Refusal::NotStatic { .. } | Refusal::Steps => Stage::Limit,
            Refusal::Clause(_) => Stage::Where,
            Refusal::Escape { .. } => Stage::Escape,
            Refusal::Cycle(_) => Stage::Cycle,
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Refusal::Denied(kind, _) => *kind,
            Refusal::Forced { .. } | Refusal::Cut { .. } => Kind::User,
            Refusal::Outlined { .. } | Refusal::Taken(_) => Kind::Taken,
            Refusal::TooLarge { .. } | Refusal::NotStatic { .. } | Refusal::Steps => Kind::Limit,
            Refusal::Clause(_) => Kind::Where,
            Refusal::Escape { .. } => Kind::Escape,
            Refusal::Cycle(_) => Kind::Cycle,
            Refusal::Vendor(_) => Kind::Vendor,
        }
    }

    pub fn words(&self, view: &View<'_>, programs: &Programs) -> String {
        let label = |place: &u32| view.label(*place);
        match self {
            Refusal::Denied(_, words) | Refusal::Clause(words) | Refusal::Vendor(words) => words.clone(),
            Refusal::Forced { node, vendor } => {
                format!("`{}` is forced to {}", label(node), programs.vendors[*vendor].name)
            }
            Refusal::Outlined { node } => {
                format!("`{}` calls a region of an earlier partition", label(node))
            }
            Refusal::Cut { from, to } => {
                format!("there is a cut between `{}` and `{}`", label(from), label(to))
            }
            Refusal::Taken(taken) => taken.words(view, programs),
            Refusal::TooLarge { nodes, max } => {
                format!("{nodes} nodes are more than max_region_nodes = {max}")
            }
            Refusal::NotStatic { value } => {
                let ty = view.graph.value(*value).ty.as_ref();
                let ty = ty.map_or("not known".to_owned(), ToString::to_string);
                let name = view.value_name(*value);
                format!("the type of `{name}` is {ty}, and the vendor takes static shapes only")
            }
            Refusal::Steps => "the search was given up".to_owned(),
            Refusal::Escape { value, user } => {
                let name = view.value_name(*value);
                match user {
                    Some(user) => format!("`{name}` is used by `{}` outside", label(user)),
                    None => format!("`{name}` is an output of the graph"),
                }
            }
            Refusal::Cycle(path) => {
                let labels: Vec<&str> = path.iter().map(label).collect();
                format!("it would wait for itself through {}", labels.join(" → "))
            }
        }
    }
}

impl Taken {
    fn words(&self, view: &View<'_>, programs: &Programs) -> String {
        let program = &programs.all[self.program];
        let vendor = &programs.vendors[program.vendor].name;
        format!("`{}` is part of a composite `{}` of {vendor}", view.label(self.node), program.name)
    }
}
