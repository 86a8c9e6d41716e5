//! The TOML schema of a table: what serde reads, and what it becomes.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::ast::{Clause, CostRate, Fold, Limits, Pattern, PatternTable, VendorHeader};
use super::error::TableError;
use super::parser;
use super::source::{Source, Span};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    vendor: Vendor,
    #[serde(default)]
    pattern: Vec<RawPattern>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vendor {
    name: Spanned<String>,
    version: Option<String>,
    #[serde(default)]
    opset: BTreeMap<String, Spanned<i64>>,
    min_region_nodes: Option<Spanned<usize>>,
    max_region_nodes: Option<Spanned<usize>>,
    max_regions: Option<Spanned<usize>>,
    #[serde(default)]
    static_shapes: bool,
    #[serde(default)]
    require_compute: bool,
    #[serde(default)]
    fold: Vec<Fold>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPattern {
    name: Spanned<String>,
    #[serde(default)]
    priority: i64,
    #[serde(rename = "match")]
    match_: Spanned<String>,
    #[serde(default, rename = "where")]
    where_: Vec<Spanned<String>>,
    #[serde(default)]
    allow_taps: bool,
    cost: Option<RawCost>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCost {
    fixed_us: Option<Spanned<f64>>,
    gflops: Option<Spanned<f64>>,
    gbps: Option<Spanned<f64>>,
}

/// Reads a table; errors of TOML, of the schema and of the match language.
pub(super) fn read(source: Source) -> Result<PatternTable, TableError> {
    let file: File = toml::from_str(&source.text).map_err(|error| toml_error(&source, &error))?;
    let vendor = vendor_header(&source, file.vendor)?;
    let patterns =
        file.pattern.into_iter().map(|raw| pattern(&source, raw)).collect::<Result<Vec<_>, _>>()?;
    Ok(PatternTable { vendor, patterns, source })
}

/// serde names an unknown key and then the known ones, each in backticks: the nearest of these becomes the help.
fn toml_error(source: &Source, error: &toml::de::Error) -> TableError {
    let span = error.span().map_or(Span::at(0), Span::from);
    let message = error.message();
    let mut names = message.split('`').skip(1).step_by(2);
    match names.next() {
        Some(wrong) if message.starts_with("unknown field") => {
            source.error(span, format!("unknown key `{wrong}`")).with_suggestion(wrong, names)
        }
        _ => source.error(span, message.lines().collect::<Vec<_>>().join(", ")),
    }
}

fn vendor_header(source: &Source, vendor: Vendor) -> Result<VendorHeader, TableError> {
    printable(source, &vendor.name, "the vendor's name")?;
    let mut opset = BTreeMap::new();
    for (domain, version) in vendor.opset {
        if *version.get_ref() < 1 {
            return Err(source
                .error(span(&version), format!("opset version of domain `{domain}` must be at least 1")));
        }
        let domain = if domain == "ai.onnx" { String::new() } else { domain };
        opset.insert(domain, version.into_inner());
    }
    let default = Limits::default();
    let limits = Limits {
        min_region_nodes: at_least_one(
            source,
            "min_region_nodes",
            &vendor.min_region_nodes,
            default.min_region_nodes,
        )?,
        max_region_nodes: at_least_one(
            source,
            "max_region_nodes",
            &vendor.max_region_nodes,
            default.max_region_nodes,
        )?,
        max_regions: at_least_one(source, "max_regions", &vendor.max_regions, default.max_regions)?,
        static_shapes: vendor.static_shapes,
        require_compute: vendor.require_compute,
        fold: vendor.fold,
    };
    if limits.max_region_nodes < limits.min_region_nodes {
        let at =
            vendor.max_region_nodes.as_ref().or(vendor.min_region_nodes.as_ref()).map_or(Span::at(0), span);
        let (least, most) = (limits.min_region_nodes, limits.max_region_nodes);
        let message = format!(
            "no region can have at least {least} (min_region_nodes) and at most {most} nodes (max_region_nodes)"
        );
        return Err(source.error(at, message));
    }
    Ok(VendorHeader { name: vendor.name.into_inner(), version: vendor.version, opset, limits })
}

fn pattern(source: &Source, raw: RawPattern) -> Result<Pattern, TableError> {
    printable(source, &raw.name, "a pattern's name")?;
    let match_span = span(&raw.match_);
    let statements = parser::parse(source, match_span, raw.match_.get_ref())?;
    let where_ = raw
        .where_
        .into_iter()
        .map(|clause| Clause { span: span(&clause), text: clause.into_inner() })
        .collect();
    let cost = raw.cost.map(|cost| cost_rate(source, cost)).transpose()?;
    Ok(Pattern {
        name: raw.name.into_inner(),
        priority: raw.priority,
        statements,
        where_,
        allow_taps: raw.allow_taps,
        cost,
        span: match_span,
    })
}

fn cost_rate(source: &Source, raw: RawCost) -> Result<CostRate, TableError> {
    let figure = |name: &str, value: Option<Spanned<f64>>, least: f64| match value {
        Some(value) if !value.get_ref().is_finite() || *value.get_ref() < least => {
            Err(source.error(span(&value), format!("`{name}` must be a finite number of at least {least}")))
        }
        value => Ok(value.map(Spanned::into_inner)),
    };
    Ok(CostRate {
        fixed_us: figure("fixed_us", raw.fixed_us, 0.0)?,
        gflops: figure("gflops", raw.gflops, f64::MIN_POSITIVE)?,
        gbps: figure("gbps", raw.gbps, f64::MIN_POSITIVE)?,
    })
}

fn printable(source: &Source, text: &Spanned<String>, what: &str) -> Result<(), TableError> {
    let content = text.get_ref();
    if content.trim().is_empty() || content.chars().any(char::is_control) {
        return Err(source.error(span(text), format!("{what} must be printable text and not empty")));
    }
    Ok(())
}

fn at_least_one(
    source: &Source,
    name: &str,
    value: &Option<Spanned<usize>>,
    default: usize,
) -> Result<usize, TableError> {
    match value {
        Some(value) if *value.get_ref() == 0 => {
            Err(source.error(span(value), format!("`{name}` must be at least 1")))
        }
        value => Ok(value.as_ref().map_or(default, |value| *value.get_ref())),
    }
}

fn span<T>(value: &Spanned<T>) -> Span {
    value.span().into()
}
