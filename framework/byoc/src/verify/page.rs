//! The results as one page that asks nothing of any network.

use std::fmt::Write;

use super::{Results, Verdict};
use crate::simple_page::{self, escape};

pub(super) fn page(results: &Results) -> String {
    let mut body = String::new();
    let _ = write!(body, "<h1>{}</h1>", escape(&results.plugin));
    let _ = write!(body, "<p>{} in {:.1} s, seed {}</p>", results, results.seconds, results.seed);
    body += "<table><tr><th>verdict</th><th>group</th><th>check</th><th>what was seen</th><th>ms</th></tr>";
    // What is wrong comes first.
    let (bad, good): (Vec<_>, Vec<_>) = results.checks.iter().partition(|c| c.verdict.is_bad());
    for check in bad.into_iter().chain(good) {
        let repeat = check.repeat.as_ref().map_or(String::new(), |r| format!("<pre>{}</pre>", escape(r)));
        let class = if check.verdict == Verdict::Pass { "pass" } else { check.verdict.word() };
        let _ = write!(
            body,
            "<tr class=\"{class}\"><td>{}</td><td>{}</td><td>{}</td><td>{}{repeat}</td><td>{:.0}</td></tr>",
            check.verdict.word(),
            escape(&check.group),
            escape(&check.name),
            escape(&check.detail),
            check.ms
        );
    }
    body += "</table>";
    simple_page::page(&escape(&results.plugin), &body)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::verify::Check;

    #[test]
    fn what_a_plugin_says_cannot_become_markup() {
        let check = Check {
            group: "table".into(),
            name: "<b>".into(),
            verdict: Verdict::Fail,
            detail: "</table><script>".into(),
            repeat: Some("byoc run \"x\" & y".into()),
            ms: 1.0,
        };
        let page = page(&Results::new("p".into(), 1, Duration::ZERO, vec![check]));
        assert!(!page.contains("<script") && page.contains("&lt;b&gt;"), "{page}");
        assert!(!page.contains("http"), "{page}");
    }
}
