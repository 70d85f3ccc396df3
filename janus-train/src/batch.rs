//! Batches of packed documents.

use janus_data::{PackedRow, TokenRow};

use crate::{BatchProblem, Error, Result};

/// Documents packed one after the other without padding; no token attends to another document.
///
/// ```text
/// ids         1 5 7 2 1 9 9 2          documents 1 5 7 2 and 1 9 9 2
/// loss mask   0 0 1 1 0 1 1 1
/// cu_seqlens  0       4       8
/// positions   0 1 2 3 0 1 2 3
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub(crate) ids: Vec<u32>,
    pub(crate) loss_mask: Vec<bool>,
    pub(crate) cu_seqlens: Vec<u32>,
}

impl TryFrom<PackedRow> for Batch {
    type Error = Error;

    fn try_from(row: PackedRow) -> Result<Self> {
        Self::new(row.ids, row.loss_mask, row.cu_seqlens)
    }
}

impl Batch {
    /// A batch in which document d is `ids[cu_seqlens[d]..cu_seqlens[d + 1]]`. The loss mask is true for
    /// the tokens that the model learns to predict.
    ///
    /// # Errors
    /// [`Error::Batch`] if ids and loss mask differ in length, or `cu_seqlens` does not rise from 0 to
    /// the number of ids.
    pub fn new(ids: Vec<u32>, loss_mask: Vec<bool>, cu_seqlens: Vec<u32>) -> Result<Self> {
        if loss_mask.len() != ids.len() {
            return Err(BatchProblem::LossMask { ids: ids.len(), loss_mask: loss_mask.len() }.into());
        }
        let ends = (cu_seqlens.first(), cu_seqlens.last().map(|&end| end as usize));
        if ends != (Some(&0), Some(ids.len())) || !cu_seqlens.is_sorted() {
            return Err(BatchProblem::Boundaries { ids: ids.len(), got: cu_seqlens }.into());
        }
        Ok(Self { ids, loss_mask, cu_seqlens })
    }

    /// Packs the rows in their order. A row whose ids and loss mask differ in length is refused when the
    /// batch is used.
    pub fn concat(rows: &[&TokenRow]) -> Self {
        let PackedRow { ids, mut loss_mask, cu_seqlens } = janus_data::concat(rows);
        if rows.iter().any(|row| row.ids.len() != row.loss_mask.len()) {
            loss_mask.clear();
        }
        Self { ids, loss_mask, cu_seqlens }
    }

    /// Tokens of all documents: `[tokens]`.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Which tokens the model learns to predict, `[tokens]`; a document's first token is never in
    /// the loss.
    pub fn loss_mask(&self) -> &[bool] {
        &self.loss_mask
    }

    /// Boundaries of the documents, `[documents + 1]`, from 0: document d is
    /// `ids[cu_seqlens[d]..cu_seqlens[d + 1]]`.
    pub fn cu_seqlens(&self) -> &[u32] {
        &self.cu_seqlens
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.cu_seqlens.len().saturating_sub(1)
    }

    /// The document of each of these tokens, which must be ascending indices below the batch's number of
    /// tokens.
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

    /// Indices of the tokens in the loss. Token i is predicted at position i - 1.
    pub fn supervised(&self) -> Vec<u32> {
        let documents = self.cu_seqlens.windows(2);
        documents
            .flat_map(|ends| ends[0] + 1..ends[1].max(ends[0] + 1))
            .filter(|&i| self.loss_mask.get(i as usize) == Some(&true))
            .collect()
    }

    /// Checks that tokens are ascending indices below the batch's number of tokens.
    pub(crate) fn check_tokens(&self, tokens: &[u32]) -> Result<()> {
        if tokens.is_sorted() && tokens.last().is_none_or(|&last| (last as usize) < self.tokens()) {
            return Ok(());
        }
        Err(BatchProblem::Tokens { tokens: self.tokens() }.into())
    }

    /// [`check_tokens`](Self::check_tokens), and checks that no token is the first of its document.
    pub(crate) fn check_predicted(&self, tokens: &[u32]) -> Result<()> {
        self.check_tokens(tokens)?;
        let documents = self.documents_of(tokens);
        match tokens
            .iter()
            .zip(documents)
            .find(|&(&token, document)| token == self.cu_seqlens[document as usize])
        {
            Some((&token, _)) => Err(BatchProblem::FirstToken { token }.into()),
            None => Ok(()),
        }
    }

    /// Checks that there is at least one token, that ids and loss mask have the same length, and that
    /// ids are below `vocab_size`.
    ///
    /// # Errors
    /// [`Error::Batch`] with the check that failed.
    pub fn check(&self, vocab_size: usize) -> Result<()> {
        self.problem(vocab_size).map_or(Ok(()), |problem| Err(problem.into()))
    }

    pub(crate) fn problem(&self, vocab_size: usize) -> Option<BatchProblem> {
        if self.ids.is_empty() || self.loss_mask.len() != self.ids.len() {
            return Some(BatchProblem::LossMask { ids: self.ids.len(), loss_mask: self.loss_mask.len() });
        }
        let token = self.ids.iter().position(|&id| id as usize >= vocab_size)?;
        Some(BatchProblem::Id { token, id: self.ids[token], vocab_size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supervised_tokens_are_those_of_the_loss_mask_except_first_tokens() {
        let a = TokenRow { ids: vec![1, 5, 7], loss_mask: vec![true, false, true] };
        let b = TokenRow { ids: vec![], loss_mask: vec![] };
        let batch = Batch::concat(&[&a, &b, &a]);
        assert_eq!(batch.cu_seqlens, [0, 3, 3, 6]);
        assert_eq!((batch.documents(), batch.documents_of(&[0, 2, 3, 5])), (3, vec![0, 0, 2, 2]));
        assert_eq!(batch.supervised(), [2, 5], "a first token is never predicted from the previous document");
        assert!(batch.check(8).is_ok());
        assert!(batch.check_predicted(&[1, 2, 4]).is_ok());
        for (bad, reason) in
            [(vec![1, 3], "token 3 is the first"), (vec![2, 1], "must be ascending"), (vec![5, 6], "below 6")]
        {
            assert!(batch.check_predicted(&bad).unwrap_err().to_string().contains(reason), "{bad:?}");
        }
    }

    #[test]
    fn a_batch_that_does_not_fit_is_refused_with_its_reason() {
        let refused =
            |mask: Vec<bool>, ends: Vec<u32>| Batch::new(vec![0, 9], mask, ends).unwrap_err().to_string();
        assert!(refused(vec![true], vec![0, 2]).contains("loss mask of 1"));
        for ends in [vec![], vec![0, 1], vec![0, 2, 1, 2], vec![1, 2], vec![0, 3]] {
            assert!(refused(vec![true; 2], ends).contains("cu_seqlens"));
        }
        let batch = Batch::new(vec![0, 9], vec![false, true], vec![0, 2]).unwrap();
        assert!(batch.check(9).unwrap_err().to_string().contains("id 9") && batch.check(10).is_ok());
        // The fields of a row are public, so a caller can make a row like this.
        let batch = Batch::concat(&[&TokenRow { ids: vec![1, 2], loss_mask: vec![true] }]);
        assert!(
            batch.supervised().is_empty()
                && batch.check(9).unwrap_err().to_string().contains("loss mask of 0")
        );
        assert!(Batch::concat(&[]).check(9).is_err());
    }
}
