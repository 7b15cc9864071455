//! Formats the tables as Markdown and writes them into `docs/performance.md`.

use std::{fmt::Write as _, fs, io};

use super::{
    bars::{BARS, Bar, Limit},
    entrant,
    results::{Results, Spread},
    scenario::{self, Size},
};
use crate::steps::root;

pub(crate) fn markdown(results: &Results, size: &Size) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = bars(&mut out, results);
    let _ = details(&mut out, results, size);
    out
}

fn bars(out: &mut String, results: &Results) -> std::fmt::Result {
    for line in &results.machine {
        writeln!(out, "- {line}")?;
    }
    for line in results
        .left_out
        .iter()
        .chain(results.failed.values().flatten())
    {
        writeln!(out, "- not measured: {line}")?;
    }
    let verdicts: Vec<_> = BARS.iter().map(|bar| (bar, bar.judge(results))).collect();
    let count = |is_met: bool| {
        let measured = verdicts.iter().filter_map(|(_, verdict)| verdict.as_ref());
        measured.filter(|verdict| verdict.is_met == is_met).count()
    };
    let (met, missed) = (count(true), count(false));
    let rest = BARS.len() - met - missed;
    writeln!(
        out,
        "\n{} bars: {met} met, {missed} missed, {rest} not measured.\n",
        BARS.len()
    )?;
    writeln!(out, "| scenario | figure | ours | peer | ratio | bar | |")?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- | --- |")?;
    for (bar, verdict) in verdicts {
        let what = what(bar);
        let limit = match bar.limit {
            Limit::AtLeast(limit) => format!("at least {limit}"),
            Limit::AtMost(limit) => format!("at most {limit}"),
        };
        match verdict {
            Some(verdict) => {
                let sign = if verdict.is_met { "met" } else { "**missed**" };
                writeln!(
                    out,
                    "| {what} | {} | {} | {}: {} | **{:.2}** | {limit} | {sign} |",
                    bar.figure,
                    spread(verdict.ours),
                    verdict.peer,
                    spread(verdict.theirs),
                    verdict.ratio,
                )?;
            }
            None => writeln!(
                out,
                "| {what} | {} | | {} | | {limit} | not measured |",
                bar.figure,
                bar.peers()
            )?,
        }
    }
    Ok(())
}

/// Describes a bar. The description includes details that the bar itself only implies through the
/// name of its scenario, such as the number of connections.
fn what(bar: &Bar) -> String {
    let mut what = bar.what.to_owned();
    match bar.scenario {
        "burst-1" => what += ", 1 connection",
        "burst-16" => what += ", 16 connections",
        "burst-h2-1" => what += ", 1 stream over HTTP/2",
        "burst-h2-50" => what += ", 50 streams on one HTTP/2 connection",
        _ => {}
    }
    match bar.ours {
        entrant::PLAIN => what += ", under plain `axum::serve`",
        entrant::OURS_LOG => what += ", with the topic stored by `sse-log`",
        _ => {}
    }
    what
}

fn details(out: &mut String, results: &Results, size: &Size) -> std::fmt::Result {
    const FIGURES: [&str; 16] = [
        "events/s",
        "deliveries/s",
        "cpu us/event",
        "p50 us",
        "p99 us",
        "delivered",
        "left ms",
        "KiB/stream",
        "opened/s",
        "first event p50 us",
        "first event p99 us",
        "syscalls/stream",
        "calls/s",
        super::builds::CLEAN,
        super::builds::CHECK,
        super::builds::SIZE,
    ];
    writeln!(out, "\n### All measurements\n")?;
    writeln!(
        out,
        "Medians over all turns, followed by the minimum and the maximum in brackets."
    )?;
    for scenario in scenario::all(size) {
        let name = scenario.name;
        let entrants: Vec<&str> = results.entrants(name).collect();
        let has = |figure: &&str| {
            let mut entrants = entrants.iter();
            entrants.any(|entrant| results.spread(name, entrant, figure).is_some())
        };
        let figures: Vec<&str> = FIGURES.into_iter().filter(has).collect();
        if figures.is_empty() {
            continue;
        }
        writeln!(out, "\n| {name} | {} |", figures.join(" | "))?;
        writeln!(out, "| --- |{}", " --- |".repeat(figures.len()))?;
        for entrant in entrants {
            let cells = figures.iter().map(|figure| {
                let measured = results.spread(name, entrant, figure);
                measured.map_or_else(|| "-".to_owned(), spread)
            });
            writeln!(
                out,
                "| {entrant} | {} |",
                cells.collect::<Vec<_>>().join(" | ")
            )?;
        }
    }
    Ok(())
}

fn spread(spread: Spread) -> String {
    let Spread { min, median, max } = spread;
    if min == max {
        return number(median);
    }
    format!("{} [{}, {}]", number(median), number(min), number(max))
}

/// Formats a number to about three significant digits.
pub(crate) fn number(value: f64) -> String {
    match value {
        1e6.. => format!("{:.2} M", value / 1e6),
        1e3.. => format!("{:.1} k", value / 1e3),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Replaces sections of `docs/performance.md`. Each pair consists of a section's name and the
/// section's new contents.
pub(crate) fn write_page(texts: [(&str, &str); 2]) -> io::Result<()> {
    const END: &str = "<!-- /bench -->";
    let path = root().join("docs/performance.md");
    let mut page = fs::read_to_string(&path)?;
    for (section, text) in texts {
        let begin = format!("<!-- bench: {section} -->\n");
        let parts = page
            .split_once(&begin)
            .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
        let Some((before, after)) = parts else {
            let lost = format!("{} has no `bench: {section}` section", path.display());
            return Err(io::Error::other(lost));
        };
        page = format!("{before}{begin}\n{text}\n{END}{after}");
    }
    fs::write(&path, page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_has_three_significant_digits() {
        let numbers = [0.0871, 5.73, 15.32, 431.6, 13_521.0, 11_467_200.0];
        let shown = numbers.map(number);
        assert_eq!(shown, ["0.087", "5.73", "15.3", "432", "13.5 k", "11.47 M"]);
    }
}
