//! What the framework knows of operators, for checking pattern tables.

use byoc_graph::schema;
use byoc_plugin::table::{OperatorLookup, TableChecks, WhereError};

/// Checks tables against the operator schemas.
pub struct Checks;

impl TableChecks for Checks {
    fn operator(&self, domain: &str, name: &str, opset: Option<i64>) -> OperatorLookup {
        if schema::latest(domain).is_none() {
            return OperatorLookup::UnknownDomain;
        }
        let known = schema::versions(domain, name);
        let known: Vec<_> = match opset {
            Some(opset) => schema::lookup(domain, name, opset).into_iter().collect(),
            None => known.iter().collect(),
        };
        if known.is_empty() {
            let of_domain = schema::all().filter(|s| s.domain == schema::canonical_domain(domain));
            let mut similar: Vec<String> = of_domain.map(|s| s.name.to_owned()).collect();
            similar.dedup();
            return OperatorLookup::Unknown { similar };
        }
        let names = known.iter().flat_map(|s| s.attributes).map(|a| a.name.to_owned());
        OperatorLookup::Known { attributes: names.collect() }
    }

    fn parse_where(&self, text: &str) -> Result<(), WhereError> {
        byoc_partitioner::where_clause::check(text)
            .map_err(|e| WhereError { offset: e.offset, message: e.message })
    }
}
