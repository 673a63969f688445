//! `normalizer` and `pre_tokenizer` of a `tokenizer.json`.

use crate::tokenizer::bert::BertNormalizer;
use crate::tokenizer::charsmap::Charsmap;
use crate::tokenizer::normalizer::{Normalizer, Step};
use crate::tokenizer::pre_tokenizer::{Behavior, Prepend, Splitter};
use crate::tokenizer::unicode_9::Form;
use base64::Engine;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The character map of SentencePiece takes a third of a megabyte in base 64.
const MAX_COMPONENT_BYTES: usize = 4 << 20;
/// The memory of a compiled pattern.
const MAX_PATTERN_BYTES: usize = 1 << 20;
/// All steps of nested sequences together.
const MAX_STEPS: usize = 64;

const NORMALIZERS: &str = "BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, Strip, Replace, Precompiled, Sequence or null";
const PRE_TOKENIZERS: &str =
    "BertPreTokenizer, WhitespaceSplit, Split, ByteLevel, Metaspace, Sequence or null";

/// A component: what kind it is, and its settings.
#[derive(Deserialize)]
pub(super) struct Component {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(flatten)]
    pub(super) settings: Map<String, Value>,
}

impl Component {
    /// Reads the settings, all of which have to be known.
    pub(super) fn settings<T: DeserializeOwned>(self) -> Result<T, String> {
        let kind = self.kind.unwrap_or_default();
        serde_json::from_value(Value::Object(self.settings))
            .map_err(|error| format!("{kind}: {error}"))
    }

    pub(super) fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("no type")
    }
}

/// Reads a component, unless it is too large.
pub(super) fn component(
    name: &str,
    raw: Option<&RawValue>,
    faults: &mut Vec<String>,
) -> Option<Component> {
    let text = raw?.get();
    if text.len() > MAX_COMPONENT_BYTES {
        let found = text.len();
        faults.push(format!(
            "{name}: found {found} bytes, expected at most {MAX_COMPONENT_BYTES}"
        ));
        return None;
    }
    serde_json::from_str(text)
        .map_err(|error| faults.push(format!("{name}: {error}")))
        .ok()
}

pub(super) fn normalizer(raw: Option<&RawValue>, faults: &mut Vec<String>) -> Normalizer {
    let mut steps = Vec::new();
    if let Some(component) = component("normalizer", raw, faults) {
        push_normalizer(component, &mut steps, faults);
    }
    Normalizer { steps }
}

