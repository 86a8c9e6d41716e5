//! Results as the XML that continuous integration reads.

use std::fmt::Write;

pub(crate) struct Case {
    pub class: String,
    pub name: String,
    pub seconds: f64,
    pub outcome: Outcome,
}

/// How a case ended; why, where it did not pass.
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

pub(crate) fn write(suite: &str, seconds: f64, cases: &[Case]) -> String {
    let count = |wanted: fn(&Outcome) -> bool| cases.iter().filter(|c| wanted(&c.outcome)).count();
    let (failed, skipped) =
        (count(|o| matches!(o, Outcome::Failed(_))), count(|o| matches!(o, Outcome::Skipped(_))));
    let total = cases.len();
    let counts =
        format!("tests=\"{total}\" failures=\"{failed}\" skipped=\"{skipped}\" time=\"{seconds:.3}\"");
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(xml, "<testsuites {counts}>\n<testsuite name=\"{}\" {counts}>", escape(suite));
    cases.iter().for_each(|case| write_case(&mut xml, case));
    xml += "</testsuite>\n</testsuites>\n";
    xml
}

fn write_case(xml: &mut String, case: &Case) {
    let (class, name, seconds) = (escape(&case.class), escape(&case.name), case.seconds);
    let _ = write!(xml, "<testcase classname=\"{class}\" name=\"{name}\" time=\"{seconds:.3}\"");
    let _ = match &case.outcome {
        Outcome::Passed => writeln!(xml, "/>"),
        Outcome::Failed(why) => writeln!(xml, "><failure message=\"{}\"/></testcase>", escape(why)),
        Outcome::Skipped(why) => writeln!(xml, "><skipped message=\"{}\"/></testcase>", escape(why)),
    };
}

/// Text as an attribute's value; what XML has no character for becomes a question mark.
pub(crate) fn escape(text: &str) -> String {
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

    #[test]
    fn reasons_are_escaped() {
        let outcome = Outcome::Failed("1 < 2 & \"x\"\n\u{1}".into());
        let case = Case { class: "node".into(), name: "a".into(), seconds: 1.5, outcome };
        let xml = write("suite", 2.0, &[case]);
        assert!(xml.contains("<failure message=\"1 &lt; 2 &amp; &quot;x&quot; ?\"/>"), "{xml}");
        assert!(xml.contains("failures=\"1\"") && xml.contains("time=\"1.500\""), "{xml}");
    }
}
