//! Small pictures that lie in the page itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;

use super::markup::escape;
use crate::failure::{Context, Outcome};
use crate::verb::eval::source::{Dataset, Item};

/// Longer side, in pixels; smaller pictures stay as they are.
const SIDE: u32 = 96;
const JPEG_QUALITY: u8 = 80;

/// A row of pictures, each named by its tooltip.
pub(super) fn figures<'a>(
    data: &Dataset,
    items: impl Iterator<Item = &'a Item>,
) -> Outcome<String> {
    let mut html = "<div class=\"pictures\">".to_string();
    for item in items {
        let name = escape(&item.name());
        let source = thumbnail(data, item)?;
        html += &format!("<img src=\"{source}\" alt=\"{name}\" title=\"{name}\">");
    }
    Ok(html + "</div>\n")
}

/// A data URL.
fn thumbnail(data: &Dataset, item: &Item) -> Outcome<String> {
    let mut picture = data.picture(item)?;
    let (width, height) = picture.dimensions();
    let longer = width.max(height);
    if longer > SIDE {
        let scaled = |side: u32| (side * SIDE / longer).max(1);
        picture = image::imageops::resize(
            &picture,
            scaled(width),
            scaled(height),
            FilterType::Triangle,
        );
    }
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
        .encode_image(&picture)
        .context(item.name())?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes)))
}
