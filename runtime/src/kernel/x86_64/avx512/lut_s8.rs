//! Tables of bytes, 64 elements at a time.
//!
//! A table is 128 words, of which the upper 7 bits of an index pick one and the lowest bit a half. Of the 64 bytes of a vector,
//! those at even places are looked up first, then those at odd ones. Where channels have tables of their own, every table
//! that occurs among 64 of them is looked up, and a mask picks from what it gives:
//!
//! ```text
//! for 64 channels: tables = those of the channels; for each row: for each table: dst[its channels] = table[src]
//! ```

use core::arch::x86_64::*;

use super::memory::{load_i8, load_u8, mask64, store_i8};
use crate::kernel::scalar;

/// Tables among 64 channels up to which looking all of them up pays.
const MAX_TABLES: usize = 8;

/// A table of 256 bytes as four vectors of words, from index 0 on; what is below 0 follows 127.
type Words = [__m512i; 4];

/// `dst[i] = table[src[i] + 128]`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn lut_s8(table: &[i8; 256], src: &[i8], dst: &mut [i8]) {
    let words = words(table);
    for (dst, src) in dst.chunks_mut(64).zip(src.chunks(64)) {
        store_i8(dst, Places::new(load_i8(src)).look_up(&words));
    }
}

/// `dst[i, c] = tables[index[c]][src[i, c] + 128]`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn lut_channels_s8(tables: &[[i8; 256]], index: &[u8], src: &[i8], dst: &mut [i8]) {
    let channels = index.len();
    for (block, index) in index.chunks(64).enumerate() {
        let start = block * 64;
        let of_block = Tables::new(tables, index);
        let rows = dst.chunks_mut(channels).zip(src.chunks(channels));
        for (dst, src) in rows.filter(|(_, src)| src.len() > start) {
            let end = src.len().min(start + index.len());
            let (dst, src) = (&mut dst[start..end], &src[start..end]);
            match &of_block {
                Some(tables) => store_i8(dst, tables.look_up(load_i8(src))),
                None => scalar::lut_channels_s8(tables, index, src, dst),
            }
        }
    }
}

/// `dst[i, c] = tables[c][src[i, c]]` of pixels, 64 of them at a time in three vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn lut_rgb_u8(tables: &[[i8; 256]; 3], src: &[u8], dst: &mut [i8]) {
    // Bytes 0, 3, 6 and so on of a vector; 1, 4, 7; 2, 5, 8.
    const THIRDS: [__mmask64; 3] = [
        0x9249_2492_4924_9249,
        0x2492_4924_9249_2492,
        0x4924_9249_2492_4924,
    ];
    let [red, green, blue] = tables;
    let (red, green, blue) = (
        unsigned_words(red),
        unsigned_words(green),
        unsigned_words(blue),
    );
    for (dst, src) in dst.chunks_mut(192).zip(src.chunks(192)) {
        for (vector, (dst, src)) in dst.chunks_mut(64).zip(src.chunks(64)).enumerate() {
            let places = Places::new(load_u8(src));
            // 64 is 1 modulo 3: a vector begins with the next channel.
            let [green_place, blue_place] = [(4 - vector) % 3, (5 - vector) % 3];
            let found = places.look_up(&red);
            let found = _mm512_mask_blend_epi8(THIRDS[green_place], found, places.look_up(&green));
            let found = _mm512_mask_blend_epi8(THIRDS[blue_place], found, places.look_up(&blue));
            store_i8(dst, found);
        }
    }
}

/// The tables of up to 64 channels.
#[derive(Debug)]
struct Tables<'a> {
    count: usize,
    tables: [&'a [i8; 256]; MAX_TABLES],
    /// The channels of each table.
    channels: [__mmask64; MAX_TABLES],
}

impl<'a> Tables<'a> {
    /// `None` where too many tables occur.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new(tables: &'a [[i8; 256]], index: &[u8]) -> Option<Self> {
        let mut this = Self {
            count: 0,
            tables: [&[0; 256]; MAX_TABLES],
            channels: [0; MAX_TABLES],
        };
        let of_channels = load_u8(index);
        let mut rest = mask64(index.len());
        while rest != 0 {
            if this.count == MAX_TABLES {
                return None;
            }
            let table = index[rest.trailing_zeros() as usize];
            let same = _mm512_cmpeq_epi8_mask(of_channels, _mm512_set1_epi8(table as i8));
            this.tables[this.count] = &tables[usize::from(table)];
            this.channels[this.count] = same;
            this.count += 1;
            rest &= !same;
        }
        Some(this)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn look_up(&self, bytes: __m512i) -> __m512i {
        let places = Places::new(bytes);
        let tables = self.tables.iter().zip(self.channels).take(self.count);
        let mut found = _mm512_setzero_si512();
        for (table, channels) in tables {
            found = _mm512_mask_blend_epi8(channels, found, places.look_up(&words(table)));
        }
        found
    }
}

/// As [`words`], for bytes without a sign.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn unsigned_words(table: &[i8; 256]) -> Words {
    let [a, b, c, d] = words(table);
    [c, d, a, b]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn words(table: &[i8; 256]) -> Words {
    [
        load_i8(&table[128..192]),
        load_i8(&table[192..]),
        load_i8(&table[..64]),
        load_i8(&table[64..128]),
    ]
}

/// Where 64 bytes find their entries.
#[derive(Clone, Copy, Debug)]
struct Places {
    /// Words of even and of odd bytes.
    words: [__m512i; 2],
    /// Those in the upper half of the table.
    upper: [__mmask32; 2],
    /// How far an entry must move to its place: to the right for even bytes, to the left for odd ones.
    shifts: [__m512i; 2],
}

impl Places {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new(bytes: __m512i) -> Self {
        let ones = _mm512_set1_epi16(1);
        let high_half = _mm512_and_si512(bytes, ones);
        let low_half = _mm512_andnot_si512(_mm512_srli_epi16::<8>(bytes), ones);
        Self {
            words: [_mm512_srli_epi16::<1>(bytes), _mm512_srli_epi16::<9>(bytes)],
            upper: [
                _mm512_test_epi16_mask(bytes, _mm512_set1_epi16(0x80)),
                _mm512_movepi16_mask(bytes),
            ],
            shifts: [
                _mm512_slli_epi16::<3>(high_half),
                _mm512_slli_epi16::<3>(low_half),
            ],
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn look_up(&self, words: &Words) -> __m512i {
        let even = _mm512_srlv_epi16(self.pick(0, words), self.shifts[0]);
        let odd = _mm512_sllv_epi16(self.pick(1, words), self.shifts[1]);
        _mm512_mask_blend_epi8(0xAAAA_AAAA_AAAA_AAAA, even, odd)
    }

    /// The words of even or odd bytes: by the lowest 6 bits of each index and the half.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn pick(&self, odd: usize, words: &Words) -> __m512i {
        let index = self.words[odd];
        let low = _mm512_permutex2var_epi16(words[0], index, words[1]);
        let high = _mm512_permutex2var_epi16(words[2], index, words[3]);
        _mm512_mask_blend_epi16(self.upper[odd], low, high)
    }
}
