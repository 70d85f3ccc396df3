//! The likely tokens of a one-token verdict.

use janus_core::{Generation, TopLogprob};

use super::Unreadable;

/// The preference for the output shown second, 1 to 2, from the likely tokens: with a the probability of `m` and b that of `M`, it is
/// 2 - a/(a+b). A token that is not among them counts as 0; none if neither is. Only the exact tokens count: ` M` is another one.
pub(crate) fn preference(top: &[TopLogprob]) -> Option<f64> {
    let logprob = |name: &str| top.iter().find(|top| top.token == name && !top.logprob.is_nan()).map(|top| top.logprob);
    let share = match (logprob("m"), logprob("M")) {
        (Some(m), Some(other)) => 1.0 / (1.0 + (other - m).exp()),
        (Some(_), None) => 1.0,
        (None, Some(_)) => 0.0,
        (None, None) => return None,
    };
    // Both impossible: nothing was preferred.
    (!f64::is_nan(share)).then_some(2.0 - share)
}

/// The likely tokens at the first position of an answer.
///
/// A judge with a SentencePiece vocabulary begins with a token that has a space before it. If the likeliest token has one, only
/// the tokens with a space count, and they are given without it; otherwise the tokens are given as they are.
///
/// # Errors
/// [`Unreadable::NoLogprobs`] for an answer without them.
pub(crate) fn likely_tokens(answer: &Generation) -> Result<Vec<TopLogprob>, Unreadable> {
    let first = answer.logprobs.as_ref().and_then(|logprobs| logprobs.first());
    first.map(|first| without_space(first.top.clone())).filter(|top| !top.is_empty()).ok_or(Unreadable::NoLogprobs)
}

fn without_space(top: Vec<TopLogprob>) -> Vec<TopLogprob> {
    let likeliest = top.iter().filter(|top| !top.logprob.is_nan()).max_by(|a, b| a.logprob.total_cmp(&b.logprob));
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
    fn a_preference_is_the_share_of_the_label() {
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
    fn the_space_before_a_sentencepiece_judges_first_token_is_no_other_verdict() {
        let token = |token: &str, p: f64| TopLogprob::new(token, p.ln());
        let preferred = read(&[token(" m", 0.6), token(" M", 0.2), token("M", 0.01)]);
        assert!(preferred.is_some_and(|preferred| (preferred - (2.0 - 0.6 / 0.8)).abs() < 1e-12), "{preferred:?}");
        // A judge that says the bare token is read as the published program reads it.
        assert_eq!(read(&[token("m", 0.6), token(" M", 0.3)]), Some(1.0));
        assert_eq!(read(&[token("The", 0.6), token(" M", 0.3)]), None);
        assert_eq!(read(&[]), None);
    }
}
