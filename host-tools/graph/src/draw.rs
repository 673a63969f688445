//! A graph as a picture: one SVG file that needs nothing beside itself.
//!
//! Nodes stand in ranks from top to bottom ([`layout`]), coloured by family of operator, with what they compute, their
//! name, shape and quantisation; a pointer over a node shows its whole name, inputs and multiply-accumulates. Constants
//! are not drawn.

mod label;
mod layout;

use std::collections::HashMap;
use std::fmt::Write;

use crate::{Graph, ValueId};
use label::{Family, Label};
use layout::{Layout, Point};

/// Width of a box in pixels.
const BOX_WIDTH: f64 = 232.0;
/// Height of a box.
const BOX_HEIGHT: f64 = 56.0;
/// Around the drawing.
const MARGIN: f64 = 28.0;
/// Title and legend.
const HEAD: f64 = 84.0;
/// The widest title and the legend want this.
const LEAST_WIDTH: f64 = 960.0;

const STYLE: &str = "\
text{font-family:Helvetica,Arial,'Liberation Sans',sans-serif;fill:#1c2430}
.title{font-size:20px;font-weight:bold}.sub{font-size:12px;fill:#5b6675}.op{font-size:13px;font-weight:bold}
.name{font-size:10.5px;fill:#3d4855}.facts{font-size:10.5px;fill:#3d4855}
.edge{fill:none;stroke:#7b8794;stroke-width:1.3}.box{stroke-width:1.2}";

/// What is drawn as a box.
#[derive(Clone, Copy)]
enum Item {
    /// An input of the graph.
    Input(ValueId),
    /// The node of this index.
    Node(usize),
    /// An output of the graph.
    Output(ValueId),
}

impl Graph {
    /// The graph as an SVG file.
    pub fn to_svg(&self) -> String {
        let (items, edges) = items(self);
        let layout = layout::layout(items.len(), &edges, [BOX_WIDTH, BOX_HEIGHT]);
        let width = (layout.size[0] + 2.0 * MARGIN).max(LEAST_WIDTH);
        let height = layout.size[1] + HEAD + 2.0 * MARGIN;
        let left = (width - layout.size[0]) / 2.0;
        let mut svg = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}">
<style>{STYLE}</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0.5L7 4L0 7.5z" fill="#7b8794"/></marker></defs>
<rect width="100%" height="100%" fill="#fff"/>
"##
        );
        head(&mut svg, self);
        let _ = writeln!(
            svg,
            r#"<g transform="translate({left:.1} {:.1})">"#,
            HEAD + MARGIN
        );
        for (edge, bends) in edges.iter().zip(&layout.bends) {
            path(&mut svg, &layout, *edge, bends);
        }
        for (item, &centre) in items.iter().zip(&layout.centres) {
            boxed(&mut svg, &label::label(self, *item), centre);
        }
        svg += "</g>\n</svg>\n";
        svg
    }
}

/// Boxes and the arrows between them.
fn items(graph: &Graph) -> (Vec<Item>, Vec<[usize; 2]>) {
    let mut items: Vec<Item> = graph
        .inputs
        .iter()
        .map(|&input| Item::Input(input))
        .collect();
    let mut source: HashMap<ValueId, usize> = HashMap::new();
    source.extend(
        graph
            .inputs
            .iter()
            .enumerate()
            .map(|(item, &input)| (input, item)),
    );
    let mut edges = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let item = items.len();
        items.push(Item::Node(index));
        let from = node.inputs.iter().filter_map(|input| source.get(input));
        edges.extend(from.map(|&from| [from, item]));
        source.insert(node.output, item);
    }
    for &output in &graph.outputs {
        if let Some(&from) = source.get(&output) {
            edges.push([from, items.len()]);
            items.push(Item::Output(output));
        }
    }
    edges.sort_unstable();
    edges.dedup();
    (items, edges)
}

