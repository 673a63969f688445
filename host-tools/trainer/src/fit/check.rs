//! What is wrong with a recipe of version 2 before any file that it names is opened.

use crate::device::Precision;

use super::recipe::{FIT_VERSION, FitRecipe, HeadStart, NewText, Text, Trainable};

/// Keys and what is wrong with them.
pub(super) type Faults = Vec<(String, String)>;

/// Every fault of `recipe`.
pub(super) fn faults(recipe: &FitRecipe) -> Faults {
    let mut faults = Vec::new();
    if recipe.version != FIT_VERSION {
        let message = format!("is {}, expected {FIT_VERSION}", recipe.version);
        faults.push(("version".to_owned(), message));
    }
    counts(recipe, &mut faults);
    numbers(recipe, &mut faults);
    schedule(recipe, &mut faults);
    losses(recipe, &mut faults);
    head(recipe, &mut faults);
    text(recipe, &mut faults);
    caption(recipe, &mut faults);
    cached(recipe, &mut faults);
    lora(recipe, &mut faults);
    precision(recipe, &mut faults);
    let augmentations = recipe.data.augmentation.faults();
    let told = |fault| ("data.augmentation".to_owned(), format!("is wrong: {fault}"));
    faults.extend(augmentations.into_iter().map(told));
    faults
}

fn tell(faults: &mut Faults, key: &str, message: impl Into<String>) {
    faults.push((key.to_owned(), message.into()));
}

fn counts(recipe: &FitRecipe, faults: &mut Faults) {
    let optimiser = &recipe.optimiser;
    let or = |number: Option<usize>| number.unwrap_or(usize::MAX);
    let last = match recipe.image.trainable {
        Trainable::All => usize::MAX,
        Trainable::Last(layers) => layers,
    };
    let near = recipe.neighbourhood.as_ref().map(|near| near.count);
    let rounds = recipe.neighbourhood.as_ref().map(|near| near.rounds);
    let counts = [
        ("image.embedding", or(recipe.image.embedding), 2),
        ("image.ridge_pictures", recipe.image.ridge_pictures, 2),
        ("image.trainable", last, 1),
        (
            "text.embedding",
            or(recipe.text.as_ref().and_then(|text| text.embedding)),
            2,
        ),
        ("reinforced.epochs", recipe.reinforced.epochs, 1),
        ("neighbourhood.count", or(near), 2),
        ("neighbourhood.rounds", or(rounds), 1),
        ("data.train", recipe.data.train.len(), 1),
        ("data.views", recipe.data.views, 1),
        ("data.threads", or(recipe.data.threads), 1),
        ("loss.transform_hidden", recipe.loss.transform_hidden, 1),
        ("optimiser.steps", or(optimiser.steps), 1),
        ("optimiser.epochs", or(optimiser.epochs), 1),
        ("optimiser.batch", optimiser.batch, 1),
        ("optimiser.chunk", or(optimiser.chunk), 1),
        ("output.checkpoint_every", recipe.output.checkpoint_every, 1),
        ("output.log_every", recipe.output.log_every, 1),
        ("output.evaluate_every", recipe.output.evaluate_every, 1),
    ];
    for (key, found, least) in counts {
        if found < least {
            tell(
                faults,
                key,
                format!("is {found}, at least {least} is needed"),
            );
        }
    }
    let of_quantise = recipe.quantise.as_ref().map(|quantise| quantise.pictures);
    let of_evaluate = recipe.data.evaluate.as_ref().map(|evaluate| evaluate.limit);
    for (key, found) in [
        ("quantise.pictures", of_quantise),
        ("data.evaluate.limit", of_evaluate),
    ] {
        if found == Some(0) {
            tell(faults, key, "is 0, at least 1 is needed");
        }
    }
}

