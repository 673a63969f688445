//! The `pinhole` command: one file per verb under `verb/`, each an `Args` and a `run`.
//!
//! Exit codes: 0 done, 1 a check failed, 2 could not run. Every error is a message and, where there is one, the next thing
//! to type. `--json` prints results for programs on standard output; progress and errors go to standard error.

mod bank;
mod encoder;
mod failure;
mod files;
mod graph_file;
#[cfg(feature = "hub")]
mod hub;
mod interrupt;
mod keys;
mod output;
mod pictures;
mod progress;
mod texts;
mod verb;
mod vocabulary;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pinhole_ranks::{Ranks, refuse_several};

use crate::failure::{Failure, Outcome};

/// Zero-shot vision for camera boards: a sentence instead of a training set.
#[derive(Parser)]
#[command(
    name = "pinhole",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
Examples:
  pinhole demo
  pinhole classify --model models/lite0/image.phm --bank models/lite0/bank.phc \\
    photo.jpg
  pinhole classify --model models/lite0/image.phm --classes \"cat,dog\" photo.jpg
  pinhole convert efficientnet-lite0.pth --calibrate photos/ --out image.phm

Exit codes: 0 done, 1 a check failed, 2 could not run or was interrupted."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Demo(verb::demo::Args),
    Classify(verb::classify::Args),
    Embed(verb::embed::Args),
    Eval(verb::eval::Args),
    Import(verb::import::Args),
    Quantize(verb::quantize::Args),
    Pack(verb::pack::Args),
    Convert(Box<verb::convert::Args>),
    Export(verb::export::Args),
    Inspect(verb::inspect::Args),
    Diff(verb::diff::Args),
    Bench(verb::bench::Args),
    Board(verb::board::Args),
    Monitor(verb::monitor::Args),
    Flash(verb::flash::Args),
    Classes(verb::classes::Args),
    Data(verb::data::Args),
    #[cfg(feature = "train")]
    Features(verb::features::Args),
    #[cfg(feature = "train")]
    Train(verb::train::Args),
    Keygen(verb::keygen::Args),
    Sign(verb::sign::Args),
    Doctor(verb::doctor::Args),
}

impl Verb {
    /// Whether processes that `mpirun` starts share its work.
    fn is_shared(&self) -> bool {
        match self {
            Self::Eval(_) => true,
            #[cfg(feature = "train")]
            Self::Features(_) | Self::Train(_) => true,
            _ => false,
        }
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("PINHOLE_LOG"))
        .with_writer(std::io::stderr)
        .init();
    report_plainly();
    interrupt::install();
    match run(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.code();
            output::last_words(format_args!("{:?}", miette::Report::new(failure)));
            ExitCode::from(code)
        }
    }
}

/// Runs a verb.
fn run(verb: Verb) -> Outcome {
    if !verb.is_shared() {
        refuse_several(
            "pinhole train, features and eval share their work between processes, every other verb runs in one",
        )
        .map_err(|error| Failure::new(error).help("start it without mpirun"))?;
    }
    match verb {
        Verb::Demo(args) => verb::demo::run(args),
        Verb::Classify(args) => verb::classify::run(args),
        Verb::Embed(args) => verb::embed::run(args),
        Verb::Eval(args) => shared(|ranks| verb::eval::run(args, ranks)),
        Verb::Import(args) => verb::import::run(args),
        Verb::Quantize(args) => verb::quantize::run(args),
        Verb::Pack(args) => verb::pack::run(args),
        Verb::Convert(args) => verb::convert::run(*args),
        Verb::Export(args) => verb::export::run(args),
        Verb::Inspect(args) => verb::inspect::run(args),
        Verb::Diff(args) => verb::diff::run(args),
        Verb::Bench(args) => verb::bench::run(args),
        Verb::Board(args) => verb::board::run(args),
        Verb::Monitor(args) => verb::monitor::run(&args),
        Verb::Flash(args) => verb::flash::run(args),
        Verb::Classes(args) => verb::classes::run(args),
        Verb::Data(args) => verb::data::run(args),
        #[cfg(feature = "train")]
        Verb::Features(args) => shared(|ranks| verb::features::run(args, ranks)),
        // The trainer joins the others itself.
        #[cfg(feature = "train")]
        Verb::Train(args) => verb::train::run(args),
        Verb::Keygen(args) => verb::keygen::run(args),
        Verb::Sign(args) => verb::sign::run(args),
        Verb::Doctor(args) => verb::doctor::run(args),
    }
}

/// Runs a verb whose work several processes share; the first of them speaks for all.
fn shared(run: impl FnOnce(&Ranks) -> Outcome) -> Outcome {
    let ranks = Ranks::of_process()?;
    if !ranks.is_first() {
        output::mute();
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    ranks.same(
        "arguments",
        &files::sha256(format!("{arguments:?}").as_bytes()),
    )?;
    run(&ranks)?;
    ranks.finish();
    Ok(())
}

/// Messages hold paths and commands: they are copied and searched for, so that no line of them is broken.
fn report_plainly() {
    let options = miette::MietteHandlerOpts::new().wrap_lines(false);
    // An error means that a hook is set already, which then serves.
    let _ = miette::set_hook(Box::new(move |_| Box::new(options.clone().build())));
}
