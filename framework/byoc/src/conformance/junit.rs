//! Results as the XML that continuous integration reads.

use std::fmt::Write;

use super::{Outcome, Results, TestResult};

pub(super) fn write(results: &Results) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let total = results.tests.len();
    let (failed, skipped, seconds) = (results.failed, results.skipped, results.seconds);
    let counts =
        format!("tests=\"{total}\" failures=\"{failed}\" skipped=\"{skipped}\" time=\"{seconds:.3}\"");
    let _ = writeln!(xml, "<testsuites {counts}>\n<testsuite name=\"conformance\" {counts}>");
    results.tests.iter().for_each(|test| write_case(&mut xml, test));
    xml += "</testsuite>\n</testsuites>\n";
    xml
}

fn write_case(xml: &mut String, test: &TestResult) {
    let (kind, name, seconds) = (escape(&test.kind), escape(&test.name), test.ms / 1e3);
    let _ = write!(xml, "<testcase classname=\"{kind}\" name=\"{name}\" time=\"{seconds:.3}\"");
    let _ = match &test.outcome {
        Outcome::Passed => writeln!(xml, "/>"),
        Outcome::Failed { reason } => {
            writeln!(xml, "><failure message=\"{}\"/></testcase>", escape(reason))
        }
        Outcome::Skipped { reason } => {
            writeln!(xml, "><skipped message=\"{}\"/></testcase>", escape(reason))
        }
    };
}

/// Text as an attribute's value; what XML has no character for becomes a question mark.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\t' | '\n' | '\r' => out.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn reasons_are_escaped() {
        let test = TestResult {
            kind: "node".into(),
            name: "a".into(),
            outcome: Outcome::Failed { reason: "1 < 2 & \"x\"\n\u{1}".into() },
            offloaded: 0,
            nodes: 1,
            ms: 1500.0,
            peak_rss_mb: None,
        };
        let xml = write(&Results::new(vec![test], Duration::from_secs(2)));
        assert!(xml.contains("<failure message=\"1 &lt; 2 &amp; &quot;x&quot; ?\"/>"), "{xml}");
        assert!(xml.contains("time=\"1.500\""), "{xml}");
    }
}