/// Title, numbers, legend.
fn head(svg: &mut String, graph: &Graph) {
    let integers = graph
        .nodes
        .iter()
        .filter(|node| graph.values[node.output].quant.is_some());
    let _ = writeln!(
        svg,
        r#"<text class="title" x="{MARGIN}" y="36">{}</text>
<text class="sub" x="{MARGIN}" y="56">{} nodes, {} of them quantised, {:.2} M parameters, {:.1} M multiply-accumulates</text>"#,
        escaped(&graph.name),
        graph.nodes.len(),
        integers.count(),
        graph.parameter_count() as f64 / 1e6,
        graph.macs() as f64 / 1e6,
    );
    let mut x = MARGIN;
    for family in Family::ALL {
        let [fill, line] = family.colours();
        let name = family.name();
        let _ = writeln!(
            svg,
            r#"<rect x="{x}" y="70" width="13" height="13" rx="3" fill="{fill}" stroke="{line}"/><text class="sub" x="{}" y="81">{name}</text>"#,
            x + 18.0
        );
        x += 30.0 + 5.7 * name.len() as f64;
    }
}

fn boxed(svg: &mut String, label: &Label, [x, y]: Point) {
    let [fill, line] = label.family.colours();
    let (left, top) = (x - BOX_WIDTH / 2.0, y - BOX_HEIGHT / 2.0);
    let _ = write!(
        svg,
        r#"<g><title>{}</title><rect class="box" x="{left:.1}" y="{top:.1}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" fill="{fill}" stroke="{line}"/>"#,
        escaped(&label.hint)
    );
    let mut line = |class: &str, x: f64, down: f64, anchor: &str, text: &str| {
        let _ = write!(
            svg,
            r#"<text class="{class}" x="{x:.1}" y="{:.1}"{anchor}>{}</text>"#,
            top + down,
            escaped(text)
        );
    };
    let (inside, right) = (left + 10.0, left + BOX_WIDTH - 10.0);
    line("op", inside, 18.0, "", &shortened(&label.op, 30));
    line("name", inside, 33.0, "", &shortened(&label.name, 38));
    line("facts", inside, 48.0, "", &label.shape);
    line("facts", right, 48.0, r#" text-anchor="end""#, &label.quant);
    *svg += "</g>\n";
}

/// A curve from the bottom of a box through its bends to the top of another.
fn path(svg: &mut String, layout: &Layout, [from, to]: [usize; 2], bends: &[Point]) {
    let half = BOX_HEIGHT / 2.0;
    let ([x, y], [end_x, end_y]) = (layout.centres[from], layout.centres[to]);
    let mut at = [x, y + half];
    let _ = write!(
        svg,
        r#"<path class="edge" marker-end="url(#tip)" d="M{:.1} {:.1}"#,
        at[0], at[1]
    );
    let bends = bends
        .iter()
        .flat_map(|&[x, y]| [[x, y - half], [x, y + half]]);
    for next in bends.chain([[end_x, end_y - half]]) {
        if (next[0] - at[0]).abs() < 0.5 {
            let _ = write!(svg, "L{:.1} {:.1}", next[0], next[1]);
        } else {
            let middle = (at[1] + next[1]) / 2.0;
            let _ = write!(
                svg,
                "C{:.1} {middle:.1} {:.1} {middle:.1} {:.1} {:.1}",
                at[0], next[0], next[0], next[1]
            );
        }
        at = next;
    }
    *svg += "\"/>\n";
}

/// At most `limit` letters, the middle left out.
fn shortened(text: &str, limit: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= limit {
        return text.to_owned();
    }
    let tail = limit * 2 / 3;
    let head: String = letters[..limit - tail - 1].iter().collect();
    let tail: String = letters[letters.len() - tail..].iter().collect();
    format!("{head}…{tail}")
}

/// Text as XML holds it; control characters, which it cannot hold, become spaces.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '"' => out += "&quot;",
            '\n' => out.push('\n'),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                out.push(' ')
            }
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests;
