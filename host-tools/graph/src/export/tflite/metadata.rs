//! What a file says of its pictures (<https://ai.google.dev/edge/litert/models/metadata>): a FlatBuffer in one of its
//! buffers, which other tools and the import read.

use super::flatbuffer::{Field, Table, write};
use crate::{Graph, PictureGeometry};

/// Name of the metadata in the file.
pub(super) const NAME: &str = "TFLITE_METADATA";
/// Identifier of the metadata's own FlatBuffer.
const IDENTIFIER: &[u8; 4] = b"M001";
/// Numbers of the unions' members.
const NORMALIZATION: u8 = 1;
const IMAGE: u8 = 2;
/// Of the colour spaces.
const RGB: u8 = 1;
/// Largest value of a channel.
const PIXEL_MAX: f32 = 255.0;

/// The metadata of a graph that takes pictures.
pub(super) fn describe(graph: &Graph) -> Option<Vec<u8>> {
    let geometry = graph.meta.geometry?;
    let tensors = |ids: &[usize], more: &dyn Fn(Table) -> Table| {
        let tables = ids.iter().map(|&id| {
            let name = Field::Text(graph.values[id].name.clone());
            more(Table::of([(0, name)]))
        });
        Field::Tables(tables.collect())
    };
    let input = |table: Table| {
        table
            .with(3, Field::Table(picture()))
            .with(4, Field::Tables(vec![normalization(&geometry)]))
    };
    let subgraph = Table::of([
        (2, tensors(&graph.inputs, &input)),
        (3, tensors(&graph.outputs, &|table| table)),
    ]);
    let root = Table::of([
        (0, Field::Text(graph.name.clone())),
        (3, Field::Tables(vec![subgraph])),
    ]);
    Some(write(root, IDENTIFIER))
}

/// The content of the input: RGB.
fn picture() -> Table {
    let properties = Table::of([(0, Field::U8(RGB))]);
    Table::of([(0, Field::U8(IMAGE)), (1, Field::Table(properties))])
}

/// (pixel − mean) / std, in units of a pixel's.
fn normalization(geometry: &PictureGeometry) -> Table {
    let scaled = |numbers: [f32; 3]| Field::F32s(numbers.map(|n| n * PIXEL_MAX).to_vec());
    let options = Table::of([(0, scaled(geometry.mean)), (1, scaled(geometry.std))]);
    Table::of([(0, Field::U8(NORMALIZATION)), (1, Field::Table(options))])
}
