//! `pinhole classes`: the classes that a board knows, changed over its line.

use std::path::PathBuf;

use pinhole_device::Which;
use pinhole_ranks::Ranks;
use pinhole_runtime::bank::quantise_embedding;
use pinhole_text::classes::ClassList;

use crate::bank;
use crate::encoder::{TextEncoder, kernels};
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::output::{json, say};
use crate::verb::board::{Image, Target};
use crate::verb::classify;

/// List, add, replace and remove the classes of a board.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole classes list --flash board.bin
  pinhole classes add \"forklift\" --text-encoder models/lite0/text.phm \\
    --board qemu-an547 --flash board.bin
  pinhole classes remove \"forklift\" --flash board.bin
  pinhole classes push bank.phc --flash board.bin")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Print the class names of a board.
    #[command(after_help = "Example:\n  pinhole classes list --flash board.bin --json")]
    List(Target),
    /// Embed a class name on this computer and add it to the board's bank.
    #[command(after_help = "\
Examples:
  pinhole classes add \"forklift\" --text-encoder models/lite0/text.phm \\
    --board qemu-an547 --flash board.bin
  pinhole classes add \"forklift | a yellow forklift in a warehouse\" --replace \\
    --text-encoder models/lite0/text.phm --flash board.bin

The name is put into templates as pinhole embed does; sentences behind it
describe it. A restart of the board keeps the class.")]
    Add(Add),
    /// Take a class away.
    #[command(after_help = "Example:\n  pinhole classes remove \"forklift\" --flash board.bin")]
    Remove(Remove),
    /// Upload a whole class bank and take it into use.
    #[command(after_help = "\
Example:
  pinhole classes push bank.phc --flash board.bin

An upload that was interrupted goes on where it was.")]
    Push(Push),
}

/// `pinhole classes add`.
#[derive(clap::Args)]
struct Add {
    /// A class: its name, or its name and sentences, "cat | a small furry animal".
    #[arg(value_name = "CLASS")]
    class: String,
    /// Packed text encoder (.phm) of the board's model.
    #[arg(long, value_name = "FILE")]
    text_encoder: PathBuf,
    /// A file with one template a line, or a built-in set; templates.txt beside the text encoder when left out.
    #[arg(long, value_name = "SET")]
    templates: Option<String>,
    /// Give a class that exists this embedding.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    target: Target,
}

/// `pinhole classes remove`.
#[derive(clap::Args)]
struct Remove {
    /// Its name.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    target: Target,
}

/// `pinhole classes push`.
#[derive(clap::Args)]
struct Push {
    /// Class bank (.phc).
    #[arg(value_name = "BANK")]
    bank: PathBuf,
    #[command(flatten)]
    target: Target,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    match args.action {
        Action::List(target) => list(&target),
        Action::Add(args) => add(&args),
        Action::Remove(args) => {
            let mut board = args.target.start()?;
            board.ask(|link| link.remove_class(&args.name))?;
            args.target.done(format_args!("removed: {}", args.name))
        }
        Action::Push(args) => push(&args),
    }
}

/// A class; the order of keys is part of the output.
#[derive(serde::Serialize)]
struct Listed {
    class: String,
    added_on_board: bool,
}

fn list(target: &Target) -> Outcome {
    let found = target.start()?.ask(|link| link.classes())?;
    for (index, class) in found.names.into_iter().enumerate() {
        let added_on_board = index >= found.written;
        match (target.json, added_on_board) {
            (true, _) => json(&Listed {
                class,
                added_on_board,
            })?,
            (false, true) => say!("{class} (added on the board)"),
            (false, false) => say!("{class}"),
        }
    }
    Ok(())
}

fn add(args: &Add) -> Outcome {
    let kernels = kernels(None)?;
    let classes = ClassList::parse("CLASS", &args.class)?;
    let [class] = classes.as_slice() else {
        return Err(Failure::new(format_args!(
            "found {} classes, expected one",
            classes.as_slice().len()
        ))
        .help("add them one by one, or push a bank: pinhole classes push --help"));
    };
    if class.name().contains(',') {
        return Err(Failure::new(format_args!(
            "found a comma in the class {:?}, expected one name",
            class.name()
        ))
        .help("add classes one by one"));
    }
    let text = TextEncoder::open(&args.text_encoder, kernels)?;
    let templates = classify::templates(args.templates.as_deref(), &args.text_encoder)?;
    let embeddings = bank::class_embeddings(&text, &classes, &templates, &Ranks::alone())?;
    let embedding = embeddings.first().map(Vec::as_slice).unwrap_or_default();
    let mut quantised = vec![0; embedding.len()];
    let scale = quantise_embedding(embedding, &mut quantised).ok_or_else(|| {
        Failure::new("the class has no direction").help("describe it in other words")
    })?;
    let mut board = args.target.start()?;
    let info = board.ask(|link| link.hello())?;
    let found = text.loaded.model.header().embedding_space;
    if found != info.embedding_space {
        return Err(Failure::new(format_args!(
            "text encoder and board do not belong together: found embedding space {} in the text encoder, expected {} as on the board",
            files::hex(&found),
            files::hex(&info.embedding_space)
        ))
        .help("name the text encoder of the board's model: --text-encoder text.phm"));
    }
    let name = class.name();
    match args.replace {
        true => board.ask(|link| link.replace_class(name, scale, &quantised))?,
        false => board.ask(|link| link.add_class(name, scale, &quantised))?,
    }
    let count = board.ask(|link| link.statistics())?.classes;
    let done = if args.replace { "replaced" } else { "added" };
    args.target.done(format_args!(
        "{done}: {name}; the board knows {count} classes"
    ))
}

fn push(args: &Push) -> Outcome {
    let bank = Image::read(&args.bank)?;
    files::expect(&args.bank, bank.bytes(), files::FileKind::Bank)?;
    let mut board = args.target.start()?;
    bank.upload(&mut board)?;
    board.ask(|link| link.activate(Which::Bank))?;
    let count = board.ask(|link| link.statistics())?.classes;
    args.target.done(format_args!(
        "{} in use: {count} classes",
        args.bank.display()
    ))
}
