//! Coefficients of transcendental functions, minimax fits that the float kernels share; `docs/numerics.md` states the
//! errors.

/// ln 2 in two parts: the product of the first with a small integer is exact.
pub(crate) const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// p in eʳ = 1 + r + r²·p(r) for |r| ≤ ln 2 / 2, from the constant up.
pub(crate) const EXP: [f32; 5] = [
    0.499_999_94,
    0.166_665_15,
    0.041_668_456,
    0.008_369_419,
    0.001_381_314_5,
];

/// An odd function that is x·P(x²)/Q(x²) up to ±`limit` and rounds to ±1 beyond.
pub(crate) struct SaturatingRational<const N: usize> {
    pub(crate) limit: f32,
    /// P, from the constant up.
    pub(crate) numerator: [f32; N],
    /// Q, from the constant up.
    pub(crate) denominator: [f32; N],
}

/// The error function.
pub(crate) const ERF: SaturatingRational<6> = SaturatingRational {
    limit: 3.919_3,
    numerator: [
        core::f32::consts::FRAC_2_SQRT_PI,
        0.190_380_63,
        0.052_745_905,
        0.003_764_665,
        2.848_89e-4,
        2.050_658e-6,
    ],
    denominator: [
        1.0,
        0.502_053_2,
        0.114_098_97,
        0.014_967_297,
        0.001_162_355_6,
        3.809_793_3e-5,
    ],
};

/// The hyperbolic tangent.
pub(crate) const TANH: SaturatingRational<5> = SaturatingRational {
    limit: 9.0,
    numerator: [
        1.0,
        0.133_810_27,
        0.003_495_59,
        2.060_911_2e-5,
        1.335_469_9e-8,
    ],
    denominator: [1.0, 0.467_143_42, 0.025_876_99, 3.285_638e-4, 7.776_574e-7],
};
