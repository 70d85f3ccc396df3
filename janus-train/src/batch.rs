//! Packed documents.

use janus_data::{PackedRow, TokenRow};

use crate::{Error, Result};

/// Documents one after the other, without padding; no token sees another document.
///
/// ```text
/// ids         1 5 7 2 1 9 9 2          documents 1 5 7 2 and 1 9 9 2
/// loss_mask   0 0 1 1 0 1 1 1
/// cu_seqlens  0       4       8
/// positions   0 1 2 3 0 1 2 3
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Tokens of all documents.
    pub ids: Vec<u32>,
    /// Which of them the model is trained to predict; a document's first token never carries loss.
    pub loss_mask: Vec<bool>,
    /// Document d is `ids[cu_seqlens[d]..cu_seqlens[d + 1]]`; begins with 0.
    pub cu_seqlens: Vec<u32>,
}

impl From<PackedRow> for Batch {
    fn from(row: PackedRow) -> Self {
        Self { ids: row.ids, loss_mask: row.loss_mask, cu_seqlens: row.cu_seqlens }
    }
}

impl Batch {
    /// The rows in their order.
    pub fn concat(rows: &[&TokenRow]) -> Self {
        janus_data::concat(rows).into()
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.cu_seqlens.len().saturating_sub(1)
    }

    /// The document that each of these tokens belongs to; tokens must rise.
    pub(crate) fn documents_of(&self, tokens: &[u32]) -> Vec<u32> {
        let mut document = 0;
        let of = |&token: &u32| {
            while self.cu_seqlens[document + 1] <= token {
                document += 1;
            }
            document as u32
        };
        tokens.iter().map(of).collect()
    }

    /// Indices of the tokens whose prediction carries loss; the prediction of token i is made at i - 1.
    pub fn supervised(&self) -> Vec<u32> {
        let documents = self.cu_seqlens.windows(2);
        documents.flat_map(|ends| ends[0] + 1..ends[1].max(ends[0] + 1)).filter(|&i| self.loss_mask[i as usize]).collect()
    }

    /// Checks that tokens rise, and that each has one before it in its document.
    pub(crate) fn check_predicted(&self, tokens: &[u32]) -> Result<()> {
        let fail = |reason| Err(Error::Batch { reason });
        if !tokens.is_sorted() || tokens.last().is_some_and(|&last| last as usize >= self.tokens()) {
            return fail(format!("tokens must rise and be below {}", self.tokens()));
        }
        let documents = self.documents_of(tokens);
        match tokens.iter().zip(documents).find(|&(&token, document)| token == self.cu_seqlens[document as usize]) {
            Some((token, _)) => fail(format!("token {token} is the first of its document: nothing predicts it")),
            None => Ok(()),
        }
    }

    /// Checks that the parts fit together and that ids are below `vocab_size`.
    ///
    /// # Errors
    /// [`Error::Batch`] with what does not fit.
    pub fn check(&self, vocab_size: usize) -> Result<()> {
        let fail = |reason| Err(Error::Batch { reason });
        if self.ids.is_empty() || self.loss_mask.len() != self.ids.len() {
            return fail(format!("{} ids and a loss mask of {}: expected one length, of at least 1", self.ids.len(), self.loss_mask.len()));
        }
        let ends = (self.cu_seqlens.first(), self.cu_seqlens.last());
        if ends != (Some(&0), Some(&(self.ids.len() as u32))) || !self.cu_seqlens.is_sorted() {
            return fail(format!("cu_seqlens must rise from 0 to {}, got {:?}", self.ids.len(), self.cu_seqlens));
        }
        match self.ids.iter().position(|&id| id as usize >= vocab_size) {
            Some(i) => fail(format!("token {i} has id {}, but the vocabulary ends before {vocab_size}", self.ids[i])),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supervised_tokens_are_the_trained_ones_that_something_precedes() {
        let a = TokenRow { ids: vec![1, 5, 7], loss_mask: vec![true, false, true] };
        let b = TokenRow { ids: vec![], loss_mask: vec![] };
        let batch = Batch::concat(&[&a, &b, &a]);
        assert_eq!(batch.cu_seqlens, [0, 3, 3, 6]);
        assert_eq!((batch.documents(), batch.documents_of(&[0, 2, 3, 5])), (3, vec![0, 0, 2, 2]));
        assert_eq!(batch.supervised(), [2, 5], "a first token is never predicted from the document before");
        assert!(batch.check(8).is_ok());
        assert!(batch.check_predicted(&[1, 2, 4]).is_ok());
        for (bad, reason) in [(vec![1, 3], "token 3 is the first"), (vec![2, 1], "must rise"), (vec![5, 6], "below 6")] {
            assert!(batch.check_predicted(&bad).unwrap_err().to_string().contains(reason), "{bad:?}");
        }
    }

    #[test]
    fn a_batch_that_does_not_fit_is_refused_with_its_reason() {
        let good = Batch { ids: vec![0, 1], loss_mask: vec![false, true], cu_seqlens: vec![0, 2] };
        for (bad, reason) in [
            (Batch { loss_mask: vec![true], ..good.clone() }, "a loss mask of"),
            (Batch { cu_seqlens: vec![0, 1], ..good.clone() }, "cu_seqlens"),
            (Batch { cu_seqlens: vec![0, 2, 1, 2], ..good.clone() }, "cu_seqlens"),
            (Batch { ids: vec![0, 9], ..good.clone() }, "id 9"),
        ] {
            assert!(bad.check(8).unwrap_err().to_string().contains(reason), "{bad:?}");
        }
    }
}
