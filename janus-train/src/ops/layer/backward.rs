//! The backward pass of a layer.

use candle_core::Result;
use janus_infer::Projection;
use janus_infer::kernels::norm;
use janus_infer::kernels::simd::vectorised;
use rayon::prelude::*;

use super::{Layer, SavedActivations, Sizes, rows};
use crate::matrix::{Mat, MatMut, matmul, par_weight_gradient};
use crate::ops::attention::{self, Gradients};
use crate::ops::gradient::Weight;
use crate::ops::storage::Values;
use crate::ops::weights::{LowRank, ProjectionWeights};
use crate::ops::{ROWS_PER_TASK, rms_norm, swiglu};
use crate::scratch::Scratch;

impl Layer {
    /// Returns the gradient of x, and adds the gradients of the weights to their accumulators.
    pub(crate) fn backward(&self, dy: &[f32], saved: &SavedActivations) -> Result<Scratch> {
        let Sizes { tokens, hidden, q, kv, qkv, ffn } = self.sizes;
        let eps = self.shape.rms_norm_eps as f32;
        let w = &self.read()?;
        let x = &*saved.x;

        // From the layer's output through the MLP to the attention's output.
        let (mut gated, mut dgate_up) = (Scratch::new(tokens * ffn), Scratch::new(tokens * 2 * ffn));
        let (mut normed, mut dmiddle) = (Scratch::new(tokens * hidden), Scratch::new(tokens * hidden));
        let mut dmixed = Scratch::new(tokens * q);
        let dpost_norm: Vec<Vec<f32>> = gated
            .par_chunks_mut(ROWS_PER_TASK * ffn)
            .zip(dgate_up.par_chunks_mut(ROWS_PER_TASK * 2 * ffn))
            .zip(
                normed
                    .par_chunks_mut(ROWS_PER_TASK * hidden)
                    .zip(dmiddle.par_chunks_mut(ROWS_PER_TASK * hidden)),
            )
            .zip(dmixed.par_chunks_mut(ROWS_PER_TASK * q))
            .enumerate()
            .map(|(task, (((gated, dgate_up), (normed, dmiddle)), dmixed))| {
                let (start, n) = (task * ROWS_PER_TASK, normed.len() / hidden);
                let dy = rows(dy, hidden, start, n);
                let middle = rows(&saved.middle, hidden, start, n);
                let mut dnormed = Scratch::new(n * hidden);
                // `gated` has the gradient of the gated activation until swiglu::backward replaces it by
                // the activation.
                matmul(
                    MatMut::new(gated, n, ffn),
                    false,
                    Mat::new(dy, n, hidden),
                    w.projection(Projection::Down, ffn),
                );
                dgate_up.copy_from_slice(rows(&saved.gate_up, 2 * ffn, start, n));
                vectorised!(|| {
                    for row in 0..n {
                        let (gate, up) = dgate_up[row * 2 * ffn..][..2 * ffn].split_at_mut(ffn);
                        swiglu::backward(gate, up, &mut gated[row * ffn..][..ffn]);
                    }
                });
                let dgate_up = Mat::new(dgate_up, n, 2 * ffn);
                matmul(
                    MatMut::new(&mut dnormed, n, hidden),
                    false,
                    dgate_up.cols(0..ffn),
                    w.projection(Projection::Gate, hidden),
                );
                matmul(
                    MatMut::new(&mut dnormed, n, hidden),
                    true,
                    dgate_up.cols(ffn..2 * ffn),
                    w.projection(Projection::Up, hidden),
                );
                norm::rms_norm(middle, &w.post_norm, eps, normed);
                dmiddle.copy_from_slice(dy);
                let mut dnorm = vec![0.0; hidden];
                rms_norm::backward(middle, &w.post_norm, eps, &dnormed, dmiddle, &mut dnorm);
                matmul(
                    MatMut::new(dmixed, n, q),
                    false,
                    Mat::new(dmiddle, n, hidden),
                    w.projection(Projection::O, q),
                );
                dnorm
            })
            .collect();

        let dgate_up_mat = Mat::new(&dgate_up, tokens, 2 * ffn);
        let normed_mat = Mat::new(&normed, tokens, hidden);
        self.project_gradient(Projection::Gate, dgate_up_mat.cols(0..ffn), normed_mat)?;
        self.project_gradient(Projection::Up, dgate_up_mat.cols(ffn..2 * ffn), normed_mat)?;
        self.project_gradient(Projection::Down, Mat::new(dy, tokens, hidden), Mat::new(&gated, tokens, ffn))?;
        self.project_gradient(
            Projection::O,
            Mat::new(&dmiddle, tokens, hidden),
            Mat::new(&saved.mixed, tokens, q),
        )?;
        self.norm_gradient(&self.weights.post_attention_layernorm, &dpost_norm)?;
        drop((gated, dgate_up));

        let mut dqkv = Scratch::new(tokens * qkv);
        let (dq, dkv) = MatMut::new(&mut dqkv, tokens, qkv).split_cols(q);
        let (dk, dv) = dkv.split_cols(kv);
        let dmixed = Mat::new(&dmixed, tokens, q);
        attention::backward(
            self.shape.attention,
            &self.shape.cu_seqlens,
            self.inputs(&saved.qkv),
            dmixed,
            Gradients { dq, dk, dv },
        );

        // From queries, keys and values to x.
        let mut dx = Scratch::new(tokens * hidden);
        let dinput_norm: Vec<Vec<f32>> = dqkv
            .par_chunks_mut(ROWS_PER_TASK * qkv)
            .zip(normed.par_chunks_mut(ROWS_PER_TASK * hidden).zip(dx.par_chunks_mut(ROWS_PER_TASK * hidden)))
            .enumerate()
            .map(|(task, (dqkv, (normed, dx)))| {
                let (start, n) = (task * ROWS_PER_TASK, normed.len() / hidden);
                let x = rows(x, hidden, start, n);
                self.rotate(dqkv, start, true);
                let mut dnormed = Scratch::new(n * hidden);
                let dqkv = Mat::new(dqkv, n, qkv);
                matmul(
                    MatMut::new(&mut dnormed, n, hidden),
                    false,
                    dqkv.cols(0..q),
                    w.projection(Projection::Q, hidden),
                );
                matmul(
                    MatMut::new(&mut dnormed, n, hidden),
                    true,
                    dqkv.cols(q..q + kv),
                    w.projection(Projection::K, hidden),
                );
                matmul(
                    MatMut::new(&mut dnormed, n, hidden),
                    true,
                    dqkv.cols(q + kv..qkv),
                    w.projection(Projection::V, hidden),
                );
                norm::rms_norm(x, &w.input_norm, eps, normed);
                dx.copy_from_slice(rows(&dmiddle, hidden, start, n));
                let mut dnorm = vec![0.0; hidden];
                rms_norm::backward(x, &w.input_norm, eps, &dnormed, dx, &mut dnorm);
                dnorm
            })
            .collect();
        let (dqkv, normed) = (Mat::new(&dqkv, tokens, qkv), Mat::new(&normed, tokens, hidden));
        self.project_gradient(Projection::Q, dqkv.cols(0..q), normed)?;
        self.project_gradient(Projection::K, dqkv.cols(q..q + kv), normed)?;
        self.project_gradient(Projection::V, dqkv.cols(q + kv..qkv), normed)?;
        self.norm_gradient(&self.weights.input_layernorm, &dinput_norm)?;
        Ok(dx)
    }