fn numbers(recipe: &FitRecipe, faults: &mut Faults) {
    let (loss, optimiser) = (&recipe.loss, &recipe.optimiser);
    let least = f32::MIN_POSITIVE;
    let mut numbers: Vec<(String, f32, f32, f32)> = loss
        .weights()
        .iter()
        .map(|(name, weight)| (format!("loss.{name}"), *weight, 0.0, 1e6))
        .collect();
    let mut number =
        |key: &str, found, least, most| numbers.push((key.to_owned(), found, least, most));
    number("loss.temperature", loss.temperature, least, 1000.0);
    number("loss.margin", loss.margin, 0.0, 4.0);
    number("loss.sup_con_scale", loss.sup_con_scale, least, 1000.0);
    number(
        "loss.contrastive_scale",
        loss.contrastive_scale,
        least,
        1000.0,
    );
    number("image.ridge", recipe.image.ridge, least, 1000.0);
    number(
        "optimiser.learning_rate",
        optimiser.learning_rate,
        least,
        10.0,
    );
    number("optimiser.weight_decay", optimiser.weight_decay, 0.0, 10.0);
    number("optimiser.layer_decay", optimiser.layer_decay, 0.01, 1.0);
    number(
        "optimiser.clip_norm",
        optimiser.clip_norm.unwrap_or(1.0),
        least,
        1e9,
    );
    number(
        "optimiser.ema",
        optimiser.ema.unwrap_or(0.5),
        0.0,
        0.999_999,
    );
    if let Some(text) = &recipe.text {
        number("text.logit_scale", text.logit_scale, least, 100.0);
        number("text.logit_bias", text.logit_bias, -100.0, 100.0);
    }
    if let Some(near) = &recipe.neighbourhood {
        number("neighbourhood.sharpness", near.sharpness, 0.0, 1000.0);
    }
    if let Some(quantise) = &recipe.quantise {
        number("quantise.range_rate", quantise.range_rate, 0.0, 1000.0);
    }
    for teacher in &recipe.teacher {
        number("teacher.weight", teacher.weight, least, 1e6);
        number(
            "teacher.logit_scale",
            teacher.logit_scale.unwrap_or(1.0),
            least,
            1000.0,
        );
    }
    for (key, found, least, most) in numbers {
        if !(least..=most).contains(&found) {
            faults.push((key, format!("is {found}, expected {least} to {most}")));
        }
    }
}

fn schedule(recipe: &FitRecipe, faults: &mut Faults) {
    let optimiser = &recipe.optimiser;
    match (optimiser.steps, optimiser.epochs) {
        (None, None) => tell(faults, "optimiser", "needs `steps` or `epochs`"),
        (Some(_), Some(_)) => tell(
            faults,
            "optimiser.epochs",
            "is given beside `steps`, expected one of them",
        ),
        _ => {}
    }
}

fn losses(recipe: &FitRecipe, faults: &mut Faults) {
    let loss = &recipe.loss;
    if loss.weights().iter().all(|(_, weight)| *weight == 0.0) {
        tell(faults, "loss", "has no weight above 0");
    }
    let of = |names: &[&str]| -> Vec<&'static str> {
        let asked = loss.weights();
        let asked = asked
            .iter()
            .filter(|(name, weight)| *weight > 0.0 && names.contains(name));
        asked.map(|(name, _)| *name).collect()
    };
    let texts = [
        "clip",
        "siglip",
        "affinity",
        "interactive",
        "logits",
        "caption",
    ];
    if recipe.text.is_none() {
        for name in of(&texts) {
            tell(
                faults,
                &format!("loss.{name}"),
                "needs texts, and there is no `[text]`",
            );
        }
    }
    let teachers = [
        "feature",
        "affinity",
        "interactive",
        "contrastive_distill",
        "relation",
        "logits",
    ];
    if recipe.teacher.is_empty() {
        for name in of(&teachers) {
            let message = "needs a teacher, and there is no `[[teacher]]`";
            tell(faults, &format!("loss.{name}"), message);
        }
    }
    let in_batch = [
        "clip",
        "siglip",
        "sup_con",
        "triplet",
        "affinity",
        "interactive",
        "contrastive_distill",
        "relation",
    ];
    if recipe.reinforced.plain && recipe.reinforced.epochs > 1 {
        let message =
            "counts epochs of augmentation, and teachers see no augmentation with `plain = true`";
        tell(faults, "reinforced.epochs", message);
    }
    if recipe.neighbourhood.is_some() {
        if recipe.teacher.is_empty() {
            let message = "averages what teachers say, and there is no `[[teacher]]`";
            tell(faults, "neighbourhood", message);
        }
        if !recipe.reinforced.plain {
            let message =
                "averages over pictures as they are; add `plain = true` under [reinforced]";
            tell(faults, "neighbourhood", message);
        }
    }
    if recipe.data.kept_mib.is_some() {
        for (given, what) in [
            (
                recipe.optimiser.chunk.is_none(),
                "there is no `chunk` under [optimiser], so that a step needs all of them",
            ),
            (
                recipe.image.cached,
                "`image.cached` keeps what the encoder gives instead",
            ),
        ] {
            if given {
                let message = format!("bounds the pictures of a batch of chunks, and {what}");
                tell(faults, "data.kept_mib", message);
            }
        }
    }
    if recipe.optimiser.batch == 1 && recipe.data.views == 1 {
        for name in of(&in_batch) {
            let message = format!(
                "compares pictures of a batch, and `optimiser.batch` is 1; needed for `{name}`"
            );
            tell(faults, &format!("loss.{name}"), message);
        }
    }
    if recipe.data.evaluate.is_some() && recipe.text.is_none() {
        tell(
            faults,
            "data.evaluate",
            "is zero-shot and needs texts, and there is no `[text]`",
        );
    }
}

