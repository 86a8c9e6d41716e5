//! Checks of a table by itself: names, connection, absence of every node, and patterns that can never be chosen.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ast::{
    Arg, ArgKind, Attribute, Call, Constness, OpSet, Pattern, PatternTable, Quantifier, Statement,
};
use super::error::TableError;
use super::source::Source;

pub(super) fn check(table: &PatternTable) -> Result<(), TableError> {
    for pattern in &table.patterns {
        check_names(&table.source, pattern)?;
        check_connection(&table.source, pattern)?;
        check_presence(&table.source, pattern)?;
    }
    check_hidden(table)
}

/// No output is bound twice, and none is used before its statement.
fn check_names(source: &Source, pattern: &Pattern) -> Result<(), TableError> {
    let mut bound_at = BTreeMap::new();
    for (index, statement) in pattern.statements.iter().enumerate() {
        for name in statement.outputs.iter().flatten() {
            if bound_at.insert(name.as_str(), index).is_some() {
                return Err(source.error(
                    statement.span,
                    format!("`{name}` is bound twice in pattern `{}`", pattern.name),
                ));
            }
        }
    }
    for (index, statement) in pattern.statements.iter().enumerate() {
        for arg in statement.alternatives.iter().flat_map(named_args) {
            let ArgKind::Name(name) = &arg.kind else { continue };
            if bound_at.get(name.as_str()).is_some_and(|bound| *bound >= index) {
                let message = format!("`{name}` is used before the statement that binds it");
                return Err(source
                    .error(arg.span, message)
                    .with_help("write statements in the order of the data"));
            }
        }
    }
    Ok(())
}

/// All statements hang together through values that are not constant, whichever alternatives are taken.
fn check_connection(source: &Source, pattern: &Pattern) -> Result<(), TableError> {
    let constant: BTreeSet<&str> = pattern
        .calls()
        .iter()
        .flat_map(|call| &call.args)
        .filter(|arg| arg.constness == Constness::Const)
        .filter_map(arg_name)
        .collect();
    let links = Links::new(&pattern.statements, &constant);
    // A statement with alternatives may join only from elsewhere, so each one gets to be the start.
    let mut apart = None;
    for start in 0..pattern.statements.len() {
        match links.reach(start).iter().position(|joined| !joined) {
            None => return Ok(()),
            Some(statement) => apart = apart.max(Some(statement)),
        }
    }
    let span = apart.map_or(pattern.span, |statement| pattern.statements[statement].span);
    let message = "this statement shares no value with the rest of the pattern that is not constant";
    Err(source.error(span, message).with_help("make it a pattern of its own"))
}

/// The names of values through which statements hang together.
struct Links<'a> {
    /// By statement: names that it has whichever alternative is taken.
    sure: Vec<BTreeSet<&'a str>>,
    /// By name: the (statement, alternative) pairs that have it.
    users: HashMap<&'a str, Vec<(usize, usize)>>,
    alternatives: Vec<usize>,
}

impl<'a> Links<'a> {
    fn new(statements: &'a [Statement], constant: &BTreeSet<&str>) -> Self {
        let mut links = Links { sure: Vec::new(), users: HashMap::new(), alternatives: Vec::new() };
        for (index, statement) in statements.iter().enumerate() {
            let outputs: Vec<&str> = statement.outputs.iter().flatten().map(String::as_str).collect();
            let mut sure: Option<BTreeSet<&str>> = None;
            for (alternative, call) in statement.alternatives.iter().enumerate() {
                let inputs =
                    named_args(call).into_iter().filter_map(arg_name).filter(|name| !constant.contains(name));
                let names: BTreeSet<&str> = inputs.chain(outputs.iter().copied()).collect();
                for name in &names {
                    links.users.entry(name).or_default().push((index, alternative));
                }
                sure = Some(sure.map_or(names.clone(), |sure| sure.intersection(&names).copied().collect()));
            }
            links.sure.push(sure.unwrap_or_default());
            links.alternatives.push(statement.alternatives.len());
        }
        links
    }

