use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

fn table_with(pattern: &str) -> String {
    format!("[vendor]\nname = \"acme\"\n\n[[pattern]]\nname = \"p\"\n{pattern}\n")
}

fn parse(text: &str) -> PatternTable {
    PatternTable::parse("t.toml", text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn first_statement(line: &str) -> Statement {
    parse(&table_with(&format!("match = '''{line}'''"))).patterns[0].statements[0].clone()
}

#[test]
fn errors_name_file_line_and_column() {
    let matching = |text: &str| table_with(&format!("match = \"\"\"\n{text}\n\"\"\""));
    let cases = [
        (
            table_with("match = \"y = Relu(x)\"\nprioritty = 3"),
            "t.toml:7:1: unknown key `prioritty`; did you mean `priority`?",
        ),
        (
            table_with("match = \"y = Relu(x\""),
            "t.toml:6:20: expected `,` or `)` but found the end of `match`",
        ),
        (table_with("match = \"\""), "t.toml:6:10: `match` has no statement"),
        (table_with("match = 'y = A<s = \"ü\", n = 1.2.3>(x)'"), "t.toml:6:29: `1.2.3` is not a number"),
        (table_with("match = \"y = A<s = \\\"q\\\"(x)\""), "t.toml:6:25: expected `,` or `>` but found `(`"),
        (
            matching("y = Relu(mid)\nmid = Relu(x)"),
            "t.toml:7:10: `mid` is used before the statement that binds it; write statements in the order of the data",
        ),
        (
            matching("y = Relu(y)"),
            "t.toml:7:10: `y` is used before the statement that binds it; write statements in the order of the data",
        ),
        (matching("a = Relu(x)\na = Abs(a)"), "t.toml:8:1: `a` is bound twice in pattern `p`"),
        (
            matching("a = Relu(x)\nb = Abs(z)"),
            "t.toml:8:1: this statement shares no value with the rest of the pattern that is not constant; make it a pattern of its own",
        ),
        (
            matching("a = Mul(x, w: const)\nb = Mul(z, w)"),
            "t.toml:8:1: this statement shares no value with the rest of the pattern that is not constant; make it a pattern of its own",
        ),
        (
            matching("y = Relu(in)"),
            "t.toml:7:10: `in` is a keyword of `where` expressions and cannot name a value; for example `in_`",
        ),
        (matching("y = Relu?(x)"), "t.toml:6:9: every node of pattern `p` may be absent"),
        (
            matching("y = Concat(..., x)"),
            "t.toml:7:15: expected `)`, since `...` is the last input, but found `,`",
        ),
        (
            matching("y = Relu*()"),
            "t.toml:7:5: a node that may be absent needs an input that stands for its output",
        ),
        (matching("y = _|Add(x)"), "t.toml:7:5: `_` stands for any operator and must stand alone"),
        (matching("y = A<k = 1, k = 2>(x)"), "t.toml:7:14: attribute `k` is given twice"),
        (matching("y = A<k = [1, \"a\"]>(x)"), "t.toml:7:11: a list holds either numbers or strings"),
        (
            matching("y = A<k = 99999999999999999999>(x)"),
            "t.toml:7:11: `99999999999999999999` does not fit 64 bits",
        ),
        (matching("y = A<k = \"open>(x)"), "t.toml:7:11: this string has no closing quote"),
        (matching("y = Add(a; b)"), "t.toml:7:10: unexpected character ';'"),
        (matching("y = Add(a: constant)"), "t.toml:7:12: expected `const` or `input` but found `constant`"),
        (
            "[vendor]\nname = \" \"".into(),
            "t.toml:2:8: the vendor's name must be printable text and not empty",
        ),
        ("[vendor]\nname = \"a\"\nmax_regions = 0".into(), "t.toml:3:15: `max_regions` must be at least 1"),
        (
            "[vendor]\nname = \"a\"\nmin_region_nodes = 5\nmax_region_nodes = 4".into(),
            "t.toml:4:20: no region can have at least 5 (min_region_nodes) and at most 4 nodes (max_region_nodes)",
        ),
        (
            "[vendor]\nname = \"a\"\nopset = { \"\" = 0 }".into(),
            "t.toml:3:16: opset version of domain `` must be at least 1",
        ),
        (
            table_with("match = \"y = Relu(x)\"\ncost = { gflops = 0 }"),
            "t.toml:7:19: `gflops` must be a finite number of at least",
        ),
    ];
    for (text, expected) in cases {
        let error = PatternTable::parse("t.toml", &text).expect_err(&text).to_string();
        assert!(error.starts_with(expected), "{text}\ngot:  {error}\nwant: {expected}");
    }
}

#[test]
fn toml_errors_are_placed_too() {
    for (text, line) in [
        ("[vendor]\nname = 3", 2),
        ("[vendor]\nname = \"a\"\n[[pattern]]\nname = \"p\"", 3),
        ("[vendor\n", 1),
        ("x", 1),
    ] {
        let error = PatternTable::parse("t.toml", text).expect_err(text);
        assert_eq!(error.line, line, "{error}");
    }
    let error = PatternTable::parse_bytes("t.toml", b"[vendor]\nname = \"\xff\"").unwrap_err();
    assert_eq!((error.line, error.column), (2, 9));
}

#[test]
fn a_full_table_is_read() {
    let table = parse(
        r#"
[vendor]
name = "acme-npu"
version = "1.2.0"
opset = { "ai.onnx" = 21, "com.microsoft" = 1 }
max_regions = 8
static_shapes = true
fold = ["batchnorm"]

[[pattern]]
name = "conv_bias_relu"
priority = 10
match = """
c = Conv<group = 1, pads = [0, 0], alpha = 0.5, mode = "a\\"b">(x, w: const, b?: const)
y = Relu(c) | Clip(c, ...)
"""
where = ["x.rank == 4"]
cost = { fixed_us = 5, gflops = 200.0 }
"#,
    );
    assert_eq!(table.vendor.opset, [("".to_owned(), 21), ("com.microsoft".to_owned(), 1)].into());
    let expected =
        Limits { max_regions: 8, static_shapes: true, fold: vec![Fold::BatchNorm], ..Limits::default() };
    assert_eq!(table.vendor.limits, expected);
    let pattern = &table.patterns[0];
    assert_eq!((pattern.priority, pattern.allow_taps, pattern.where_.len()), (10, false, 1));
    assert_eq!(pattern.cost, Some(CostRate { fixed_us: Some(5.0), gflops: Some(200.0), gbps: None }));
    let conv = &pattern.statements[0].alternatives[0];
    let values: Vec<&Literal> = conv.attributes.iter().map(|attribute| &attribute.value).collect();
    let text = Literal::String("a\"b".to_owned());
    assert_eq!(values, [&Literal::Int(1), &Literal::Ints(vec![0, 0]), &Literal::Float(0.5), &text]);
    assert!(conv.args[2].optional && conv.args[2].constness == Constness::Const && !conv.args[1].optional);
    let root = &pattern.statements[1];
    assert_eq!(root.alternatives.len(), 2);
    assert!(root.alternatives[1].variadic_rest);
}

#[test]
fn operators_and_arguments_have_every_form() {
    let ops = |line: &str| match &first_statement(line).alternatives[0].ops {
        OpSet::Any => vec!["_".to_owned()],
        OpSet::Names(names) => names.iter().map(|op| format!("{}:{}", op.domain, op.name)).collect(),
    };
    assert_eq!(ops("y = Add|Mul(a, b)"), [":Add", ":Mul"]);
    assert_eq!(ops("y = (Add|com.microsoft.Mul)(a, b)"), [":Add", "com.microsoft:Mul"]);
    assert_eq!(ops("y = ai.onnx.Add(a)"), [":Add"]);
    assert_eq!(ops("y = _(a)"), ["_"]);

    let call = first_statement(
        "y = Concat(Abs(a), (Add|Mul)*(b, _), Relu?(c), d?, _?: input, -x)".replace(", -x", "").as_str(),
    );
    let args = &call.alternatives[0].args;
    let nested: Vec<Option<Quantifier>> = args
        .iter()
        .map(|arg| if let ArgKind::Call(call) = &arg.kind { Some(call.quantifier) } else { None })
        .collect();
    assert_eq!(
        nested,
        [Some(Quantifier::One), Some(Quantifier::Chain), Some(Quantifier::Optional), None, None]
    );
    assert!(args[3].optional && args[4].optional && args[4].constness == Constness::Input);
    assert_eq!(args[4].kind, ArgKind::Any);

    let split = first_statement("a, _, b = Split(x)");
    assert_eq!(split.outputs, [Some("a".to_owned()), None, Some("b".to_owned())]);
    let broken_inside_brackets = first_statement("y = Concat(a,\n  b)");
    assert_eq!(broken_inside_brackets.alternatives[0].args.len(), 2);
    let literal = |text: &str| {
        first_statement(&format!("y = A<k = {text}>(x)")).alternatives[0].attributes[0].value.clone()
    };
    assert_eq!(literal("-1.5e-3"), Literal::Float(-1.5e-3));
    assert_eq!(literal("[1, -2.5]"), Literal::Floats(vec![1.0, -2.5]));
    assert_eq!(literal("-inf"), Literal::Float(f32::NEG_INFINITY));
    assert_eq!(literal("[]"), Literal::Ints(vec![]));
}

#[test]
fn statements_with_alternatives_hang_together_when_every_choice_does() {
    let table = |text: &str| PatternTable::parse("t.toml", &table_with(&format!("match = '''\n{text}\n'''")));
    assert!(table("a = A(x)\nb = B(x)\ny = C(a) | D(b)").is_ok());
    assert!(table("s = Add(x, y)\nt = Sub(x, y)\nm = Mul(s, t)").is_ok());
    assert!(table("a = A(x)\nb = B(z)\ny = C(a) | D(b)").is_err());
}

#[test]
fn a_hidden_pattern_is_refused_and_a_useful_one_is_not() {
    let two = |first: &str, second: &str| {
        let pattern = |name: &str, rest: &str| format!("[[pattern]]\nname = \"{name}\"\n{rest}\n");
        let text = format!("[vendor]\nname = \"a\"\n{}{}", pattern("p", first), pattern("q", second));
        PatternTable::parse("t.toml", &text).map_err(|error| error.message)
    };
    let relu = "match = 'y = Relu(x)'";
    let spaced = "match = 'y  =  Relu( x )'";
    let clause = format!("{relu}\nwhere = ['x.rank == 4']");
    let hidden = Err("pattern `q` is hidden by `p`, which matches all that it matches".to_owned());
    assert_eq!(two(relu, spaced).map(drop), hidden);
    assert_eq!(two(relu, &clause).map(drop), hidden);
    assert!(two(&clause, relu).is_ok());
    assert!(two(relu, &format!("{relu}\npriority = 1")).is_ok());
    assert!(two(relu, &format!("{relu}\nallow_taps = true")).is_ok());
    assert!(two(relu, "match = 'y = Abs(x)'").is_ok());
}

/// Knows `Relu` and `Conv` of ONNX, and expressions without `!`.
struct Small;

impl TableChecks for Small {
    fn operator(&self, domain: &str, name: &str, _: Option<i64>) -> OperatorLookup {
        match (domain, name) {
            ("", "Relu") => OperatorLookup::Known { attributes: vec![] },
            ("", "Conv") => OperatorLookup::Known { attributes: vec!["group".into(), "pads".into()] },
            ("", _) => OperatorLookup::Unknown { similar: vec!["Relu".into(), "Conv".into()] },
            _ => OperatorLookup::UnknownDomain,
        }
    }

    fn parse_where(&self, text: &str) -> Result<(), WhereError> {
        text.find('!').map_or(Ok(()), |offset| Err(WhereError { offset, message: "no `!` here".into() }))
    }
}

#[test]
fn operators_attributes_and_clauses_are_checked_through_the_caller() {
    let check = |pattern: &str| parse(&table_with(pattern)).check(&Small).map_err(|error| error.to_string());
    let cases = [
        (
            "match = 'y = Reluu(x)'",
            "t.toml:6:14: unknown operator `Reluu` in domain ai.onnx; did you mean `Relu`?",
        ),
        ("match = 'y = Relu(Cnov(x))'", "t.toml:6:19: unknown operator `Cnov` in domain ai.onnx"),
        ("match = 'y = Conv<grup = 1>(x)'", "t.toml:6:19: unknown attribute `grup`; did you mean `group`?"),
        (
            "match = 'y = Relu(x)'\nwhere = [\"x.rank == 4\", \"\\u0078 ! 3\"]",
            "t.toml:7:33: `where` does not parse: no `!` here",
        ),
    ];
    for (pattern, expected) in cases {
        assert_eq!(check(pattern), Err(expected.to_owned()));
    }
    assert_eq!(check("match = 'y = (Conv|Relu)<pads = [0]>(org.other.Thing<any = 1>(x))'"), Ok(()));
}

#[test]
fn bombs_end_quickly() {
    let deep = format!("y = {}x{}", "A(".repeat(300_000), ")".repeat(300_000));
    let wide = format!("y = A({})", vec!["x"; 300_000].join(", "));
    let long = (0..100_000).map(|i| format!("v{i} = A(x)\n")).collect::<String>();
    let choices = format!("y = {}(x)", vec!["A"; 400_000].join("|"));
    let attributes = (0..100_000).map(|i| format!("a{i} = 1")).collect::<Vec<_>>().join(", ");
    let start = std::time::Instant::now();
    for text in [
        deep,
        long,
        choices,
        format!("y = A<{attributes}>(x)"),
        "(".repeat(1_000_000),
        "\"".repeat(1_000_000),
    ] {
        assert!(PatternTable::parse("t.toml", &table_with(&format!("match = '''\n{text}'''"))).is_err());
    }
    parse(&table_with(&format!("match = '{wide}'")));
    assert!(PatternTable::parse("t.toml", &"[".repeat(1_000_000)).is_err());
    assert!(PatternTable::parse("t.toml", &format!("a = {}", "[".repeat(1_000_000))).is_err());
    assert!(start.elapsed().as_secs() < 10, "took {:?}", start.elapsed());
}

fn test_data() -> Option<PathBuf> {
    let path = std::env::var_os("BYOC_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "no test data at {}", path.display());
    println!("skipped: no test data at {}", path.display());
    None
}

#[test]
fn every_table_of_the_partition_cases_is_read_or_refused_as_it_says() {
    let Some(data) = test_data() else { return };
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(data.join("partition-cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    assert!(!cases.is_empty());
    for path in cases {
        let case: toml::Table = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let tables = case["tables"].as_array().unwrap().iter().map(|table| table.as_str().unwrap());
        let expect = case.get("expect").and_then(toml::Value::as_table);
        let line = expect.and_then(|expect| expect.get("error_line")).and_then(toml::Value::as_integer);
        for table in tables {
            match (PatternTable::parse("table0.toml", table), line) {
                // An unknown operator is for `TableChecks` to find.
                (Ok(table), Some(line)) => assert_eq!(table.check(&Small).unwrap_err().line as i64, line),
                (Err(error), Some(line)) => assert_eq!(error.line as i64, line, "{error}"),
                (Ok(_), None) => {}
                (Err(error), None) => panic!("{}: {error}", path.display()),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = PatternTable::parse_bytes("t.toml", &bytes);
    }

    #[test]
    fn no_match_text_makes_it_panic(text in r#"[a-cA_(),=|?*<>:.\[\]"\\ \n\r0-9eé+-]{0,60}"#) {
        let _ = PatternTable::parse("t.toml", &table_with(&format!("match = \"\"\"{text}\"\"\"")));
        let _ = PatternTable::parse("t.toml", &table_with(&format!("match = '''{text}'''")));
    }

    /// The place of an error is the place in the TOML text, whatever the string's form and escapes.
    #[test]
    fn errors_in_strings_point_into_the_file(
        before in r"[a-z\t \\é]{0,12}", multi_line in any::<bool>(), literal in any::<bool>(),
    ) {
        let escaped = if literal { before.clone() } else { before.replace('\\', "\\\\").replace('\t', "\\t") };
        let quote = match (multi_line, literal) { (true, true) => "'''\n", (true, false) => "\"\"\"\n", (false, true) => "'", (false, false) => "\"" };
        let text = format!("[vendor]\nname = 'a'\n[[pattern]]\nname = 'p'\nmatch = 'y = Relu(x)'\nwhere = [{quote}{escaped}!{}]\n", quote.trim_end());
        let error = parse(&text).check(&Small).unwrap_err();
        let at = text.find('!').unwrap();
        prop_assert_eq!((error.line, error.column), Source::new("", &text).position(at));
    }
}
