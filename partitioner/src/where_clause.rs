//! `where` clauses: expressions in CEL over the names of a pattern.
//!
//! A name is bound to a map of what is known of its value; what is not known has no key, so that asking for it
//! is an error, and an error is a failed clause with that as its reason. Equality is our own in two points:
//! whole and fractional numbers compare by value, and two dimensions of which neither is known do not compare.

use std::collections::HashMap;
use std::sync::Arc;

use byoc_graph::{Attr, DType, Dim, Tensor, Type};
use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, Program, Value};

/// Constants with more elements have no `value`.
const MAX_VALUE: usize = 64;
/// Longer expressions are refused.
const MAX_TEXT: usize = 4096;
/// Macros (`all`, `map`, …) inside each other go no deeper, so that no clause runs for long.
const MAX_NESTED_MACROS: usize = 2;
/// How our own equality is called in rewritten expressions; no expression can be written so.
const SAME: &str = "@same";
const ONE_OF: &str = "@one_of";

/// Why an expression does not parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Byte of the text at which it goes wrong.
    pub offset: usize,
    pub message: String,
}

/// One clause, ready to be evaluated.
#[derive(Debug)]
pub struct Clause {
    pub text: String,
    parsed: Result<Parsed, ParseError>,
}

#[derive(Debug)]
struct Parsed {
    expression: IdedExpr,
    /// Names that it speaks of.
    names: Vec<String>,
    /// Parts whose values explain a failure, with their text.
    parts: Vec<(String, IdedExpr)>,
}

/// What is known of a value that a name stands for.
pub struct Known<'a> {
    pub ty: Option<&'a Type>,
    pub constant: Option<&'a Tensor>,
    /// Of the node inside the match that made it.
    pub attrs: Vec<(String, Attr)>,
    pub opset: Option<i64>,
}

/// The environment that clauses are evaluated in; made once.
pub struct Language(Arc<Env>);

impl Default for Language {
    fn default() -> Language {
        Language(Arc::new(Env::stdlib()))
    }
}

/// Whether an expression can be a clause.
pub fn check(text: &str) -> Result<(), ParseError> {
    parse(text).map(|_| ())
}

fn parse(text: &str) -> Result<Parsed, ParseError> {
    let refuse = |message: String| Err(ParseError { offset: 0, message });
    if text.len() > MAX_TEXT {
        return refuse(format!("an expression has at most {MAX_TEXT} characters"));
    }
    let program = Program::compile(text).map_err(|errors| {
        let first = errors.errors.first();
        let offset = first.map_or(0, |e| offset_of(text, e.pos));
        ParseError { offset, message: first.map_or_else(|| errors.to_string(), |e| e.msg.clone()) }
    })?;
    let mut expression = program.expression().clone();
    if nested_macros(&expression) > MAX_NESTED_MACROS {
        return refuse(format!("macros are nested more than {MAX_NESTED_MACROS} deep"));
    }
    let mut names: Vec<String> = expression.references().variables().into_iter().map(str::to_owned).collect();
    names.sort();
    let mut parts = Vec::new();
    collect_parts(&expression, &mut parts);
    rewrite(&mut expression);
    Ok(Parsed { expression, names, parts })
}

/// The byte at line and column, both from 1.
fn offset_of(text: &str, (line, column): (isize, isize)) -> usize {
    let lines = text.split_inclusive('\n');
    let line = usize::try_from(line - 1).unwrap_or(0);
    let before: usize = lines.take(line).map(str::len).sum();
    (before + usize::try_from(column - 1).unwrap_or(0)).min(text.len())
}

impl Clause {
    pub fn new(text: &str) -> Clause {
        Clause { text: text.to_owned(), parsed: parse(text) }
    }

