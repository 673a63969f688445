//! A picture of a report: the SQNR of every layer as a bar, in the order of execution (SVG 1.1).

use std::fmt::Write;

use crate::report::{LayerReport, Report};

/// Heights of a row, and widths, in pixels.
const ROW: usize = 18;
const NAMES: usize = 420;
const BARS: usize = 480;
const TOP: usize = 72;
const MARGIN: usize = 24;
/// Where bars end: more decibels than this are as good.
const MOST_DECIBELS: f64 = 60.0;
/// Letters of a name that fit beside the bars.
const LETTERS: usize = 58;

/// The report as an SVG document that needs no other file.
pub fn svg(report: &Report, title: &str) -> String {
    let (width, height) = (
        NAMES + BARS + 4 * MARGIN + 60,
        TOP + ROW * report.layers.len() + 2 * MARGIN,
    );
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{MARGIN}\" y=\"26\" font-size=\"16\">{}</text>\n\
         <text x=\"{MARGIN}\" y=\"46\" fill=\"#555555\">Signal over quantisation noise of each layer's output in dB, over {} \
         {}; output cosine: mean {:.5}, smallest {:.5}</text>\n",
        escaped(title),
        report.inputs,
        report.of,
        report.output_cosine_mean,
        report.output_cosine_min
    );
    let bottom = TOP + ROW * report.layers.len();
    for decibels in (0..=MOST_DECIBELS as usize).step_by(10) {
        let x = bar_end(decibels as f64);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#dddddd\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555555\">{decibels}</text>",
            TOP - 6
        );
    }
    for (row, layer) in report.layers.iter().enumerate() {
        out += &bar(layer, TOP + ROW * row);
    }
    let _ = writeln!(
        out,
        "<text x=\"{MARGIN}\" y=\"{}\" fill=\"#555555\">Colours: int8 blue, int16 green, float grey; red where a layer adds \
         more than a twentieth of all errors.</text>\n</svg>",
        bottom + MARGIN
    );
    out
}

fn bar_end(decibels: f64) -> f64 {
    (NAMES + 2 * MARGIN) as f64 + decibels.clamp(0.0, MOST_DECIBELS) / MOST_DECIBELS * BARS as f64
}

fn bar(layer: &LayerReport, y: usize) -> String {
    let colour = match layer.dtype.as_str() {
        _ if layer.share > 0.05 => "#c0392b",
        "i8" => "#2d6da3",
        "i16" => "#3a8f5c",
        _ => "#9a9a9a",
    };
    let x = NAMES + 2 * MARGIN;
    let end = bar_end(layer.sqnr_db);
    format!(
        "<g><title>{name}: {op} {shape:?}, {dtype}, {sqnr:.1} dB, cosine {cosine:.5}, {min:.3} to {max:.3}, {share:.1} % of the \
         errors</title>\
         <text x=\"{names}\" y=\"{text}\" text-anchor=\"end\">{short}</text>\
         <rect x=\"{x}\" y=\"{top}\" width=\"{width:.1}\" height=\"{thick}\" fill=\"{colour}\"/>\
         <text x=\"{after:.1}\" y=\"{text}\" fill=\"#555555\">{sqnr:.1}</text></g>\n",
        name = escaped(&layer.node),
        op = layer.op,
        shape = layer.shape,
        dtype = layer.dtype,
        sqnr = layer.sqnr_db,
        cosine = layer.cosine,
        min = layer.min,
        max = layer.max,
        share = 100.0 * layer.share,
        names = NAMES + MARGIN,
        text = y + ROW - 5,
        short = escaped(&shortened(&layer.node)),
        top = y + 2,
        width = (end - x as f64).max(0.5),
        thick = ROW - 4,
        after = end + 6.0,
    )
}

/// The end of a long name, which tells layers apart.
fn shortened(name: &str) -> String {
    let letters = name.chars().count();
    if letters <= LETTERS {
        return name.to_owned();
    }
    let tail: String = name.chars().skip(letters - LETTERS + 1).collect();
    format!("…{tail}")
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            letter if letter.is_control() => out += " ",
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_has_a_bar_and_names_are_escaped() {
        let layer = |node: &str, share| LayerReport {
            node: node.into(),
            op: "Conv2d".into(),
            shape: vec![1, 2],
            dtype: "i8".into(),
            sqnr_db: 30.0,
            cosine: 0.999,
            min: -1.0,
            max: 1.0,
            peak: 3.0,
            share,
            scale: 0.1,
            zero_point: 0,
        };
        let report = Report {
            inputs: 1,
            of: "pictures",
            layers: vec![layer("a<b&\"c", 0.01), layer(&"x".repeat(100), 0.9)],
            output_cosine_mean: 0.9,
            output_cosine_min: 0.8,
            output_cosines: vec![0.9],
        };
        let svg = svg(&report, "net");
        assert_eq!(svg.matches("<g>").count(), 2);
        assert!(svg.contains("a&lt;b&amp;&quot;c") && !svg.contains("a<b"));
        assert_eq!(svg.matches("#c0392b").count(), 1);
        assert!(svg.trim_end().ends_with("</svg>"));
    }
}