    /// Which statements join the one at `start`: those of which every alternative shares a sure name with the joined.
    fn reach(&self, start: usize) -> Vec<bool> {
        let mut joined = vec![false; self.sure.len()];
        let mut missing = self.alternatives.clone();
        let mut touched = BTreeSet::new();
        let mut names: Vec<&str> = self.sure[start].iter().copied().collect();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        joined[start] = true;
        while let Some(name) = names.pop() {
            if !seen.insert(name) {
                continue;
            }
            for &(statement, alternative) in self.users.get(name).into_iter().flatten() {
                missing[statement] -= usize::from(touched.insert((statement, alternative)));
                if missing[statement] == 0 && !joined[statement] {
                    joined[statement] = true;
                    names.extend(&self.sure[statement]);
                }
            }
        }
        joined
    }
}

/// A pattern of which every node may be absent would match nothing at all.
fn check_presence(source: &Source, pattern: &Pattern) -> Result<(), TableError> {
    let present = |call: &Call| {
        let mut present = false;
        call.walk(&mut |call| present |= call.quantifier == Quantifier::One);
        present
    };
    if pattern.statements.iter().any(|statement| statement.alternatives.iter().all(present)) {
        return Ok(());
    }
    Err(source.error(pattern.span, format!("every node of pattern `{}` may be absent", pattern.name)))
}

/// A pattern is hidden by an earlier one with the same match, no further clause and no lower priority.
fn check_hidden(table: &PatternTable) -> Result<(), TableError> {
    let mut earlier: HashMap<String, Vec<&Pattern>> = HashMap::new();
    for pattern in &table.patterns {
        let same = earlier.entry(match_key(pattern)).or_default();
        if let Some(hiding) = same.iter().find(|other| hides(other, pattern)) {
            let message = format!(
                "pattern `{}` is hidden by `{}`, which matches all that it matches",
                pattern.name, hiding.name
            );
            return Err(table
                .source
                .error(pattern.span, message)
                .with_help("raise its priority or remove it"));
        }
        same.push(pattern);
    }
    Ok(())
}

fn hides(earlier: &Pattern, later: &Pattern) -> bool {
    let later_clauses: BTreeSet<&str> = later.where_.iter().map(|clause| clause.text.trim()).collect();
    earlier.priority >= later.priority
        && (earlier.allow_taps || !later.allow_taps)
        && earlier.where_.iter().all(|clause| later_clauses.contains(clause.text.trim()))
}

/// The match as text in one spelling, without spaces and spans.
fn match_key(pattern: &Pattern) -> String {
    let mut key = String::new();
    for statement in &pattern.statements {
        key += &format!("{:?}=", statement.outputs);
        for call in &statement.alternatives {
            call_key(call, &mut key);
            key.push('|');
        }
    }
    key
}

fn call_key(call: &Call, key: &mut String) {
    match &call.ops {
        OpSet::Any => key.push('_'),
        OpSet::Names(names) => names.iter().for_each(|op| *key += &format!("{}.{},", op.domain, op.name)),
    }
    let mut attributes: Vec<&Attribute> = call.attributes.iter().collect();
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    *key += &format!("{:?}<", call.quantifier);
    attributes.iter().for_each(|attribute| *key += &format!("{}={:?},", attribute.name, attribute.value));
    key.push('(');
    for arg in &call.args {
        match &arg.kind {
            ArgKind::Name(name) => *key += name,
            ArgKind::Any => key.push('_'),
            ArgKind::Call(inner) => call_key(inner, key),
        }
        *key += &format!(" {} {:?},", arg.optional, arg.constness);
    }
    *key += if call.variadic_rest { "...)" } else { ")" };
}

/// The arguments of a call and of those nested in it.
fn named_args(call: &Call) -> Vec<&Arg> {
    let mut args = Vec::new();
    call.walk(&mut |call| args.extend(call.args.iter().filter(|arg| arg_name(arg).is_some())));
    args
}

fn arg_name(arg: &Arg) -> Option<&str> {
    match &arg.kind {
        ArgKind::Name(name) => Some(name),
        ArgKind::Any | ArgKind::Call(_) => None,
    }
}
