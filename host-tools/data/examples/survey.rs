//! Reads a whole data set and counts it: `cargo run --release -p pinhole-data --example survey -- SPEC|PICTURE…`.

use std::process::ExitCode;
use std::time::Instant;

use pinhole_data::cifar10::CLASSNAMES;
use pinhole_data::stamps::distinct_captions;
use pinhole_data::{Cifar10, DataError, DataSpec, ImageFolder, Split, Stamps, Table, load_picture};

fn survey(text: &str) -> Result<String, DataError> {
    if std::path::Path::new(text).exists() {
        let picture = load_picture(text)?;
        return Ok(format!("{} x {} pixels", picture.width(), picture.height()));
    }
    match DataSpec::parse(text)? {
        DataSpec::Cifar10(dir) => {
            let test = Cifar10::open(&dir, Split::Test)?;
            let train = Cifar10::open(&dir, Split::Train)?;
            let mut counts = [0; CLASSNAMES.len()];
            (0..test.len())
                .filter_map(|i| test.label(i))
                .for_each(|label| counts[label] += 1);
            Ok(format!(
                "{} test pictures, by class {counts:?}, {} train pictures",
                test.len(),
                train.len()
            ))
        }
        DataSpec::ImageFolder(dir) => {
            let folder = ImageFolder::open(&dir)?;
            let (skipped, broken) = (folder.skipped.len(), folder.broken.len());
            Ok(format!(
                "{} pictures, {} classes, {skipped} skipped, {broken} broken",
                folder.len(),
                folder.classnames.len()
            ))
        }
        DataSpec::Csv(file) => {
            let table = Table::open(&file)?;
            let captions: usize = table
                .pictures
                .iter()
                .map(|picture| picture.captions.len())
                .sum();
            Ok(format!(
                "{} pictures, {} classes, {captions} captions",
                table.pictures.len(),
                table.classnames.len()
            ))
        }
        DataSpec::Stamps(dir) => {
            let stamps = Stamps::open(&dir)?;
            for stamp in &stamps.stamps {
                load_picture(&stamp.path)?;
            }
            let single = stamps.single_objects();
            Ok(format!(
                "{} stamps, {} distinct captions, {} skipped; sentences of one object: {} stamps, {} distinct captions, \
                 {} of the stamps not cartoons",
                stamps.stamps.len(),
                distinct_captions(&stamps.stamps).len(),
                stamps.skipped.len(),
                single.len(),
                distinct_captions(single.iter().copied()).len(),
                single.iter().filter(|stamp| !stamp.is_cartoon).count(),
            ))
        }
    }
}

fn main() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for text in std::env::args().skip(1) {
        let start = Instant::now();
        match survey(&text) {
            Ok(line) => println!("{text}: {line} ({:.2} s)", start.elapsed().as_secs_f32()),
            Err(error) => {
                eprintln!("error: {error}");
                code = ExitCode::from(2);
            }
        }
    }
    code
}
