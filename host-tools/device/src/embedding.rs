//! Fingerprints of a model's embeddings, computed on an emulated CPU: equal ones mean equal bits.
//!
//! The programs are those of [`count()`](crate::count()); they get photographs as pixels, and resize and normalise them there.

use crate::cpu::{Cpu, Folder, build_guest, counter_available, run_guest, start_failed};
use crate::{DeviceError, RgbRows};

/// The fingerprints by one kernel set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprints {
    /// Name of the kernel set.
    pub kernels: String,
    /// [`fingerprint`] of the embedding of each picture.
    pub pictures: Vec<u64>,
}

/// The 64-bit FNV-1a hash of an embedding's bytes.
pub fn fingerprint(embedding: &[i8]) -> u64 {
    hash(embedding.iter().map(|&value| value as u8))
}

/// The 64-bit FNV-1a hash of what a layer wrote.
pub fn layer_fingerprint(output: &[u8]) -> u64 {
    hash(output.iter().copied())
}

fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// Embeds `pictures` by `model` on `cpu`, with each of the kernel sets of these names.
///
/// # Errors
/// [`DeviceError::Missing`], [`DeviceError::Build`], [`DeviceError::Start`], and [`DeviceError::Guest`] with what the program
/// says when it does not take the model, a picture or a kernel set, or when its kernel sets are not [`Cpu::kernel_sets`].
pub fn fingerprints(
    cpu: &Cpu,
    model: &[u8],
    kernels: &[&str],
    pictures: &[RgbRows<'_>],
) -> Result<Vec<Fingerprints>, DeviceError> {
    let text = on_pictures(cpu, "embed", model, &kernels.join(","), pictures)?;
    let (sets, found) = parse(&text)
        .filter(|(_, found)| {
            let names = found.iter().map(|set| set.kernels.as_str());
            names.eq(kernels.iter().copied())
                && found.iter().all(|set| set.pictures.len() == pictures.len())
        })
        .ok_or_else(|| DeviceError::Guest(format!("unexpected words: {text}")))?;
    if sets != cpu.kernel_sets {
        let (found, expected) = (sets.join(", "), cpu.kernel_sets.join(", "));
        let reason = format!(
            "{} has the kernel sets {found}, expected {expected}",
            cpu.name
        );
        return Err(DeviceError::Guest(reason));
    }
    Ok(found)
}

/// Runs `model` on `cpu` with a kernel set: by picture, the [`layer_fingerprint`] of each of its `ops` operators.
///
/// # Errors
/// As [`fingerprints`].
pub fn layer_fingerprints(
    cpu: &Cpu,
    model: &[u8],
    ops: usize,
    kernels: &str,
    pictures: &[RgbRows<'_>],
) -> Result<Vec<Vec<u64>>, DeviceError> {
    let text = on_pictures(cpu, "layers", model, kernels, pictures)?;
    let hashes = |line: &str| -> Option<Vec<u64>> {
        let words = line.split(' ');
        words
            .map(|word| u64::from_str_radix(word, 16).ok())
            .collect()
    };
    let found: Option<Vec<Vec<u64>>> = text.lines().map(hashes).collect();
    found
        .filter(|found| {
            found.len() == pictures.len() && found.iter().all(|layers| layers.len() == ops)
        })
        .ok_or_else(|| DeviceError::Guest(format!("unexpected words: {text}")))
}

/// Has the program of an emulated CPU do `order` with a model and pictures; returns its words.
fn on_pictures(
    cpu: &Cpu,
    order: &str,
    model: &[u8],
    kernels: &str,
    pictures: &[RgbRows<'_>],
) -> Result<String, DeviceError> {
    counter_available(cpu)?;
    let guest = build_guest(cpu)?;
    let unwritten = |error: std::io::Error| start_failed(cpu, error.to_string());
    let folder = Folder::new().map_err(unwritten)?;
    let model = folder.write("model.phm", model).map_err(unwritten)?;
    let mut arguments = vec![order.to_string(), model, kernels.to_string()];
    for (index, picture) in pictures.iter().enumerate() {
        let path = folder.write(&format!("{index}.ppm"), &pixmap(picture));
        arguments.push(path.map_err(unwritten)?);
    }
    run_guest(cpu, &guest, None, &arguments)
}

/// The picture as a binary portable pixmap.
fn pixmap(picture: &RgbRows<'_>) -> Vec<u8> {
    let mut bytes = format!("P6\n{} {}\n255\n", picture.width, picture.height).into_bytes();
    bytes.extend_from_slice(picture.bytes);
    bytes
}

/// Reads the kernel sets that there are, and a line for each that ran.
fn parse(text: &str) -> Option<(Vec<&str>, Vec<Fingerprints>)> {
    let mut lines = text.lines();
    let sets = lines.next()?.strip_prefix("sets ")?.split(' ').collect();
    let found = lines.map(|line| {
        let mut words = line.split(' ');
        Some(Fingerprints {
            kernels: words.next()?.into(),
            pictures: words
                .map(|word| u64::from_str_radix(word, 16).ok())
                .collect::<Option<_>>()?,
        })
    });
    Some((sets, found.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_by_set() {
        let text = "sets scalar aarch64-neon\nscalar 0a ff\naarch64-neon 0a 1\n";
        let (sets, found) = parse(text).expect("lines");
        assert_eq!(sets, ["scalar", "aarch64-neon"]);
        assert_eq!((found.len(), &found[1].kernels[..]), (2, "aarch64-neon"));
        assert_eq!(found[1].pictures, [10, 1]);
        assert_eq!(parse("scalar 0a\n"), None);
        assert_eq!(parse("sets scalar\nscalar cat\n"), None);
    }

    #[test]
    fn a_fingerprint_is_the_hash_of_the_bytes() {
        // Test vectors of the FNV authors: of nothing, of "a".
        assert_eq!(fingerprint(&[]), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fingerprint(&[b'a' as i8]), 0xAF63_DC4C_8601_EC8C);
    }
}
