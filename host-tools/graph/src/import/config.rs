//! Numbers of the configurations that lie beside checkpoints: those that f32 cannot hold, and deviations and epsilons that
//! nothing can be divided by, are refused.

use serde_json::Value as Json;

/// Mean and deviation of the channels of a picture.
type Pixels = ([f32; 3], [f32; 3]);

/// Both of them, where a configuration has three numbers for each.
///
/// # Errors
/// With the sentence for it.
pub(super) fn pixels((mean, std): (&Json, &Json)) -> Result<Option<Pixels>, String> {
    let (Some(means), Some(deviations)) = (three(mean), three(std)) else {
        return Ok(None);
    };
    if !means.iter().all(|mean| mean.is_finite()) {
        return Err(format!("the mean of pixels is {mean}, expected about 0.5"));
    }
    if !deviations.iter().all(|&std| std.is_finite() && std > 0.0) {
        return Err(format!(
            "the deviation of pixels is {std}, expected more than 0 and about 0.3"
        ));
    }
    Ok(Some((means, deviations)))
}

fn three(json: &Json) -> Option<[f32; 3]> {
    let numbers = json.as_array()?.iter();
    let numbers = numbers.map(|number| number.as_f64().map(|number| number as f32));
    numbers.collect::<Option<Vec<f32>>>()?.try_into().ok()
}

/// What a layer normalisation adds to the variance, where a configuration says so.
///
/// # Errors
/// With the sentence for it.
pub(super) fn epsilon(json: &Json) -> Result<Option<f32>, String> {
    match json.as_f64() {
        None => Ok(None),
        Some(epsilon) if (0.0..=1.0).contains(&epsilon) => Ok(Some(epsilon as f32)),
        Some(_) => Err(format!(
            "the epsilon of layer normalisation is {json}, expected 0 to 1 and about 0.00001"
        )),
    }
}
