//! Classes of A64 instructions, from their encoding: chapter C4 of the Arm Architecture Reference Manual (DDI 0487).

/// What an instruction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Integer dot products and matrix products: SDOT, UDOT, USDOT, SMMLA, UMMLA, USMMLA.
    Dot,
    /// The other vector instructions on integers and bits, moves and permutations too.
    VectorInt,
    /// Vector instructions on floats.
    VectorFloat,
    /// Floats outside vectors, and moves between their registers and the general ones.
    ScalarFloat,
    /// Loads, stores, prefetches, of any register.
    LoadStore,
    /// Jumps, calls, returns.
    Branch,
    /// Everything else: general registers, system, SVE, and all instructions of a CPU that is no AArch64.
    Other,
}

impl Class {
    /// How many there are.
    pub(crate) const COUNT: usize = 7;

    /// Their columns, in the order of the variants.
    pub(crate) const NAMES: [&str; Self::COUNT] = [
        "dot",
        "vector_int",
        "vector_float",
        "scalar_float",
        "load_store",
        "branch",
        "other",
    ];

    /// The class of an A64 instruction.
    pub(crate) fn of_a64(word: u32) -> Self {
        match bits(word, 28, 25) {
            0b1010 | 0b1011 => branch_or_system(word),
            group if group & 0b0101 == 0b0100 => Self::LoadStore,
            0b0111 | 0b1111 => simd_or_float(word),
            _ => Self::Other,
        }
    }
}

/// Bits `high..=low` of a word.
fn bits(word: u32, high: u32, low: u32) -> u32 {
    (word >> low) & ((1 << (high - low + 1)) - 1)
}

/// Branches, exceptions and system instructions.
fn branch_or_system(word: u32) -> Class {
    let b_or_bl = bits(word, 30, 26) == 0b00101;
    let compare_or_test = bits(word, 30, 26) == 0b01101;
    let conditional = bits(word, 31, 25) == 0b010_1010;
    let to_register = bits(word, 31, 25) == 0b110_1011;
    if b_or_bl || compare_or_test || conditional || to_register {
        Class::Branch
    } else {
        Class::Other
    }
}

/// Scalar floats, and Advanced SIMD, whose scalar forms are encoded as the vector ones.
fn simd_or_float(word: u32) -> Class {
    if bits(word, 30, 30) == 0 && bits(word, 28, 28) == 1 {
        return Class::ScalarFloat;
    }
    // EOR3, BCAX, XAR, SHA-512: the only ones with the top bit set.
    if bits(word, 31, 31) == 1 {
        return Class::VectorInt;
    }
    match (bits(word, 24, 24), bits(word, 10, 10)) {
        (0, 1) => three_registers(word),
        (0, _) => two_registers(word),
        (_, 0) => by_element(word),
        _ => immediate(word),
    }
}

/// Three registers of one shape, FP16 and the additions with dot products, copies.
fn three_registers(word: u32) -> Class {
    let opcode = bits(word, 15, 11);
    if bits(word, 21, 21) == 1 {
        return float_if(opcode >= 0b11000);
    }
    match opcode {
        0b10010..=0b10101 => Class::Dot,
        0b10110.. => Class::VectorFloat,
        // FP16, apart from copies by a bit of the size.
        0b00000..=0b00111 => float_if(bits(word, 22, 22) == 1),
        _ => Class::VectorInt,
    }
}

/// Two registers, sums across lanes, and what is encoded beside them: widening products, permutations, tables.
fn two_registers(word: u32) -> Class {
    if bits(word, 11, 11) == 0 {
        return Class::VectorInt;
    }
    let opcode = bits(word, 16, 12);
    match bits(word, 21, 17) {
        0b10000 => float_if(matches!(opcode, 0b01100..=0b01111 | 0b10110..)),
        0b11000 => float_if(matches!(opcode, 0b01100..=0b01111)),
        0b11100 => Class::VectorFloat,
        _ => Class::VectorInt,
    }
}

/// A vector by one element of another.
fn by_element(word: u32) -> Class {
    let brain_float = bits(word, 22, 22) == 1;
    match (bits(word, 29, 29), bits(word, 15, 12)) {
        (_, 0b1110) => Class::Dot,
        (_, 0b1111) if !brain_float => Class::Dot,
        (_, 0b1111 | 0b0001 | 0b0101 | 0b1001) => Class::VectorFloat,
        (0, 0b0000 | 0b0100) => Class::VectorFloat,
        (1, 0b0011 | 0b0111 | 0b1000 | 0b1100) => Class::VectorFloat,
        _ => Class::VectorInt,
    }
}

