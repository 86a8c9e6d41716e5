//! The results as one page that asks nothing of any network.

use std::fmt::Write;

use super::{Check, Results, Verdict};
use crate::simple_page::{self, escape};

pub(super) fn page(results: &Results) -> String {
    let mut body = String::new();
    let _ = write!(body, "<h1>{}</h1>", escape(&results.plugin));
    let _ = write!(body, "<p>{} in {:.1} s, seed {}</p>", results, results.seconds, results.seed);
    // What is wrong comes first.
    let (bad, good): (Vec<_>, Vec<_>) = results.checks.iter().partition(|c| c.verdict.is_bad());
    let row = |check: &Check| {
        let repeat = check.repeat.as_ref().map_or(String::new(), |r| format!("<pre>{}</pre>", escape(r)));
        let class = if check.verdict == Verdict::Pass { "pass" } else { check.verdict.word() };
        let seen = format!("{}{repeat}", escape(&check.detail));
        let cells = [check.verdict.word().into(), escape(&check.group), escape(&check.name), seen];
        (class.to_owned(), cells.into_iter().chain([format!("{:.0}", check.ms)]).collect())
    };
    let heading = ["verdict", "group", "check", "what was seen", "ms"];
    body += &simple_page::marked_table(&heading, bad.into_iter().chain(good).map(row));
    simple_page::page(&escape(&results.plugin), &body)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