fn head(recipe: &FitRecipe, faults: &mut Faults) {
    let image = &recipe.image;
    if image.head == HeadStart::Ridge {
        if image.embedding.is_none() {
            tell(
                faults,
                "image.head",
                "starts a new layer, and there is no `embedding`",
            );
        }
        if recipe.teacher.is_empty() {
            tell(
                faults,
                "image.head",
                "regresses onto teachers, and there is no `[[teacher]]`",
            );
        }
    }
}

/// What a text tower that trains asks for, and what it cannot serve.
fn text(recipe: &FitRecipe, faults: &mut Faults) {
    let Some(text) = &recipe.text else {
        return;
    };
    let given = [
        ("text.model", text.model.is_some()),
        ("text.graph", text.graph.is_some()),
        ("text.new", text.new.is_some()),
    ];
    let expected = "expected one of `model` (frozen), `graph` (trains) and `new` (from nothing)";
    let given: Vec<&str> = given
        .iter()
        .filter(|(_, given)| *given)
        .map(|(key, _)| *key)
        .collect();
    match given[..] {
        [] => tell(faults, "text", format!("names no encoder, {expected}")),
        [_] => {}
        [first, second, ..] => {
            tell(
                faults,
                second,
                format!("is given beside `{first}`, {expected}"),
            );
        }
    }
    if text.model.is_some() && text.trainable != Trainable::All {
        let message = "says what trains of `graph`, and there is only `model`, which is frozen";
        tell(faults, "text.trainable", message);
    }
    if !text.trains() && text.embedding.is_some() {
        let message = "is a new layer, and nothing of the text encoder trains; name it with `graph`, with `trainable` above 0";
        tell(faults, "text.embedding", message);
    }
    if text.head != HeadStart::Random {
        let message = "starts at random for texts, expected \"random\"";
        tell(faults, "text.head", message);
    }
    if let Some(new) = &text.new {
        new_text(new, text.trainable, faults);
    }
    if !text.trains() {
        return;
    }
    let loss = &recipe.loss;
    if loss.clip + loss.siglip + loss.affinity + loss.interactive + loss.caption == 0.0 {
        let message = "trains, and no loss sees texts; weigh `clip` or `siglip` under [loss]";
        tell(faults, "text.graph", message);
    }
    if loss.logits > 0.0 {
        let message = "needs classes that stay where they are, and the text encoder trains; `trainable = 0` or `model` under [text] freezes it";
        tell(faults, "loss.logits", message);
    }
    let of_teachers = loss.affinity + loss.interactive > 0.0;
    if of_teachers && recipe.teacher.iter().any(|teacher| teacher.text.is_none()) {
        let message = "is needed where the text encoder under [text] trains: it names the one of the teacher's space";
        tell(faults, "teacher.text", message);
    }
}

