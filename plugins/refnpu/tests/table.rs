//! The pattern table, as far as it can be checked without knowledge of operators.

use byoc_plugin::table::PatternTable;

#[test]
fn the_table_parses() {
    let table = PatternTable::parse("table.toml", include_str!("../src/table.toml"));
    let table = table.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(table.vendor.name, "refnpu");
    for pattern in &table.patterns {
        let known = byoc_refnpu::region::patterns().any(|name| name == pattern.name);
        assert!(known, "no code for pattern `{}`", pattern.name);
    }
    assert_eq!(table.patterns.len(), byoc_refnpu::region::patterns().count());
}
