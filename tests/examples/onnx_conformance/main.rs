//! Runs the operator cases of the PyPI package `onnx` (<https://onnx.ai/onnx/repo-docs/OnnxBackendTest.html>) through
//! import, the reference evaluator and, where it packs, the runtime in f32; prints a table by operator.
//!
//! `cargo run -p pinhole-tests --features onnx --example onnx_conformance -- FOLDER [OPERATOR]`, FOLDER being
//! `onnx/backend/test/data/node` of the package (1.21.0, later ones have no cases). With an operator it prints every
//! case of it. Exit code 1 when a case failed, 2 when none was found.
//!
//! A file does not say which of its inputs are weights, so a case is read in several ways: each input computed alone,
//! all float inputs computed, and none (what is computed at import). It passes when it is imported in at least one way
//! and every way that is imported gives the stored outputs; it is refused when no way is imported.

mod case;
mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use case::Case;
use pinhole_graph::import::onnx::operators;
use reading::{Failure, Outcome, Reading};

/// Where cases of several operators are counted: functions spelled out in the operators that define them.
const EXPANDED: &str = "(several operators)";

/// What became of a case.
enum Verdict {
    /// `run`: with something computed, in the runtime too, or why not.
    Passed {
        run: Result<(), String>,
    },
    Refused(String),
    Failed(String),
}

/// Counts of one operator.
#[derive(Default)]
struct Tally {
    cases: usize,
    passed: usize,
    run: usize,
    failed: usize,
    /// How many cases have each reason.
    refused: BTreeMap<String, usize>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .ok_or("usage: onnx_conformance FOLDER [OPERATOR]")?;
    let wanted = arguments.next();
    let claimed: BTreeSet<&str> = operators().into_iter().collect();
    let work = tempfile::tempdir()?;
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut opsets: BTreeMap<i64, Tally> = BTreeMap::new();
    for case in case::cases(Path::new(&folder))? {
        let names = case.operators();
        if !names.iter().all(|name| claimed.contains(name)) {
            continue;
        }
        let operator = match names.iter().collect::<Vec<_>>().as_slice() {
            [one] => (**one).to_owned(),
            _ => EXPANDED.to_owned(),
        };
        if wanted.as_ref().is_some_and(|wanted| *wanted != operator) {
            continue;
        }
        let verdict = judge(&case, work.path())?;
        report(&case, &verdict, wanted.is_some());
        opsets.entry(case.opset()).or_default().count(&verdict);
        tallies.entry(operator).or_default().count(&verdict);
    }
    let failed = print_table("Operator", &tallies, true);
    println!();
    print_table("Operator set", &opsets, false);
    Ok(match (tallies.is_empty(), failed) {
        (true, _) => ExitCode::from(2),
        (false, 0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Reads a case in every way.
fn judge(case: &Case, work: &Path) -> Result<Verdict, Box<dyn Error>> {
    let (mut refused, mut unread) = (None, None);
    let mut passed: Option<Result<(), String>> = None;
    for computed in case.ways() {
        let reading = match Reading::new(case, &computed) {
            Ok(reading) => reading,
            Err(reason) => {
                unread = unread.or(Some(reason));
                continue;
            }
        };
        match reading.outcome(work)? {
            Outcome::Matched(_) if computed.is_empty() => {
                passed = passed.or_else(|| Some(Err("computed at import alone".into())));
            }
            Outcome::Matched(run) if passed.as_ref().is_none_or(Result::is_err) => {
                passed = Some(run);
            }
            Outcome::Matched(_) => {}
            Outcome::Refused(reason) => refused = refused.or(Some(reason)),
            Outcome::Failed(Failure { what }) => {
                return Ok(Verdict::Failed(format!(
                    "inputs {computed:?} computed: {what}"
                )));
            }
        }
    }
    Ok(match (passed, refused.or(unread)) {
        (Some(run), _) => Verdict::Passed { run },
        (None, reason) => Verdict::Refused(reason.unwrap_or_else(|| "nothing to compute".into())),
    })
}

/// Failures are printed always, everything when one operator was asked for.
fn report(case: &Case, verdict: &Verdict, all: bool) {
    match verdict {
        Verdict::Failed(what) => println!("{}: FAILED: {what}", case.name),
        Verdict::Refused(reason) if all => println!("{}: refused: {reason}", case.name),
        Verdict::Passed { run: Err(reason) } if all => {
            println!("{}: passed, not in the runtime: {reason}", case.name);
        }
        Verdict::Passed { run: Ok(()) } if all => println!("{}: passed", case.name),
        _ => {}
    }
}

impl Tally {
    fn count(&mut self, verdict: &Verdict) {
        self.cases += 1;
        match verdict {
            Verdict::Passed { run } => {
                self.passed += 1;
                self.run += usize::from(run.is_ok());
            }
            Verdict::Refused(reason) => *self.refused.entry(reason.clone()).or_default() += 1,
            Verdict::Failed(_) => self.failed += 1,
        }
    }

    fn refusals(&self) -> usize {
        self.refused.values().sum()
    }
}

/// A table in Markdown, with reasons or without; the number of failures.
fn print_table(kind: &str, tallies: &BTreeMap<impl Display, Tally>, reasons: bool) -> usize {
    let last = if reasons { " Refused for |" } else { "" };
    println!("| {kind} | Cases | Passed | Of these in the runtime | Refused | Failed |{last}");
    println!(
        "|---|---|---|---|---|---|{}",
        if reasons { "---|" } else { "" }
    );
    let mut sums = [0; 5];
    for (name, tally) in tallies {
        let row = [
            tally.cases,
            tally.passed,
            tally.run,
            tally.refusals(),
            tally.failed,
        ];
        sums.iter_mut()
            .zip(row)
            .for_each(|(sum, count)| *sum += count);
        let listed: Vec<String> = tally
            .refused
            .iter()
            .map(|(reason, count)| format!("{reason} ({count})"))
            .collect();
        print_row(name, row, reasons.then(|| listed.join("; ")));
    }
    print_row(&"All", sums, reasons.then(String::new));
    sums[4]
}

fn print_row(name: &dyn Display, row: [usize; 5], reasons: Option<String>) {
    let [cases, passed, run, refused, failed] = row;
    let reasons = reasons.map_or_else(String::new, |reasons| format!(" {reasons} |"));
    println!("| {name} | {cases} | {passed} | {run} | {refused} | {failed} |{reasons}");
}