fn new_text(new: &NewText, trainable: Trainable, faults: &mut Faults) {
    for (key, found, least) in [
        ("text.new.layers", new.layers, 1),
        ("text.new.width", new.width, 2),
        ("text.new.heads", new.heads, 1),
        ("text.new.max_tokens", new.max_tokens, 3),
    ] {
        if found < least {
            let message = format!("is {found}, at least {least} is needed");
            tell(faults, key, message);
        }
    }
    if new.heads > 0 && !new.width.is_multiple_of(new.heads) {
        let message = format!(
            "is {}, which does not divide the width {}",
            new.heads, new.width
        );
        tell(faults, "text.new.heads", message);
    }
    if trainable == Trainable::Last(0) {
        tell(
            faults,
            "text.trainable",
            "is 0, and `new` has random weights, which have to train",
        );
    }
}

/// What the caption loss asks for.
fn caption(recipe: &FitRecipe, faults: &mut Faults) {
    let weight = recipe.loss.caption;
    let Some(caption) = &recipe.caption else {
        if weight > 0.0 {
            tell(
                faults,
                "loss.caption",
                "needs a decoder, and there is no `[caption]`",
            );
        }
        return;
    };
    if weight == 0.0 {
        tell(
            faults,
            "caption",
            "trains a decoder, and `caption` under [loss] is 0",
        );
    }
    for (key, found) in [
        ("caption.layers", caption.layers),
        ("caption.heads", caption.heads),
        ("caption.queries", caption.queries),
        ("caption.beams", caption.beams),
    ] {
        if found == 0 {
            tell(faults, key, "is 0, at least 1 is needed");
        }
    }
    if caption.held < 2 {
        let message = format!(
            "is {}, at least 2 is needed: some captions train",
            caption.held
        );
        tell(faults, "caption.held", message);
    }
    if !(0.0..1.0).contains(&caption.label_smoothing) {
        let message = format!("is {}, expected 0 to below 1", caption.label_smoothing);
        tell(faults, "caption.label_smoothing", message);
    }
    if !recipe.text.as_ref().is_some_and(Text::trains) {
        let message = "reads the tokens of a text encoder that trains; name one with `graph` or `new` under [text]";
        tell(faults, "caption", message);
    }
}

/// What speaks against features that are computed once.
fn cached(recipe: &FitRecipe, faults: &mut Faults) {
    if !recipe.image.cached {
        return;
    }
    for (given, what) in [
        (
            !recipe.data.augmentation.is_empty(),
            "there are augmentations",
        ),
        (recipe.data.views > 1, "`data.views` is above 1"),
        (
            recipe.loss.transform > 0.0,
            "`loss.transform` turns pictures",
        ),
        (recipe.quantise.is_some(), "`[quantise]` rounds every layer"),
    ] {
        if given {
            let message =
                format!("keeps what the encoder gives for pictures as they are, and {what}");
            tell(faults, "image.cached", message);
        }
    }
}

fn lora(recipe: &FitRecipe, faults: &mut Faults) {
    let Some(lora) = &recipe.image.lora else {
        return;
    };
    const LARGEST: f32 = 1e4;
    let mut tell = |message: String| tell(faults, "image.lora", message);
    if lora.rank == 0 {
        tell("has `rank` 0, at least 1 is needed".to_owned());
    }
    if let Some(alpha) = lora.alpha
        && !(f32::MIN_POSITIVE..=LARGEST).contains(&alpha)
    {
        tell(format!(
            "has `alpha` {alpha}, expected above 0 and at most {LARGEST}"
        ));
    }
    if recipe.quantise.is_some() {
        let message = "updates weights in f32, and there is `[quantise]`; quantise the graph that was trained";
        tell(message.to_owned());
    }
}

fn precision(recipe: &FitRecipe, faults: &mut Faults) {
    let precision = recipe.optimiser.precision;
    if precision != Precision::F32 && recipe.quantise.is_some() {
        let message = format!(
            "is \"{precision}\", and `[quantise]` rounds as the packed model does, which takes \"f32\""
        );
        tell(faults, "optimiser.precision", message);
    }
}