    /// `Err` says why the clause does not hold, with the values that it saw.
    pub fn evaluate<'a>(
        &self,
        language: &Language,
        known: &dyn Fn(&str) -> Option<Known<'a>>,
    ) -> Result<(), String> {
        let parsed =
            self.parsed.as_ref().map_err(|e| format!("`{}` does not parse: {}", self.text, e.message))?;
        let mut context = Context::with_env(language.0.clone());
        let added = context.add_function(SAME, same).and_then(|()| context.add_function(ONE_OF, one_of));
        added.map_err(|e| e.to_string())?;
        for name in &parsed.names {
            context.add_variable_from_value(name.as_str(), known(name).map_or(Value::Null, |k| describe(&k)));
        }
        let seen = || {
            let show = |(text, part): &(String, IdedExpr)| {
                let value = context.resolve(part).ok()?;
                Some(format!("{text} = {}", show(&value)))
            };
            let seen: Vec<String> = parsed.parts.iter().filter_map(show).collect();
            if seen.is_empty() { String::new() } else { format!(" ({})", seen.join(", ")) }
        };
        match context.resolve(&parsed.expression) {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(Value::Bool(false)) => Err(format!("`{}` is false{}", self.text, seen())),
            Ok(other) => Err(format!("`{}` is {}, neither true nor false", self.text, show(&other))),
            Err(error) => Err(format!("`{}` cannot be evaluated: {}{}", self.text, explain(&error), seen())),
        }
    }
}

fn explain(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("`{key}` is not known"),
        ExecutionError::FunctionError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

// ---- expressions

/// The expressions directly inside.
fn children(expr: &mut Expr) -> Vec<&mut IdedExpr> {
    match expr {
        Expr::Call(call) => call.target.as_deref_mut().into_iter().chain(&mut call.args).collect(),
        Expr::Comprehension(c) => {
            let c = &mut **c;
            vec![&mut c.iter_range, &mut c.accu_init, &mut c.loop_cond, &mut c.loop_step, &mut c.result]
        }
        Expr::List(list) => list.elements.iter_mut().collect(),
        Expr::Select(select) => vec![&mut select.operand],
        Expr::Map(map) => map.entries.iter_mut().flat_map(|e| entry(&mut e.expr)).collect(),
        Expr::Struct(s) => s.entries.iter_mut().flat_map(|e| entry(&mut e.expr)).collect(),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

fn entry(entry: &mut EntryExpr) -> Vec<&mut IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&mut field.value],
        EntryExpr::MapEntry(entry) => vec![&mut entry.key, &mut entry.value],
    }
}

/// Puts our own equality in the place of CEL's. The parser has limited how deep expressions nest.
fn rewrite(expr: &mut IdedExpr) {
    if let Expr::Call(call) = &mut expr.expr
        && call.args.len() == 2
    {
        let plain = call.args.iter().any(|a| matches!(a.expr, Expr::Literal(LiteralValue::Null)))
            || call.args.iter().all(|a| matches!(a.expr, Expr::Ident(_)));
        match call.func_name.as_str() {
            operators::EQUALS if !plain => call.func_name = SAME.to_owned(),
            operators::IN => call.func_name = ONE_OF.to_owned(),
            operators::NOT_EQUALS if !plain => {
                let equal = cel::common::ast::CallExpr {
                    func_name: SAME.to_owned(),
                    target: None,
                    args: std::mem::take(&mut call.args),
                };
                call.func_name = operators::LOGICAL_NOT.to_owned();
                call.args = vec![IdedExpr { id: expr.id, expr: Expr::Call(equal) }];
            }
            _ => {}
        }
    }
    children(&mut expr.expr).into_iter().for_each(rewrite);
}

fn nested_macros(expr: &IdedExpr) -> usize {
    let mut expr = expr.clone();
    depth(&mut expr)
}

fn depth(expr: &mut IdedExpr) -> usize {
    let own = usize::from(matches!(expr.expr, Expr::Comprehension(_)));
    own + children(&mut expr.expr).into_iter().map(depth).max().unwrap_or(0)
}

/// The paths that an expression reads (`w.shape[2]`), as large as they get.
fn collect_parts(expr: &IdedExpr, parts: &mut Vec<(String, IdedExpr)>) {
    if let Some(text) = path_text(expr) {
        if !parts.iter().any(|(t, _)| *t == text) && !matches!(expr.expr, Expr::Ident(_)) {
            parts.push((text, expr.clone()));
        }
        return;
    }
    // What a macro reads depends on its variable; only what it runs over is a path of its own.
    if let Expr::Comprehension(c) = &expr.expr {
        return collect_parts(&c.iter_range, parts);
    }
    let mut expr = expr.clone();
    children(&mut expr.expr).into_iter().for_each(|child| collect_parts(child, parts));
}

