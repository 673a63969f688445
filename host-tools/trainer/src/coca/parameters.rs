//! Names, shapes and random starts of the weights, as open_clip names and starts them.

use super::Settings;
use crate::rng::Rng;

/// A weight before the first step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameter {
    /// As open_clip names it.
    pub(crate) name: String,
    /// `[1, n]` for what open_clip has as `[n]`.
    pub(crate) shape: [usize; 2],
    /// Row-major.
    pub(crate) data: Vec<f32>,
    /// Whether weight decay applies.
    pub(crate) decays: bool,
}

/// The weights of all parts, in a fixed order. Random ones are uniform with the standard deviations of open_clip.
pub(crate) fn parameters(settings: &Settings, seed: u64) -> Vec<Parameter> {
    let Settings {
        width,
        layers,
        queries,
        context,
        vocabulary,
        ..
    } = *settings;
    let mut list = List {
        rng: Rng::new(seed),
        all: Vec::new(),
    };
    let spread = (width as f32).sqrt().recip();
    let name = "visual.attn_pool";
    list.random(&format!("{name}.query"), [queries, width], 1.0, false);
    list.norm(&format!("{name}.ln_q"), width);
    list.norm(&format!("{name}.ln_k"), context);
    if context == width {
        list.random(
            &format!("{name}.attn.in_proj_weight"),
            [3 * width, width],
            spread,
            true,
        );
    } else {
        for (letter, inputs) in [("q", width), ("k", context), ("v", context)] {
            let deviation = (2.0 / (inputs + width) as f32).sqrt();
            let name = format!("{name}.attn.{letter}_proj_weight");
            list.random(&name, [width, inputs], deviation, true);
        }
    }
    list.zeros(&format!("{name}.attn.in_proj_bias"), 3 * width);
    list.linear(&format!("{name}.attn.out_proj"), [width, width], spread);
    list.norm("visual.ln_post", width);
    for kind in ["resblocks", "cross_attn"] {
        for layer in 0..layers {
            list.block(
                &format!("text_decoder.{kind}.{layer}"),
                kind == "cross_attn",
                width,
                layers,
            );
        }
    }
    list.norm("text_decoder.ln_final", width);
    list.random(
        "text_decoder.text_projection",
        [width, vocabulary],
        spread,
        true,
    );
    list.all
}

struct List {
    rng: Rng,
    all: Vec<Parameter>,
}

impl List {
    fn add(&mut self, name: &str, shape: [usize; 2], data: Vec<f32>, decays: bool) {
        self.all.push(Parameter {
            name: name.to_owned(),
            shape,
            data,
            decays,
        });
    }

    fn random(&mut self, name: &str, shape: [usize; 2], deviation: f32, decays: bool) {
        let data = self.rng.spread(shape[0] * shape[1], deviation);
        self.add(name, shape, data, decays);
    }

    fn zeros(&mut self, name: &str, count: usize) {
        self.add(name, [1, count], vec![0.0; count], false);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(
            &format!("{name}.weight"),
            [1, width],
            vec![1.0; width],
            false,
        );
        self.zeros(&format!("{name}.bias"), width);
    }

    fn linear(&mut self, name: &str, shape: [usize; 2], deviation: f32) {
        self.random(&format!("{name}.weight"), shape, deviation, true);
        self.zeros(&format!("{name}.bias"), shape[0]);
    }

    fn block(&mut self, name: &str, crosses: bool, width: usize, layers: usize) {
        let spread = (width as f32).sqrt().recip();
        let back = spread * ((2 * layers) as f32).sqrt().recip();
        self.norm(&format!("{name}.ln_1"), width);
        if crosses {
            self.norm(&format!("{name}.ln_1_kv"), width);
        }
        self.random(
            &format!("{name}.attn.in_proj_weight"),
            [3 * width, width],
            spread,
            true,
        );
        self.zeros(&format!("{name}.attn.in_proj_bias"), 3 * width);
        self.linear(&format!("{name}.attn.out_proj"), [width, width], back);
        self.norm(&format!("{name}.ln_2"), width);
        let wide = 4 * width;
        let of_wide = ((2 * width) as f32).sqrt().recip();
        self.linear(&format!("{name}.mlp.c_fc"), [wide, width], of_wide);
        self.linear(&format!("{name}.mlp.c_proj"), [width, wide], back);
    }
}