fn push_normalizer(component: Component, steps: &mut Vec<Step>, faults: &mut Vec<String>) {
    if component.kind() == "Sequence" {
        match component.settings::<NormalizerSequence>() {
            Ok(sequence) if steps.len() + sequence.normalizers.len() <= MAX_STEPS => {
                for component in sequence.normalizers {
                    push_normalizer(component, steps, faults);
                }
            }
            Ok(_) => faults.push(format!(
                "normalizer: found more than {MAX_STEPS} steps, expected at most that"
            )),
            Err(error) => faults.push(format!("normalizer: {error}")),
        }
        return;
    }
    match step(component) {
        Ok(step) => steps.push(step),
        Err(fault) => faults.push(format!("normalizer: {fault}")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NormalizerSequence {
    normalizers: Vec<Component>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoSettings {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StripSettings {
    strip_left: bool,
    strip_right: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplaceSettings {
    pattern: Pattern,
    content: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrecompiledSettings {
    precompiled_charsmap: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BertSettings {
    #[serde(default = "yes")]
    clean_text: bool,
    #[serde(default = "yes")]
    handle_chinese_chars: bool,
    strip_accents: Option<bool>,
    #[serde(default = "yes")]
    lowercase: bool,
}

fn yes() -> bool {
    true
}

fn step(component: Component) -> Result<Step, String> {
    let plain = |component: Component, step| component.settings::<NoSettings>().map(|_| step);
    match component.kind() {
        "BertNormalizer" => component.settings().map(bert),
        "NFC" => plain(component, Step::Unicode(Form::Nfc)),
        "NFD" => plain(component, Step::Unicode(Form::Nfd)),
        "NFKC" => plain(component, Step::Unicode(Form::Nfkc)),
        "NFKD" => plain(component, Step::Unicode(Form::Nfkd)),
        "Lowercase" => plain(component, Step::Lowercase),
        "Strip" => component
            .settings()
            .map(|settings: StripSettings| Step::Strip {
                left: settings.strip_left,
                right: settings.strip_right,
            }),
        "Replace" => {
            let ReplaceSettings { pattern, content } = component.settings()?;
            let pattern = pattern.compile()?;
            Ok(Step::Replace { pattern, content })
        }
        "Precompiled" => precompiled(component.settings()?),
        found => Err(format!("found {found}, expected {NORMALIZERS}")),
    }
}

fn bert(settings: BertSettings) -> Step {
    Step::Bert(BertNormalizer {
        clean_text: settings.clean_text,
        handle_chinese_chars: settings.handle_chinese_chars,
        // As in BERT: accents go with case unless the file says otherwise.
        strip_accents: settings.strip_accents.unwrap_or(settings.lowercase),
        lowercase: settings.lowercase,
    })
}

fn precompiled(settings: PrecompiledSettings) -> Result<Step, String> {
    let base64 = settings.precompiled_charsmap.unwrap_or_default();
    let blob = base64::engine::general_purpose::STANDARD
        .decode(base64)
        .map_err(|error| format!("Precompiled: {error}"))?;
    let map = Charsmap::parse(&blob).map_err(|fault| format!("Precompiled: {fault}"))?;
    Ok(Step::Charsmap(map))
}

/// A literal text or a regular expression.
#[derive(Deserialize)]
enum Pattern {
    String(String),
    Regex(String),
}

impl Pattern {
    fn compile(self) -> Result<Regex, String> {
        let pattern = match self {
            Self::String(text) => regex::escape(&text),
            Self::Regex(pattern) => pattern,
        };
        let compiled = RegexBuilder::new(&pattern)
            .size_limit(MAX_PATTERN_BYTES)
            .dfa_size_limit(MAX_PATTERN_BYTES)
            .build();
        let compiled = compiled.map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().to_owned();
            let shown: String = pattern.chars().take(80).collect();
            format!("found the pattern {shown:?}, expected one without look-around: {reason}")
        })?;
        if compiled.is_match("") {
            return Err(format!(
                "found the pattern {pattern:?}, which matches nothing at all"
            ));
        }
        Ok(compiled)
    }
}

pub(super) fn pre_tokenizer(raw: Option<&RawValue>, faults: &mut Vec<String>) -> Vec<Splitter> {
    let mut splitters = Vec::new();
    if let Some(component) = component("pre_tokenizer", raw, faults) {
        push_pre_tokenizer(component, &mut splitters, faults);
    }
    splitters
}

fn push_pre_tokenizer(
    component: Component,
    splitters: &mut Vec<Splitter>,
    faults: &mut Vec<String>,
) {
    if component.kind() == "Sequence" {
        match component.settings::<PreTokenizerSequence>() {
            Ok(sequence) if splitters.len() + sequence.pretokenizers.len() <= MAX_STEPS => {
                for component in sequence.pretokenizers {
                    push_pre_tokenizer(component, splitters, faults);
                }
            }
            Ok(_) => faults.push(format!(
                "pre_tokenizer: found more than {MAX_STEPS} steps, expected at most that"
            )),
            Err(error) => faults.push(format!("pre_tokenizer: {error}")),
        }
        return;
    }
    match splitter(component) {
        Ok(splitter) => splitters.push(splitter),
        Err(fault) => faults.push(format!("pre_tokenizer: {fault}")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreTokenizerSequence {
    pretokenizers: Vec<Component>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitSettings {
    pattern: Pattern,
    behavior: Behavior,
    #[serde(default)]
    invert: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByteLevelSettings {
    #[serde(default = "yes")]
    add_prefix_space: bool,
    #[serde(default = "yes")]
    use_regex: bool,
    /// Says where a token lies in the text, which ids do not depend on.
    #[serde(default, rename = "trim_offsets")]
    _trim_offsets: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetaspaceSettings {
    replacement: char,
    prepend_scheme: Option<Prepend>,
    add_prefix_space: Option<bool>,
    #[serde(default = "yes")]
    split: bool,
    #[serde(default, rename = "str_rep")]
    _str_rep: Option<String>,
}

fn splitter(component: Component) -> Result<Splitter, String> {
    let plain = |component: Component, step| component.settings::<NoSettings>().map(|_| step);
    match component.kind() {
        "BertPreTokenizer" => plain(component, Splitter::Bert),
        "WhitespaceSplit" => plain(component, Splitter::WhitespaceSplit),
        "Split" => {
            let settings: SplitSettings = component.settings()?;
            Ok(Splitter::Split {
                pattern: settings.pattern.compile()?,
                behavior: settings.behavior,
                invert: settings.invert,
            })
        }
        "ByteLevel" => {
            let settings: ByteLevelSettings = component.settings()?;
            Ok(Splitter::ByteLevel {
                add_prefix_space: settings.add_prefix_space,
                use_regex: settings.use_regex,
            })
        }
        "Metaspace" => metaspace(component.settings()?),
        found => Err(format!("found {found}, expected {PRE_TOKENIZERS}")),
    }
}

/// Older files say whether a mark is prepended, newer ones when.
fn metaspace(settings: MetaspaceSettings) -> Result<Splitter, String> {
    let prepend = match (settings.prepend_scheme, settings.add_prefix_space) {
        (None | Some(Prepend::Never), Some(false)) => Prepend::Never,
        (Some(_), Some(false)) => {
            return Err(
                "Metaspace: found add_prefix_space false beside a prepend_scheme".to_owned(),
            );
        }
        (scheme, _) => scheme.unwrap_or(Prepend::Always),
    };
    Ok(Splitter::Metaspace {
        replacement: settings.replacement,
        prepend,
        split: settings.split,
    })
}
