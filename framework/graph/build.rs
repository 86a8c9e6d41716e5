//! Turns the operator schemas under `schemas/` into static tables (format: `schemas/README.md`).
//!
//! A line that is not understood fails the build, with its file and number.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Element types by the number that ONNX gives them, from 1.
const ELEMENTS: [&str; 28] = [
    "float",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
    "int64",
    "string",
    "bool",
    "float16",
    "double",
    "uint32",
    "uint64",
    "complex64",
    "complex128",
    "bfloat16",
    "float8e4m3fn",
    "float8e4m3fnuz",
    "float8e5m2",
    "float8e5m2fnuz",
    "uint4",
    "int4",
    "float4e2m1",
    "float8e8m0",
    "uint2",
    "int2",
    "float6e2m3",
    "float6e3m2",
];

/// Words in the data, and the variants of `AttrKind`.
const KINDS: [(&str, &str); 13] = [
    ("float", "Float"),
    ("int", "Int"),
    ("string", "Str"),
    ("tensor", "Tensor"),
    ("graph", "Graph"),
    ("floats", "Floats"),
    ("ints", "Ints"),
    ("strings", "Strs"),
    ("tensors", "Tensors"),
    ("graphs", "Graphs"),
    ("sparse_tensor", "SparseTensor"),
    ("type_proto", "Type"),
    ("type_protos", "Types"),
];

/// Traits in the order of their bits.
const TRAITS: [&str; 5] = ["commutative", "elementwise", "compute-heavy", "random", "data-movement"];

type Parsed<T> = Result<T, String>;

#[derive(Default)]
struct Op {
    version: i64,
    flags: BTreeSet<String>,
    /// Each formal, attribute and constraint as a Rust literal.
    inputs: Vec<String>,
    outputs: Vec<String>,
    attributes: Vec<String>,
    constraints: Vec<String>,
    /// What the formals ask for, and which of that is a named constraint.
    formal_types: Vec<String>,
    constraint_names: BTreeSet<String>,
}

#[derive(Default)]
struct Domain {
    latest: i64,
    operators: BTreeMap<String, Vec<Op>>,
}

fn main() {
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("schemas");
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rerun-if-changed=build.rs");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the schemas folder is readable")
        .map(|entry| entry.expect("its entries too").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "txt") && !path.ends_with("traits.txt"))
        .collect();
    files.sort();

    let mut domains = BTreeMap::<String, Domain>::new();
    for file in &files {
        read_schemas(file, &mut domains);
    }
    let traits = read_traits(&folder.join("traits.txt"), &domains);
    let out = PathBuf::from(env::var("OUT_DIR").expect("set by cargo")).join("schemas.rs");
    fs::write(out, rust_tables(&domains, &traits)).expect("the output folder is writable");
}

fn domain_name(word: &str) -> String {
    if word == "ai.onnx" { String::new() } else { word.to_owned() }
}

fn each_line(path: &Path, mut visit: impl FnMut(&[&str], &str) -> Parsed<()>) {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Err(why) = visit(&words, line) {
            panic!("{}:{}: {why}: `{line}`", path.display(), number + 1);
        }
    }
}

fn read_schemas(path: &Path, domains: &mut BTreeMap<String, Domain>) {
    let mut domain = Domain::default();
    let mut name = None;
    let mut operator = String::new();
    each_line(path, |words, line| {
        match words {
            ["domain", word, latest] => {
                name = Some(domain_name(word));
                domain.latest = latest.parse().map_err(|_| "not a version")?;
            }
            ["op", word, version, flags @ ..] => {
                operator = (*word).to_owned();
                let version = version.parse().map_err(|_| "not a version")?;
                let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
                let op = Op { version, flags, ..Op::default() };
                domain.operators.entry(operator.clone()).or_default().push(op);
            }
            _ => {
                let op = domain.operators.get_mut(&operator).and_then(|versions| versions.last_mut());
                read_detail(op.ok_or("no operator yet")?, words, line)?;
            }
        }
        Ok(())
    });
    let name = name.unwrap_or_else(|| panic!("{}: no domain line", path.display()));
    check_types(path, &domain);
    let target = domains.entry(name).or_default();
    target.latest = target.latest.max(domain.latest);
    for (operator, versions) in domain.operators {
        target.operators.entry(operator).or_default().extend(versions);
    }
}