    /// Adds the gradients of a projection and of its LoRA adapter, given the gradient `dy` of its output
    /// and its input `x`. Nothing is computed for a frozen weight.
    ///
    /// With y = x(W + sBA)ᵀ: dW = dyᵀx, dB = s · dyᵀ(xAᵀ), dA = s · (dy·B)ᵀx.
    fn project_gradient(&self, projection: Projection, dy: Mat<'_>, x: Mat<'_>) -> Result<()> {
        let ProjectionWeights { weight, lora } = &self.weights.projections[projection];
        if let Some(gradient) = &weight.gradient {
            gradient.add(weight.tensor.shape(), |dw, filled| par_weight_gradient(dw, filled, dy, x))?;
        }
        let Some(LowRank { a, b, scale, .. }) = lora else { return Ok(()) };
        let scale = *scale as f32;
        let ((rank, input), out, tokens) = (a.tensor.dims2()?, b.tensor.dim(0)?, self.sizes.tokens);
        // The scale is applied to the narrow product of `rank` columns, which has the fewest elements.
        let narrow = |wide: Mat<'_>, weight: Mat<'_>| {
            let mut product = Scratch::new(tokens * rank);
            let blocks = MatMut::new(&mut product, tokens, rank).row_blocks(ROWS_PER_TASK);
            blocks.into_par_iter().enumerate().for_each(|(task, mut block)| {
                let rows = task * ROWS_PER_TASK..task * ROWS_PER_TASK + block.height();
                matmul(block.reborrow(), false, wide.rows(rows), weight);
                (0..block.height()).for_each(|i| block.row(i).iter_mut().for_each(|x| *x *= scale));
            });
            product
        };
        if let Some(gradient) = &b.gradient {
            let inner = narrow(x, Mat::new(&Values::of(&a.tensor)?, rank, input).t());
            gradient.add(b.tensor.shape(), |db, filled| {
                par_weight_gradient(db, filled, dy, Mat::new(&inner, tokens, rank))
            })?;
        }
        if let Some(gradient) = &a.gradient {
            let inner = narrow(dy, Mat::new(&Values::of(&b.tensor)?, out, rank));
            gradient.add(a.tensor.shape(), |da, filled| {
                par_weight_gradient(da, filled, Mat::new(&inner, tokens, rank), x)
            })?;
        }
        Ok(())
    }

    fn norm_gradient(&self, norm: &Weight, parts: &[Vec<f32>]) -> Result<()> {
        match &norm.gradient {
            Some(gradient) => gradient.add_vector(&rms_norm::sum_in_order(parts, self.sizes.hidden)),
            None => Ok(()),
        }
    }
}
