//! What a model makes of pictures, from the metadata that a TFLite file may carry
//! (<https://ai.google.dev/edge/litert/models/metadata>): a FlatBuffer in one of the file's buffers.

use super::flatbuffer::{Fault, Table};
use super::schema::Model;
use super::{Graph, ModelKind, Options, PictureGeometry};

/// Name of the metadata in the file.
const NAME: &str = "TFLITE_METADATA";
/// Identifier of the metadata's own FlatBuffer.
const IDENTIFIER: &[u8; 4] = b"M001";
/// Number of the normalisation among the steps before a model.
const NORMALIZATION: u8 = 1;
/// Steps that are looked through.
const MAX_STEPS: usize = 16;
/// Largest value of a channel.
const PIXEL_MAX: f32 = 255.0;
/// Mean and deviation of channels in [0, 1] that become ±1.
const SYMMETRIC: [[f32; 3]; 2] = [[0.5; 3]; 2];

/// Says of a graph with one input (1, height, width, 3) that it takes pictures, and how.
pub(super) fn describe_pictures(
    graph: &mut Graph,
    model: &Model<'_>,
    options: &Options,
) -> Result<(), Fault> {
    let &[input] = &graph.inputs[..] else {
        return Ok(());
    };
    let input = &graph.values[input];
    let &[1, height, width, 3] = &input.shape[..] else {
        return Ok(());
    };
    let assumed = match &input.quant {
        Some(quant) => {
            let scale = quant.scales[0];
            let mean = (quant.zero_point - i32::from(i8::MIN)) as f32 / PIXEL_MAX;
            let std = 1.0 / (scale * PIXEL_MAX);
            ([[mean; 3], [std; 3]], "bytes of a picture are the input's")
        }
        None => (SYMMETRIC, "channels in [-1, 1]"),
    };
    graph.meta.kind = ModelKind::ImageEncoder;
    if options.geometry.is_some() {
        graph.meta.geometry = options.geometry;
        return Ok(());
    }
    let [mean, std] = match normalization(model)? {
        Some(stated) => stated,
        None => {
            let source = &mut graph.meta.source;
            source.insert("assumed".into(), assumed.1.into());
            assumed.0
        }
    };
    graph.meta.geometry = Some(PictureGeometry {
        width,
        height,
        // 256 for 224, as the published evaluations do.
        resize_shorter: width.min(height).saturating_mul(256).div_ceil(224),
        mean,
        std,
    });
    Ok(())
}

/// Mean and deviation of channels in [0, 1], where the metadata states them.
fn normalization(model: &Model<'_>) -> Result<Option<[[f32; 3]; 2]>, Fault> {
    let Some(bytes) = model.metadata(NAME)? else {
        return Ok(None);
    };
    let metadata = Table::root(bytes, IDENTIFIER)?;
    let graphs = metadata.tables(3)?;
    if graphs.len() == 0 {
        return Ok(None);
    }
    let inputs = graphs.get(0)?.tables(2)?;
    if inputs.len() == 0 {
        return Ok(None);
    }
    let steps = inputs.get(0)?.tables(4)?;
    for index in 0..steps.len().min(MAX_STEPS) {
        let step = steps.get(index)?;
        if step.u8(0)? != NORMALIZATION {
            continue;
        }
        let Some(stated) = step.table(1)? else {
            continue;
        };
        return Ok(channels(stated.numbers(0)?)
            .zip(channels(stated.numbers(1)?))
            .map(|(mean, std)| [mean, std])
            .filter(|[_, std]| std.iter().all(|&std| std > 0.0)));
    }
    Ok(None)
}

/// Numbers in units of a pixel's, one for all channels or one for each.
fn channels(numbers: &[[u8; 4]]) -> Option<[f32; 3]> {
    let channels = match *numbers {
        [one] => [one; 3],
        [red, green, blue] => [red, green, blue],
        _ => return None,
    };
    let scaled = channels.map(|number| f32::from_le_bytes(number) / PIXEL_MAX);
    scaled
        .iter()
        .all(|number| number.is_finite())
        .then_some(scaled)
}