fn read_detail(op: &mut Op, words: &[&str], line: &str) -> Parsed<()> {
    match words {
        ["in", name, ty, rest @ ..] => op.inputs.push(formal(name, ty, rest, &mut op.formal_types)?),
        ["out", name, ty, rest @ ..] => op.outputs.push(formal(name, ty, rest, &mut op.formal_types)?),
        ["attr", name, kind, rest @ ..] => op.attributes.push(attribute(name, kind, rest, line)?),
        ["type", name, "=", types @ ..] => {
            op.constraint_names.insert((*name).to_owned());
            op.constraints.push(format!("TypeConstraint {{ name: {name:?}, types: {} }}", type_set(types)?));
        }
        _ => return Err("not understood".to_owned()),
    }
    Ok(())
}

fn formal(name: &str, ty: &str, rest: &[&str], types: &mut Vec<String>) -> Parsed<String> {
    types.push(ty.to_owned());
    let (option, homogeneous) = match rest {
        [] => ("Single".to_owned(), true),
        ["optional"] => ("Optional".to_owned(), true),
        [variadic] => (variadic_option(variadic)?, true),
        [variadic, "heterogeneous"] => (variadic_option(variadic)?, false),
        _ => return Err("not an option".to_owned()),
    };
    Ok(format!(
        "Formal {{ name: {name:?}, type_str: {ty:?}, option: FormalOption::{option}, homogeneous: {homogeneous} }}"
    ))
}

fn variadic_option(word: &str) -> Parsed<String> {
    let min = word.strip_prefix("variadic:").and_then(|min| min.parse::<usize>().ok());
    Ok(format!("Variadic {{ min: {} }}", min.ok_or("not an option")?))
}

fn attribute(name: &str, kind: &str, rest: &[&str], line: &str) -> Parsed<String> {
    let variant = KINDS.iter().find(|(word, _)| *word == kind).ok_or("not a kind of attribute")?.1;
    let required = rest.first() == Some(&"required");
    let default = match line.split_once(" = ") {
        Some((_, text)) => format!("Some({})", default_value(kind, text)?),
        None if rest.len() > usize::from(required) => return Err("not a default".to_owned()),
        None => "None".to_owned(),
    };
    Ok(format!(
        "AttrSchema {{ name: {name:?}, kind: AttrKind::{variant}, required: {required}, default: {default} }}"
    ))
}

fn default_value(kind: &str, text: &str) -> Parsed<String> {
    let items = || -> Parsed<Vec<&str>> {
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or("not an array")?;
        Ok(inner.split(", ").filter(|item| !item.is_empty()).collect())
    };
    let list = |one: fn(&str) -> Parsed<String>| -> Parsed<String> {
        Ok(items()?.into_iter().map(one).collect::<Parsed<Vec<_>>>()?.join(", "))
    };
    Ok(match kind {
        "int" => format!("AttrDefault::Int({})", int(text)?),
        "float" => format!("AttrDefault::Float({})", float(text)?),
        "string" => format!("AttrDefault::String({})", string(text)?),
        "ints" => format!("AttrDefault::Ints(&[{}])", list(int)?),
        "floats" => format!("AttrDefault::Floats(&[{}])", list(float)?),
        "strings" => format!("AttrDefault::Strings(&[{}])", list(string)?),
        _ => return Err("no default possible".to_owned()),
    })
}

fn int(text: &str) -> Parsed<String> {
    Ok(text.parse::<i64>().map_err(|_| "not an integer")?.to_string())
}

fn float(text: &str) -> Parsed<String> {
    Ok(format!("{:?}f32", text.parse::<f32>().map_err(|_| "not a number")?))
}

fn string(text: &str) -> Parsed<String> {
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).ok_or("not a string")?;
    if inner.contains(['"', '\\']) {
        Err("escapes are not read".to_owned())
    } else {
        Ok(format!("{inner:?}"))
    }
}