fn path_text(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", path_text(&select.operand)?, select.field))
        }
        Expr::Call(call) if call.func_name == operators::INDEX && call.args.len() == 2 => {
            let Expr::Literal(LiteralValue::Int(index)) = &call.args[1].expr else { return None };
            Some(format!("{}[{}]", path_text(&call.args[0])?, index.inner()))
        }
        Expr::Call(call) if call.func_name == "size" && call.args.is_empty() => {
            Some(format!("{}.size()", path_text(call.target.as_deref()?)?))
        }
        _ => None,
    }
}

// ---- equality

fn same(a: Value, b: Value) -> Result<bool, ExecutionError> {
    equal(&a, &b)
}

fn one_of(a: Value, b: Value) -> Result<bool, ExecutionError> {
    match &b {
        Value::List(items) => Ok(items.iter().any(|item| equal(&a, item).unwrap_or(false))),
        Value::Map(map) => {
            Ok(matches!(&a, Value::String(key) if map.map.contains_key(&Key::String(key.clone()))))
        }
        other => Err(ExecutionError::function_error("in", format!("{} is not a list", show(other)))),
    }
}

fn equal(a: &Value, b: &Value) -> Result<bool, ExecutionError> {
    Ok(match (a, b) {
        (Value::Null, Value::Null) => {
            return Err(ExecutionError::function_error("==", "neither side is known"));
        }
        (Value::List(a), Value::List(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            // A known difference decides, whatever else is unknown.
            let mut unknown = None;
            for (a, b) in a.iter().zip(b.iter()) {
                match equal(a, b) {
                    Ok(true) => {}
                    Ok(false) => return Ok(false),
                    Err(error) => unknown = Some(error),
                }
            }
            return unknown.map_or(Ok(true), Err);
        }
        (Value::Int(i), Value::Float(x)) | (Value::Float(x), Value::Int(i)) => int_is_float(*i, *x),
        (Value::UInt(i), Value::Float(x)) | (Value::Float(x), Value::UInt(i)) => {
            i64::try_from(*i).is_ok_and(|i| int_is_float(i, *x))
        }
        (Value::Int(i), Value::UInt(u)) | (Value::UInt(u), Value::Int(i)) => u64::try_from(*i) == Ok(*u),
        (a, b) => a == b,
    })
}

/// Exact: no rounding of large whole numbers.
fn int_is_float(i: i64, x: f64) -> bool {
    x.fract() == 0.0 && x >= i64::MIN as f64 && x < i64::MAX as f64 && x as i64 == i
}

// ---- values

fn describe(known: &Known<'_>) -> Value {
    let mut map: HashMap<Key, Value> = HashMap::new();
    let mut put = |name: &str, value: Value| drop(map.insert(Key::from(name), value));
    if let Some(dtype) = known.ty.and_then(Type::dtype) {
        put("dtype", dtype.name().into());
    }
    if let Some(shape) = known.ty.and_then(Type::shape) {
        put("rank", Value::Int(shape.len() as i64));
        put("shape", shape.iter().map(dim).collect::<Vec<_>>().into());
    }
    put("is_const", Value::Bool(known.constant.is_some()));
    let attrs: HashMap<Key, Value> =
        known.attrs.iter().map(|(name, attr)| (Key::from(name.as_str()), attribute(attr))).collect();
    put("attr", Value::Map(Map { map: Arc::new(attrs) }));
    put("opset", known.opset.map_or(Value::Null, Value::Int));
    if let Some(content) = known.constant.and_then(content) {
        put("value", content.into());
    }
    Value::Map(Map { map: Arc::new(map) })
}

fn dim(dim: &Dim) -> Value {
    match dim {
        Dim::Static(n) => Value::Int(*n),
        Dim::Symbolic(expr) => expr.to_string().into(),
        Dim::Unknown => Value::Null,
    }
}

/// The shortest decimal that is this number as `f32`.
fn float(x: f32) -> Value {
    Value::Float(x.to_string().parse().unwrap_or(f64::from(x)))
}

fn text(bytes: &[u8]) -> Value {
    String::from_utf8_lossy(bytes).into_owned().into()
}

fn attribute(attr: &Attr) -> Value {
    match attr {
        Attr::Int(i) => Value::Int(*i),
        Attr::Float(x) => float(*x),
        Attr::Str(s) => text(s),
        Attr::Ints(v) => v.iter().map(|i| Value::Int(*i)).collect::<Vec<_>>().into(),
        Attr::Floats(v) => v.iter().map(|x| float(*x)).collect::<Vec<_>>().into(),
        Attr::Strs(v) => v.iter().map(|s| text(s)).collect::<Vec<_>>().into(),
        Attr::Tensor(tensor) => content(tensor).map_or(Value::Null, Value::from),
        _ => Value::Null,
    }
}

fn content(tensor: &Tensor) -> Option<Vec<Value>> {
    if tensor.len() > MAX_VALUE {
        return None;
    }
    if let Some(strings) = tensor.strings() {
        return Some(strings.iter().map(|s| text(s)).collect());
    }
    match tensor.dtype() {
        DType::Bool => Some(tensor.bytes().iter().map(|b| Value::Bool(*b != 0)).collect()),
        DType::U64 => Some(tensor.as_slice::<u64>().ok()?.iter().map(|u| Value::UInt(*u)).collect()),
        DType::F32 => Some(tensor.as_slice::<f32>().ok()?.iter().map(|x| float(*x)).collect()),
        dtype if dtype.is_integer() => Some(tensor.to_i64s()?.into_iter().map(Value::Int).collect()),
        _ => Some(tensor.to_f64s()?.into_iter().map(Value::Float).collect()),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "unknown".to_owned(),
        Value::Int(i) => i.to_string(),
        Value::UInt(u) => u.to_string(),
        Value::Float(x) => x.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::String(s) => format!("'{s}'"),
        Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Map(_) => "a map".to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, ty: &Type) -> Result<(), String> {
        let known = |name: &str| {
            let attrs = vec![("alpha".to_owned(), Attr::Float(0.1)), ("group".to_owned(), Attr::Int(1))];
            (name == "x").then(|| Known { ty: Some(ty), constant: None, attrs, opset: Some(17) })
        };
        Clause::new(text).evaluate(&Language::default(), &known)
    }

    fn some_type() -> Type {
        Type::tensor(DType::F32, [Dim::Static(2), Dim::symbol("n"), Dim::Unknown])
    }

    #[test]
    fn what_is_known_can_be_asked_for() {
        for text in [
            "x.dtype == 'float32'",
            "x.rank == 3",
            "x.shape[0] == 2.0",
            "x.shape[0] < 2.5",
            "x.shape[1] == 'n'",
            "x.shape[2] == null",
            "x.attr.alpha == 0.1",
            "x.opset == 17",
            "x.dtype in ['float16', 'float32']",
            "2.0 in x.shape",
            "b == null",
            "x.attr.group == 1 && x.shape.exists(d, d == 2)",
            "x.shape != [2, 'm', 1]",
        ] {
            assert_eq!(holds(text, &some_type()), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_fails() {
        let unranked = Type::Tensor(byoc_graph::TensorType { dtype: Some(DType::F32), shape: None });
        let error = holds("x.rank != 4", &unranked).unwrap_err();
        assert!(error.contains("`rank` is not known"), "{error}");
        for text in
            ["x.shape[2] == x.shape[2]", "x.shape[2] != x.shape[2]", "x.shape[1] < 5", "x.value[0] == 1"]
        {
            let error = holds(text, &some_type()).unwrap_err();
            assert!(error.contains("cannot be evaluated"), "{text}: {error}");
        }
    }

    #[test]
    fn a_failure_shows_what_it_saw() {
        let error = holds("x.attr.group == 4 || x.shape[0] > 3", &some_type()).unwrap_err();
        assert_eq!(
            error,
            "`x.attr.group == 4 || x.shape[0] > 3` is false (x.attr.group = 1, x.shape[0] = 2)"
        );
    }

    #[test]
    fn what_does_not_parse_or_runs_long_is_refused() {
        assert!(check("x.rank ==").is_err());
        assert!(check(&"(".repeat(2000)).is_err());
        let nested = "x.shape.all(a, x.shape.all(b, x.shape.all(c, a == b && b == c)))";
        assert!(check(nested).unwrap_err().message.contains("nested"));
    }
}
