//! What the pages of a report have in common.

use super::paint::Escaped;
use crate::findings::{Answer, Findings};
use crate::run::Run;

const STYLE: &str = include_str!("page.css");

/// The verdict as a headline.
pub(super) fn headline(findings: &Findings) -> &'static str {
    match findings.answer() {
        Answer::True if findings.checks.is_empty() => "Nothing was checked",
        Answer::True => "Everything looks good",
        Answer::False => "This should not have happened",
        Answer::Unknown => "Nobody can tell",
    }
}

/// A page in parts: what is specific to it.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    /// Markup that leads elsewhere.
    pub(super) links: &'a str,
    /// Rules beyond those of all pages.
    pub(super) style: &'a str,
    /// Markup.
    pub(super) body: &'a str,
}

/// A page with a banner that says the verdict.
pub(super) fn page(run: &Run, findings: &Findings, page: &Page<'_>) -> String {
    let Page { title, links, style, body } = page;
    let answer = findings.answer().word();
    let started = humantime::format_rfc3339_seconds(run.started);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{} {answer}: {}</title>\n<style>\n{STYLE}{style}</style>\n</head>\n<body>\n\
         <header class=\"{answer}\"><p class=\"kicker\">{} · {started} · {:.1} s</p>\n<h1>{}</h1>\n<nav>{links}</nav></header>\n\
         <main>\n{body}</main>\n</body>\n</html>\n",
        Escaped(&run.workload),
        Escaped(title),
        Escaped(&run.workload),
        run.length.as_secs_f64(),
        headline(findings),
    )
}