/// Shifts by an immediate, conversions to and from fixed point, constants.
fn immediate(word: u32) -> Class {
    let constant = bits(word, 23, 19) == 0;
    float_if(!constant && matches!(bits(word, 15, 11), 0b11100 | 0b11111))
}

fn float_if(float: bool) -> Class {
    if float {
        Class::VectorFloat
    } else {
        Class::VectorInt
    }
}

#[cfg(test)]
mod tests {
    use super::Class;

    /// Instructions as GNU `as` encodes them, by class.
    const ENCODED: [(Class, &[(u32, &str)]); Class::COUNT] = [
        (
            Class::Dot,
            &[
                (0x4E829420, "sdot v0.4s, v1.16b, v2.16b"),
                (0x2E829420, "udot v0.2s, v1.8b, v2.8b"),
                (0x4E829C20, "usdot v0.4s, v1.16b, v2.16b"),
                (0x4E82A420, "smmla v0.4s, v1.16b, v2.16b"),
                (0x6E82A420, "ummla v0.4s, v1.16b, v2.16b"),
                (0x4E82AC20, "usmmla v0.4s, v1.16b, v2.16b"),
                (0x4FA2E820, "sdot v0.4s, v1.16b, v2.4b[3]"),
                (0x6F82E020, "udot v0.4s, v1.16b, v2.4b[0]"),
                (0x4FA2F020, "usdot v0.4s, v1.16b, v2.4b[1]"),
                (0x4F22F020, "sudot v0.4s, v1.16b, v2.4b[1]"),
            ],
        ),
        (
            Class::VectorInt,
            &[
                (0x4EA28420, "add v0.4s, v1.4s, v2.4s"),
                (0x4E629C20, "mul v0.8h, v1.8h, v2.8h"),
                (0x6FA20020, "mla v0.4s, v1.4s, v2.s[1]"),
                (0x0F622020, "smlal v0.4s, v1.4h, v2.h[2]"),
                (0x4E22C020, "smull2 v0.8h, v1.16b, v2.16b"),
                (0x4E628020, "smlal2 v0.4s, v1.8h, v2.8h"),
                (0x6EA2B420, "sqrdmulh v0.4s, v1.4s, v2.4s"),
                (0x4F82D020, "sqrdmulh v0.4s, v1.4s, v2.s[0]"),
                (0x6E828420, "sqrdmlah v0.4s, v1.4s, v2.4s"),
                (0x4EA25420, "srshl v0.4s, v1.4s, v2.4s"),
                (0x4E221C20, "and v0.16b, v1.16b, v2.16b"),
                (0x6E621C20, "bsl v0.16b, v1.16b, v2.16b"),
                (0x4E226420, "smax v0.16b, v1.16b, v2.16b"),
                (0x4EA08820, "cmgt v0.4s, v1.4s, #0"),
                (0x4E20B820, "abs v0.16b, v1.16b"),
                (0x0E614820, "sqxtn v0.4h, v1.4s"),
                (0x4E214820, "sqxtn2 v0.16b, v1.8h"),
                (0x0E212820, "xtn v0.8b, v1.8h"),
                (0x4E606820, "sadalp v0.4s, v1.8h"),
                (0x4EB1B820, "addv s0, v1.4s"),
                (0x4EB03820, "saddlv d0, v1.4s"),
                (0x4EA2BC20, "addp v0.4s, v1.4s, v2.4s"),
                (0x5EF1B820, "addp d0, v1.2d"),
                (0x4E040C20, "dup v0.4s, w1"),
                (0x4E140420, "dup v0.4s, v1.s[2]"),
                (0x6E0C6420, "ins v0.s[1], v1.s[3]"),
                (0x0E0C3C20, "umov w0, v1.s[1]"),
                (0x4E062C20, "smov x0, v1.h[1]"),
                (0x4E023820, "zip1 v0.16b, v1.16b, v2.16b"),
                (0x4E826820, "trn2 v0.4s, v1.4s, v2.4s"),
                (0x4E421820, "uzp1 v0.8h, v1.8h, v2.8h"),
                (0x6E022020, "ext v0.16b, v1.16b, v2.16b, #4"),
                (0x4E032020, "tbl v0.16b, {v1.16b, v2.16b}, v3.16b"),
                (0x4F000420, "movi v0.4s, #1"),
                (0x6F000420, "mvni v0.4s, #1"),
                (0x4F3D0420, "sshr v0.4s, v1.4s, #3"),
                (0x0F0C8420, "shrn v0.8b, v1.8h, #4"),
                (0x0F1B9C20, "sqrshrn v0.4h, v1.4s, #5"),
                (0x0F08A420, "sshll v0.8h, v1.8b, #0"),
                (0x6F3C4420, "sri v0.4s, v1.4s, #4"),
                (0xCE020C20, "eor3 v0.16b, v1.16b, v2.16b, v3.16b"),
                (0x4E284820, "aese v0.16b, v1.16b"),
                (0x4F42C020, "sqdmulh v0.8h, v1.8h, v2.h[0]"),
                (0x6F424020, "mls v0.8h, v1.8h, v2.h[0]"),
                (0x4E200820, "rev64 v0.16b, v1.16b"),
                (0x4E205820, "cnt v0.16b, v1.16b"),
                (0x5E220C20, "sqadd b0, b1, b2"),
                (0x0F423020, "sqdmlal v0.4s, v1.4h, v2.h[0]"),
                (0x0E22E020, "pmull v0.8h, v1.8b, v2.8b"),
            ],
        ),
        (
            Class::VectorFloat,
            &[
                (0x4E22D420, "fadd v0.4s, v1.4s, v2.4s"),
                (0x4E22CC20, "fmla v0.4s, v1.4s, v2.4s"),
                (0x4E420C20, "fmla v0.8h, v1.8h, v2.8h"),
                (0x4FA21020, "fmla v0.4s, v1.4s, v2.s[1]"),
                (0x4F321820, "fmla v0.8h, v1.8h, v2.h[7]"),
                (0x4FC29820, "fmul v0.2d, v1.2d, v2.d[1]"),
                (0x4F029020, "fmul v0.8h, v1.8h, v2.h[0]"),
                (0x6F829020, "fmulx v0.4s, v1.4s, v2.s[0]"),
                (0x4E22EC20, "fmlal v0.4s, v1.4h, v2.4h"),
                (0x6E22CC20, "fmlal2 v0.4s, v1.4h, v2.4h"),
                (0x4FB20020, "fmlal v0.4s, v1.4h, v2.h[3]"),
                (0x6FB2C020, "fmlsl2 v0.4s, v1.4h, v2.h[3]"),
                (0x4E423420, "fmax v0.8h, v1.8h, v2.8h"),
                (0x6E30C820, "fmaxnmv s0, v1.4s"),
                (0x4EB0F820, "fminv h0, v1.8h"),
                (0x6E22D420, "faddp v0.4s, v1.4s, v2.4s"),
                (0x7E30D820, "faddp s0, v1.2s"),
                (0x0E217820, "fcvtl v0.4s, v1.4h"),
                (0x0E216820, "fcvtn v0.4h, v1.4s"),
                (0x4E21D820, "scvtf v0.4s, v1.4s"),
                (0x4E79D820, "scvtf v0.8h, v1.8h"),
                (0x4E21C820, "fcvtas v0.4s, v1.4s"),
                (0x4F3CFC20, "fcvtzs v0.4s, v1.4s, #4"),
                (0x6F3CE420, "ucvtf v0.4s, v1.4s, #4"),
                (0x4EA0F820, "fabs v0.4s, v1.4s"),
                (0x6EF8F820, "fneg v0.8h, v1.8h"),
                (0x4EA1D820, "frecpe v0.4s, v1.4s"),
                (0x6EA1F820, "fsqrt v0.4s, v1.4s"),
                (0x4EA0C820, "fcmgt v0.4s, v1.4s, #0.0"),
                (0x6E22E420, "fcmge v0.4s, v1.4s, v2.4s"),
                (0x6E22FC20, "fdiv v0.4s, v1.4s, v2.4s"),
                (0x4E218820, "frintn v0.4s, v1.4s"),
                (0x6E42FC20, "bfdot v0.4s, v1.8h, v2.8h"),
                (0x6E42EC20, "bfmmla v0.4s, v1.8h, v2.8h"),
                (0x4F62F020, "bfdot v0.4s, v1.8h, v2.2h[1]"),
                (0x6E82CC20, "fcmla v0.4s, v1.4s, v2.4s, #90"),
                (0x4E22FC20, "frecps v0.4s, v1.4s, v2.4s"),
                (0x4EE2C420, "fminnm v0.2d, v1.2d, v2.2d"),
            ],
        ),
        (
            Class::ScalarFloat,
            &[
                (0x1E222820, "fadd s0, s1, s2"),
                (0x1F420C20, "fmadd d0, d1, d2, d3"),
                (0x1E260020, "fmov w0, s1"),
                (0x1E2E1000, "fmov s0, #1.0"),
                (0x1E220020, "scvtf s0, w1"),
                (0x9E780020, "fcvtzs x0, d1"),
                (0x1E212000, "fcmp s0, s1"),
                (0x1E220C20, "fcsel s0, s1, s2, eq"),
                (0x1E23C020, "fcvt h0, s1"),
                (0x1EE20820, "fmul h0, h1, h2"),
            ],
        ),
        (
            Class::LoadStore,
            &[
                (0xF9400020, "ldr x0, [x1]"),
                (0xB8227820, "str w0, [x1, x2, lsl #2]"),
                (0xACC10440, "ldp q0, q1, [x2], #32"),
                (0xA9BF7BFD, "stp x29, x30, [sp, #-16]!"),
                (0x4C40A000, "ld1 {v0.16b, v1.16b}, [x0]"),
                (0x0D009000, "st1 {v0.s}[1], [x0]"),
                (0x4D40C800, "ld1r {v0.4s}, [x0]"),
                (0x3DC00420, "ldr q0, [x1, #16]"),
                (0xF9800000, "prfm pldl1keep, [x0]"),
                (0x39400020, "ldrb w0, [x1]"),
                (0xC85FFC20, "ldaxr x0, [x1]"),
                (0xF8200041, "ldadd x0, x1, [x2]"),
                (0x58000040, "ldr x0, 8"),
                (0xFC5F8020, "ldur d0, [x1, #-8]"),
                (0xC8E0FC41, "casal x0, x1, [x2]"),
                (0x4CDF0400, "ld4 {v0.8h, v1.8h, v2.8h, v3.8h}, [x0], #64"),
            ],
        ),
        (
            Class::Branch,
            &[
                (0x14000002, "b 8"),
                (0x94000002, "bl 8"),
                (0x54000041, "b.ne 8"),
                (0xB4000040, "cbz x0, 8"),
                (0x37180040, "tbnz w0, #3, 8"),
                (0xD65F03C0, "ret"),
                (0xD61F0000, "br x0"),
                (0xD63F0020, "blr x1"),
            ],
        ),
        (
            Class::Other,
            &[
                (0x91000420, "add x0, x1, #1"),
                (0xD4000001, "svc #0"),
                (0xD503201F, "nop"),
                (0xD2800020, "mov x0, #1"),
                (0x9B020C20, "madd x0, x1, x2, x3"),
                (0x9A820020, "csel x0, x1, x2, eq"),
                (0xD53BD040, "mrs x0, tpidr_el0"),
                (0xD5033BBF, "dmb ish"),
                (0x90000000, "adrp x0, 0"),
                (0x53031820, "ubfx w0, w1, #3, #4"),
                (0xEB020020, "subs x0, x1, x2"),
                (0xFA410000, "ccmp x0, x1, #0, eq"),
                (0xDAC00020, "rbit x0, x1"),
                (0x5AC01020, "clz w0, w1"),
                (0x1AC20820, "udiv w0, w1, w2"),
            ],
        ),
    ];

    #[test]
    fn instructions_of_every_class_are_told_apart() {
        for (expected, instructions) in ENCODED {
            for (word, text) in instructions {
                assert_eq!(Class::of_a64(*word), expected, "{word:#010x} {text}");
            }
        }
    }

    #[test]
    fn every_word_has_a_class() {
        for high in 0..=u32::from(u16::MAX) {
            for low in [0x0000, 0x0400, 0x0C00, 0x8400, 0xF800, 0xFFFF] {
                let class = Class::of_a64(high << 16 | low);
                assert!((class as usize) < Class::COUNT);
            }
        }
    }
}
