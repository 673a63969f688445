//! `post_processor`, `truncation` and `padding` of a `tokenizer.json`.

use super::components::{Component, component};
use crate::tokenizer::Frame;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

const POST_PROCESSORS: &str =
    "TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel, Sequence or null";

#[derive(Deserialize)]
pub(super) struct Truncation {
    max_length: usize,
    direction: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Padding {
    pub(super) pad_id: Option<u32>,
}

#[derive(Deserialize)]
struct Template {
    single: Vec<TemplatePiece>,
    #[serde(default)]
    special_tokens: BTreeMap<String, TemplateSpecial>,
}

#[derive(Deserialize)]
enum TemplatePiece {
    SpecialToken { id: String },
    Sequence { id: String },
}

#[derive(Deserialize)]
struct TemplateSpecial {
    ids: Vec<u32>,
}

/// The settings of BERT's and RoBERTa's; what else those hold concerns offsets.
#[derive(Deserialize)]
struct Around {
    cls: (String, u32),
    sep: (String, u32),
}

#[derive(Deserialize)]
struct Processors {
    processors: Vec<Component>,
}

/// The ids before and after a single text.
pub(super) fn frame(raw: Option<&RawValue>, faults: &mut Vec<String>) -> Frame {
    let component = component("post_processor", raw, faults);
    let found = component.map_or(Ok(Frame::default()), processed);
    found.unwrap_or_else(|found| {
        let named = found
            .into_iter()
            .map(|fault| format!("post_processor: {fault}"));
        faults.extend(named);
        Frame::default()
    })
}

fn processed(component: Component) -> Result<Frame, Vec<String>> {
    let one = |fault| vec![fault];
    match component.kind() {
        "TemplateProcessing" => template_frame(component.settings().map_err(one)?),
        "BertProcessing" | "RobertaProcessing" => {
            let Around { cls, sep } = component.settings().map_err(one)?;
            Ok(Frame {
                prefix: vec![cls.1],
                suffix: vec![sep.1],
            })
        }
        // It moves offsets only.
        "ByteLevel" => Ok(Frame::default()),
        "Sequence" => {
            let Processors { processors } = component.settings().map_err(one)?;
            let mut frame = Frame::default();
            for component in processors {
                let mut outer = processed(component)?;
                outer.prefix.append(&mut frame.prefix);
                frame.suffix.append(&mut outer.suffix);
                frame.prefix = outer.prefix;
            }
            Ok(frame)
        }
        found => Err(one(format!("found {found}, expected {POST_PROCESSORS}"))),
    }
}

fn template_frame(template: Template) -> Result<Frame, Vec<String>> {
    let (mut frame, mut sequences, mut faults) = (Frame::default(), 0, Vec::new());
    for piece in &template.single {
        match piece {
            TemplatePiece::Sequence { id } if id == "A" => sequences += 1,
            TemplatePiece::Sequence { id } => {
                faults.push(format!("found sequence {id} for a single text, expected A"));
            }
            TemplatePiece::SpecialToken { id } => match template.special_tokens.get(id) {
                Some(special) if sequences == 0 => frame.prefix.extend(&special.ids),
                Some(special) => frame.suffix.extend(&special.ids),
                None => faults.push(format!(
                    "found {id} in the template, expected it in special_tokens"
                )),
            },
        }
    }
    if sequences != 1 {
        faults.push(format!("found {sequences} places for the text, expected 1"));
    }
    if faults.is_empty() {
        Ok(frame)
    } else {
        Err(faults)
    }
}

pub(super) fn max_tokens(
    truncation: Option<Truncation>,
    specials: usize,
    faults: &mut Vec<String>,
) -> usize {
    let Some(truncation) = truncation else {
        return usize::MAX;
    };
    let direction = truncation.direction.as_deref();
    if let Some(direction) = direction.filter(|&direction| direction != "Right") {
        faults.push(format!(
            "truncation: found direction {direction}, expected Right"
        ));
    }
    let found = truncation.max_length;
    if found < specials {
        faults.push(format!(
            "truncation: found max_length {found}, expected at least {specials} for the special tokens"
        ));
    }
    found
}
