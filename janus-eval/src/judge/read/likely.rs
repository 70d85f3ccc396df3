//! Computes a preference from the likeliest tokens of a one-token verdict.

use janus_core::{Generation, TopLogprob};

use super::Unreadable;

/// The preference for the output shown second, 1 to 2, from the likeliest tokens: 2 - a/(a+b), where a
/// is the probability of `m` and b that of `M`. A token that is not in `top` has probability 0; `None`
/// if neither is. The tokens must match exactly: ` M` is another token.
pub(crate) fn preference(top: &[TopLogprob]) -> Option<f64> {
    let logprob =
        |name: &str| top.iter().find(|top| top.token == name && !top.logprob.is_nan()).map(|top| top.logprob);
    let share = match (logprob("m"), logprob("M")) {
        (Some(m), Some(other)) => 1.0 / (1.0 + (other - m).exp()),
        (Some(_), None) => 1.0,
        (None, Some(_)) => 0.0,
        (None, None) => return None,
    };
    // NaN if both probabilities are 0.
    (!f64::is_nan(share)).then_some(2.0 - share)
}

/// The likeliest tokens at the first position of an answer.
///
/// With a SentencePiece vocabulary the first token of an answer begins with a space. If the likeliest
/// token does, only the tokens with a leading space are returned, without the space. Otherwise the
/// tokens are returned unchanged.
///
/// # Errors
/// [`Unreadable::NoLogprobs`] for an answer without log-probabilities.
pub(crate) fn likely_tokens(answer: &Generation) -> Result<Vec<TopLogprob>, Unreadable> {
    let first = answer.logprobs.as_ref().and_then(|logprobs| logprobs.first());
    first
        .map(|first| without_space(first.top.clone()))
        .filter(|top| !top.is_empty())
        .ok_or(Unreadable::NoLogprobs)
}

fn without_space(top: Vec<TopLogprob>) -> Vec<TopLogprob> {
    let likeliest =
        top.iter().filter(|top| !top.logprob.is_nan()).max_by(|a, b| a.logprob.total_cmp(&b.logprob));
    if !likeliest.is_some_and(|top| top.token.starts_with(' ')) {
        return top;
    }
    let bare = |top: TopLogprob| top.token.strip_prefix(' ').map(|token| TopLogprob::new(token, top.logprob));
    top.into_iter().filter_map(bare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_the_normalised_probability_of_the_label() {
        let token = |token: &str, p: f64| TopLogprob::new(token, p.ln());
        let preferred = preference(&[token("m", 0.25), token("M", 0.5), token(" M", 0.2)]).unwrap();
        assert!((preferred - (2.0 - 0.25 / 0.75)).abs() < 1e-12);
        assert_eq!(preference(&[token("m", 0.1)]), Some(1.0));
        assert_eq!(preference(&[token(" M", 0.2)]), None);
    }

    fn read(top: &[TopLogprob]) -> Option<f64> {
        preference(&without_space(top.to_vec()))
    }

    #[test]
    fn the_leading_space_of_a_sentencepiece_token_is_ignored() {
        let token = |token: &str, p: f64| TopLogprob::new(token, p.ln());
        let preferred = read(&[token(" m", 0.6), token(" M", 0.2), token("M", 0.01)]);
        assert!(
            preferred.is_some_and(|preferred| (preferred - (2.0 - 0.6 / 0.8)).abs() < 1e-12),
            "{preferred:?}"
        );
        // Without a leading space the tokens are read as in the published program.
        assert_eq!(read(&[token("m", 0.6), token(" M", 0.3)]), Some(1.0));
        assert_eq!(read(&[token("The", 0.6), token(" M", 0.3)]), None);
        assert_eq!(read(&[]), None);
    }
}
