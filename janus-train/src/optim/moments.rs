//! The two moments of a parameter, in f32 or in 8 bits with a scale for each block.

use janus_infer::kernels::simd::vectorised;
use rayon::prelude::*;

use super::dynamic_map::{DynamicMap, SIGNED, UNSIGNED};

/// Elements of one parallel task, for f32 moments.
const ELEMENTS: usize = 1 << 14;
/// Parameters with fewer elements keep f32 moments: they take little memory, and precision matters more
/// for them.
const SMALLEST: usize = 4096;

/// The moments of one parameter.
pub(super) enum Moments {
    F32 { mean: Vec<f32>, square: Vec<f32> },
    Eight { mean: Quantised, square: Quantised, block: usize },
}

/// Codes of a [`DynamicMap`], and for each block its scale: the largest absolute value, by which its
/// numbers were divided.
pub(super) struct Quantised {
    pub(super) codes: Vec<u8>,
    pub(super) scales: Vec<f32>,
}

/// The factors of one step.
#[derive(Clone, Copy)]
pub(super) struct Update {
    pub(super) scale: f32,
    pub(super) beta1: f32,
    pub(super) beta2: f32,
    pub(super) keep: f32,
    pub(super) rate: f32,
    pub(super) root: f32,
    pub(super) eps: f32,
}

impl Moments {
    /// Zeros for a parameter of `len` elements, in 8 bits if `block` is set and the parameter is large
    /// enough.
    pub(super) fn new(len: usize, block: Option<usize>) -> Self {
        match block.filter(|_| len >= SMALLEST) {
            Some(block) => {
                let zeros = |map: &DynamicMap| Quantised {
                    codes: vec![map.code(0.0); len],
                    scales: vec![0.0; len.div_ceil(block)],
                };
                Self::Eight { mean: zeros(&SIGNED), square: zeros(&UNSIGNED), block }
            }
            None => Self::F32 { mean: vec![0.0; len], square: vec![0.0; len] },
        }
    }

    /// Their size in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::F32 { mean, square } => 4 * (mean.len() + square.len()),
            Self::Eight { mean, square, .. } => {
                [mean, square].map(|q| q.codes.len() + 4 * q.scales.len()).iter().sum()
            }
        }
    }
}

impl Update {
    /// g = scale · gradient; m = β₁m + (1-β₁)g; v = β₂v + (1-β₂)g²; p = keep · p - rate · m / (root · √v +
    /// eps).
    pub(super) fn run(self, parameter: &mut [f32], gradient: &[f32], moments: &mut Moments) {
        match moments {
            Moments::F32 { mean, square } => {
                let moments = mean.par_chunks_mut(ELEMENTS).zip(square.par_chunks_mut(ELEMENTS));
                let parts =
                    parameter.par_chunks_mut(ELEMENTS).zip(gradient.par_chunks(ELEMENTS)).zip(moments);
                parts.for_each(|((p, g), (m, v))| self.part(p, g, m, v));
            }
            Moments::Eight { mean, square, block } => {
                let block = *block;
                let of = |q: &'_ mut Quantised| (std::mem::take(&mut q.codes), std::mem::take(&mut q.scales));
                let ((mut mean_codes, mut mean_scales), (mut square_codes, mut square_scales)) =
                    (of(mean), of(square));
                let means = mean_codes.par_chunks_mut(block).zip(&mut mean_scales);
                let squares = square_codes.par_chunks_mut(block).zip(&mut square_scales);
                parameter
                    .par_chunks_mut(block)
                    .zip(gradient.par_chunks(block))
                    .zip(means.zip(squares))
                    .with_min_len(8)
                    .for_each_init(
                        || (vec![0.0; block], vec![0.0; block]),
                        |(m, v), ((p, g), ((mean, mean_scale), (square, square_scale)))| {
                            let (m, v) = (&mut m[..p.len()], &mut v[..p.len()]);
                            read(&SIGNED, mean, *mean_scale, m);
                            read(&UNSIGNED, square, *square_scale, v);
                            self.part(p, g, m, v);
                            *mean_scale = write(&SIGNED, m, mean);
                            *square_scale = write(&UNSIGNED, v, square);
                        },
                    );
                *mean = Quantised { codes: mean_codes, scales: mean_scales };
                *square = Quantised { codes: square_codes, scales: square_scales };
            }
        }
    }

    fn part(self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let Self { scale, beta1, beta2, keep, rate, root, eps } = self;
        vectorised!(|| {
            let n = p.len();
            let (p, g, m, v) = (&mut p[..n], &g[..n], &mut m[..n], &mut v[..n]);
            for i in 0..n {
                let g = g[i] * scale;
                m[i] = beta1 * m[i] + (1.0 - beta1) * g;
                v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
                p[i] = p[i] * keep - rate * m[i] / (v[i].sqrt() * root + eps);
            }
        });
    }
}

fn read(map: &DynamicMap, codes: &[u8], scale: f32, values: &mut [f32]) {
    values.iter_mut().zip(codes).for_each(|(value, &code)| *value = map.value(code) * scale);
}

/// Writes the codes and returns the scale.
fn write(map: &DynamicMap, values: &[f32], codes: &mut [u8]) -> f32 {
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let inverse = if largest > 0.0 { 1.0 / largest } else { 0.0 };
    codes.iter_mut().zip(values).for_each(|(code, value)| *code = map.code(value * inverse));
    largest
}