/// A set of types as one bit an element type for each of the common forms, and a list of the rest.
fn type_set<'a>(types: &[&'a str]) -> Parsed<String> {
    const FORMS: [(&str, &str); 4] =
        [("optional(seq(tensor(", ")))"), ("optional(tensor(", "))"), ("seq(tensor(", "))"), ("", "")];
    let mut bits = [0u64; 4];
    let mut others = Vec::<&'a str>::new();
    for &ty in types {
        let found = FORMS.iter().enumerate().find_map(|(form, (prefix, suffix))| {
            let element = ty.strip_prefix(prefix)?.strip_suffix(suffix)?;
            Some((form, ELEMENTS.iter().position(|e| *e == element)?))
        });
        match found {
            Some((form, element)) => bits[form] |= 1 << (element + 1),
            None if ty.contains("map(") || ty.starts_with("sparse_tensor(") => others.push(ty),
            None => return Err(format!("not a type: {ty}")),
        }
    }
    Ok(format!(
        "TypeSet {{ optional_sequences: {:#x}, optionals: {:#x}, sequences: {:#x}, tensors: {:#x}, others: &{others:?} }}",
        bits[0], bits[1], bits[2], bits[3]
    ))
}

/// Every formal's type is a constraint of its operator or a type.
fn check_types(path: &Path, domain: &Domain) {
    for (name, versions) in &domain.operators {
        for op in versions {
            for ty in op.formal_types.iter().filter(|ty| !op.constraint_names.contains(*ty)) {
                if let Err(why) = type_set(&[ty.as_str()]) {
                    panic!("{}: {name} {}: {why}", path.display(), op.version);
                }
            }
        }
    }
}

fn read_traits(path: &Path, domains: &BTreeMap<String, Domain>) -> BTreeMap<(String, String), u8> {
    let mut traits = BTreeMap::new();
    let mut bit = None;
    each_line(path, |words, _| {
        if let ["trait", name] = words {
            bit = Some(TRAITS.iter().position(|known| known == name).ok_or("not a trait")?);
            return Ok(());
        }
        let domain = domain_name(words[0]);
        let bit = bit.ok_or("no trait yet")?;
        for &operator in &words[1..] {
            if !domains.get(&domain).is_some_and(|d| d.operators.contains_key(operator)) {
                return Err(format!("no schema for {operator}"));
            }
            *traits.entry((domain.clone(), operator.to_owned())).or_insert(0) |= 1 << bit;
        }
        Ok(())
    });
    traits
}

fn rust_tables(domains: &BTreeMap<String, Domain>, traits: &BTreeMap<(String, String), u8>) -> String {
    let mut text = String::from("static DOMAINS: &[Domain] = &[\n");
    for (domain, Domain { latest, operators }) in domains {
        let _ = writeln!(text, "Domain {{ name: {domain:?}, latest: {latest}, operators: &[");
        for (name, versions) in operators {
            let bits = traits.get(&(domain.clone(), name.clone())).copied().unwrap_or(0);
            let _ = writeln!(text, "Operator {{ name: {name:?}, versions: &[");
            let mut newest_first: Vec<&Op> = versions.iter().collect();
            newest_first.sort_by_key(|op| std::cmp::Reverse(op.version));
            for op in newest_first {
                text.push_str(&rust_schema(domain, name, op, bits));
            }
            text.push_str("] },\n");
        }
        text.push_str("] },\n");
    }
    text.push_str("];\n");
    text
}

fn rust_schema(domain: &str, name: &str, op: &Op, traits: u8) -> String {
    for flag in &op.flags {
        assert!(
            ["deprecated", "function", "context-function"].contains(&flag.as_str()),
            "{name} {}: not a flag: {flag}",
            op.version
        );
    }
    let body = match (op.flags.contains("function"), op.flags.contains("context-function")) {
        (true, _) => "Fixed",
        (false, true) => "ContextDependent",
        (false, false) => "None",
    };
    format!(
        "OpSchema {{ domain: {domain:?}, name: {name:?}, since_version: {}, deprecated: {}, \
         function_body: FunctionBody::{body}, traits: {traits}, inputs: &[{}], outputs: &[{}], \
         attributes: &[{}], type_constraints: &[{}] }},\n",
        op.version,
        op.flags.contains("deprecated"),
        op.inputs.join(", "),
        op.outputs.join(", "),
        op.attributes.join(", "),
        op.constraints.join(", "),
    )
}
